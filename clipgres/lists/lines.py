"""Physical lines of a binary stream, each read within a bound and decoded or refused by itself."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from clipgres.lists.rows import RefusedLine, excerpt

LINE_MAX_BYTES = 1_000_000
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Line:
    """A decoded line without its end; `line` counts from 1."""

    line: int
    text: str

    @property
    def is_blank(self) -> bool:
        """Whether there is nothing on it."""
        return not self.text.strip()


def read_lines(stream: BinaryIO) -> Iterator[Line | RefusedLine]:
    """Yield every line; damage in a compressed stream ends it with a refusal."""
    number = 0
    try:
        while piece := stream.readline(LINE_MAX_BYTES + 2):
            number += 1
            if number == 1:
                piece = piece.removeprefix(BYTE_ORDER_MARK)
            body = piece.removesuffix(b"\n").removesuffix(b"\r")
            if len(body) > LINE_MAX_BYTES:
                _skip_rest(stream, piece)
                yield RefusedLine(number, f"the line is longer than {LINE_MAX_BYTES:,} bytes", _beginning(body))
            else:
                yield _decoded(number, body)
    except (gzip.BadGzipFile, EOFError, zlib.error):
        yield RefusedLine(number + 1, "the compressed list is damaged or cut off here: nothing after it was read", "")


def _skip_rest(stream: BinaryIO, piece: bytes) -> None:
    while piece and not piece.endswith(b"\n"):
        piece = stream.readline(LINE_MAX_BYTES)


def _decoded(number: int, body: bytes) -> Line | RefusedLine:
    if b"\0" in body:
        return RefusedLine(number, "it holds a NUL character", _beginning(body))
    try:
        return Line(number, body.decode())
    except UnicodeDecodeError as error:
        return RefusedLine(number, f"not UTF-8: byte {error.start + 1} is 0x{body[error.start]:02X}", _beginning(body))


def _beginning(body: bytes) -> str:
    return excerpt(body[:500].decode(errors="replace"))
