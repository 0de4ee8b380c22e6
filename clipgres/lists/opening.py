"""Open a list from wherever it comes, refusing at once what cannot be read as lines."""

from __future__ import annotations

import hashlib
import io
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from clipgres.errors import BadRequest
from clipgres.lists.formats import READERS, guess
from clipgres.lists.lines import read_lines
from clipgres.lists.parquet import MAGIC, read_parquet
from clipgres.lists.plain import ENCODINGS, UTF_8
from clipgres.lists.rows import Entry, RefusedLine, excerpt, row_of

AUTO = "auto"
FORMATS = (AUTO, *READERS)
FORMAT_BY_SUFFIX = {".tsv": "tsv", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
STDIN = "-"

UNREADABLE = {
    b"PK\x03\x04": "it is a ZIP archive or a spreadsheet; unpack it, or save it as CSV first",
    b"\xfd7zXZ": "it is compressed with xz; unpack it first, as in `xz -dc FILE | clipgres add -`",
}
PACKED_SUFFIXES = (".gz", ".zst", ".bz2")
SPOOLED_MAX_BYTES = 2_000_000_000
FINGERPRINT_BYTES = 1_000_000
PIECE_BYTES = 1_000_000


class _Position:
    """How far a file of a known size is read."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.file: io.FileIO | None = None

    def share(self) -> float | None:
        """The part of its bytes that was taken from the disk."""
        if self.file is None or not self._size:
            return None
        return 1.0 if self.file.closed else min(1.0, self.file.tell() / self._size)


@dataclass(frozen=True, slots=True)
class OpenedList:
    """A list that can be read: `read(n)` leaves out what begins on the first n lines.

    One with a fingerprint can be read again, and so be taken up where it stopped. `share` tells while it is read how
    much of it is behind, from 0 to 1, where that can be known.
    """

    name: str
    fingerprint: str | None
    read: Callable[[int], Iterator[Entry]]
    share: Callable[[], float | None] = lambda: None


def open_list(source: str | Path, format: str = AUTO, *, caption_max_chars: int, encoding: str = UTF_8) -> OpenedList:
    """Open a file, or the standard input as `-`.

    Raises:
        BadRequest: it is not there, cannot be read, or is in a format that is not read here.
    """
    if source == STDIN:
        stdin = sys.stdin.buffer
        return open_stream(stdin, "standard input", format, caption_max_chars=caption_max_chars, encoding=encoding)
    path = Path(source)
    with _readable(path.name):
        stream = path.open("rb")
    if not path.is_file():
        return open_stream(stream, str(path), format, caption_max_chars=caption_max_chars, encoding=encoding)
    with stream, _readable(path.name):
        is_parquet = _is_parquet(stream, path.name)
        chosen = "parquet" if is_parquet else _chosen(format, path.name)
        digest = hashlib.sha256(stream.read(FINGERPRINT_BYTES))
        size = path.stat().st_size
    digest.update(f"{size} {chosen} {_known_encoding(encoding)}".encode())
    position = _Position(size)

    def read(lines_done: int) -> Iterator[Entry]:
        if is_parquet:
            yield from _parquet_entries(path, path.name, lines_done, caption_max_chars)
            return
        with _readable(path.name), path.open("rb") as again:
            position.file = cast(io.FileIO, again.raw)
            yield from _entries(again, chosen, encoding, lines_done, caption_max_chars)

    return OpenedList(str(path.resolve()), digest.hexdigest(), read, position.share)


def open_stream(
    stream: BinaryIO, name: str, format: str = AUTO, *, caption_max_chars: int, encoding: str = UTF_8
) -> OpenedList:
    """Open a binary stream, such as an upload, that can be read once.

    Raises:
        BadRequest: it is in a format that is not read here.
    """
    buffered = stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(cast(io.RawIOBase, stream))
    if _is_parquet(buffered, name):
        spooled = _spooled(buffered, name)
        return OpenedList(name, None, lambda lines_done: _parquet_entries(spooled, name, lines_done, caption_max_chars))
    chosen = _chosen(format, name)
    encoding = _known_encoding(encoding)
    return OpenedList(
        name, None, lambda lines_done: _entries(buffered, chosen, encoding, lines_done, caption_max_chars)
    )


def open_rows(rows: Iterable[object], name: str, *, caption_max_chars: int) -> OpenedList:
    """Take rows with named values, such as `{"url": ..., "caption": ...}`, from a program; they count as lines."""

    def read(lines_done: int) -> Iterator[Entry]:
        for line, values in enumerate(rows, start=1):
            if line > lines_done:
                yield _row(line, values, caption_max_chars)

    return OpenedList(name, None, read)


def _row(line: int, values: object, caption_max_chars: int) -> Entry:
    try:
        return row_of(line, values, caption_max_chars=caption_max_chars)
    except BadRequest as error:
        url = values.get("url") if isinstance(values, Mapping) else values
        return RefusedLine(line, str(error), excerpt(url) if isinstance(url, str) else "")


def _entries(stream: BinaryIO, chosen: str, encoding: str, lines_done: int, caption_max_chars: int) -> Iterator[Entry]:
    lines = read_lines(stream, encoding)
    if chosen == AUTO:
        chosen, lines = guess(lines)
    yield from READERS[chosen](lines, lines_done, caption_max_chars)


def _parquet_entries(file: Path | BinaryIO, name: str, lines_done: int, caption_max_chars: int) -> Iterator[Entry]:
    return open_rows(read_parquet(file, name), name, caption_max_chars=caption_max_chars).read(lines_done)


def _chosen(format: str, name: str) -> str:
    if format not in FORMATS:
        raise BadRequest(f"the format is one of {', '.join(FORMATS)}, not {format[:20]!r}", "format")
    name = name.lower()
    for packed in PACKED_SUFFIXES:
        name = name.removesuffix(packed)
    return FORMAT_BY_SUFFIX.get(Path(name).suffix, AUTO) if format == AUTO else format


def _known_encoding(encoding: str) -> str:
    if encoding not in ENCODINGS:
        raise BadRequest(f"the encoding is one of {', '.join(ENCODINGS)}, not {encoding[:20]!r}", "encoding")
    return encoding


def _is_parquet(stream: io.BufferedReader, name: str) -> bool:
    """Look at how a file begins.

    Raises:
        BadRequest: it is something that is not read here.
    """
    head = stream.peek(8)
    for magic, reason in UNREADABLE.items():
        if head.startswith(magic):
            raise BadRequest(f"{name} cannot be read: {reason}", "file")
    return head.startswith(MAGIC)


def _spooled(stream: BinaryIO, name: str) -> BinaryIO:
    """The stream as a file that is gone once it is closed: what is in a Parquet file stands at its end.

    Raises:
        BadRequest: it is too large for that.
    """
    file = cast(BinaryIO, tempfile.TemporaryFile(prefix="clipgres-"))
    while piece := stream.read(PIECE_BYTES):
        file.write(piece)
        if file.tell() > SPOOLED_MAX_BYTES:
            file.close()
            raise BadRequest(f"{name} is Parquet of more than {SPOOLED_MAX_BYTES:,} bytes: name the file", "file")
    file.seek(0)
    return file


@contextmanager
def _readable(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BadRequest(f"{name} cannot be read: {error.strerror or error}", "file") from error
