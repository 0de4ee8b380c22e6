"""Physical lines of a binary stream, each read within a bound and decoded or refused by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from clipgres.lists.plain import BYTE_ORDER_MARK, UTF_8, DamagedList, plain
from clipgres.lists.rows import RefusedLine, excerpt

LINE_MAX_BYTES = 1_000_000
CR_ALONE = "its lines seem to end in CR alone, as on an old Mac: turn them into LF, as `tr '\\r' '\\n'` does"


@dataclass(frozen=True, slots=True)
class Line:
    """A decoded line without its end; `line` counts from 1."""

    line: int
    text: str

    @property
    def is_blank(self) -> bool:
        """Whether there is nothing on it."""
        return not self.text.strip()


def read_lines(stream: BinaryIO, encoding: str = UTF_8) -> Iterator[Line | RefusedLine]:
    """Yield every line; damage in a packed stream ends it with a refusal."""
    number = 0
    try:
        stream = plain(stream, encoding)
        while piece := stream.readline(LINE_MAX_BYTES + 2):
            number += 1
            if number == 1:
                piece = piece.removeprefix(BYTE_ORDER_MARK)
            body = piece.removesuffix(b"\n").removesuffix(b"\r")
            if len(body) > LINE_MAX_BYTES:
                _skip_rest(stream, piece)
                yield _too_long(number, body)
            else:
                yield _decoded(number, body, encoding)
    except DamagedList as damage:
        reason = f"the packed list is damaged or cut off here, nothing after it was read: {damage}"
        yield RefusedLine(number + 1, reason, "")


def _skip_rest(stream: BinaryIO, piece: bytes) -> None:
    while piece and not piece.endswith(b"\n"):
        piece = stream.readline(LINE_MAX_BYTES)


def _too_long(number: int, body: bytes) -> RefusedLine:
    reason = f"the line is longer than {LINE_MAX_BYTES:,} bytes"
    return RefusedLine(number, f"{reason}; {CR_ALONE}" if b"\r" in body else reason, _beginning(body))


def _decoded(number: int, body: bytes, encoding: str) -> Line | RefusedLine:
    if b"\0" in body:
        return RefusedLine(number, "it holds a NUL character", _beginning(body))
    try:
        return Line(number, body.decode())
    except UnicodeDecodeError as error:
        wrong = f"not UTF-8: byte {error.start + 1} is 0x{body[error.start]:02X}"
        reason = wrong if encoding == UTF_8 else f"not {encoding.upper()}"
        return RefusedLine(number, reason, _beginning(body))


def _beginning(body: bytes) -> str:
    return excerpt(body[:500].decode(errors="replace"))
