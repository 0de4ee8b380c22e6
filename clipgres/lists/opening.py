"""Open a list from wherever it comes, refusing at once what cannot be read as lines."""

from __future__ import annotations

import gzip
import hashlib
import io
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from clipgres.errors import BadRequest
from clipgres.lists.formats import READERS, guess
from clipgres.lists.lines import read_lines
from clipgres.lists.parquet import MAGIC, read_parquet
from clipgres.lists.rows import Entry, RefusedLine, excerpt, row_of

AUTO = "auto"
FORMATS = (AUTO, *READERS)
FORMAT_BY_SUFFIX = {".tsv": "tsv", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
STDIN = "-"

GZIP = b"\x1f\x8b"
UNREADABLE = {
    b"\x28\xb5\x2f\xfd": "it is compressed with zstd; unpack it first, as in `zstd -dc FILE | clipgres add -`",
    MAGIC: "it is a Parquet file, which is read from a file alone: name the file",
    b"PK\x03\x04": "it is a ZIP archive or a spreadsheet; unpack it, or save it as CSV first",
    b"BZh": "it is compressed with bzip2; unpack it first, as in `bzip2 -dc FILE | clipgres add -`",
    b"\xfd7zXZ": "it is compressed with xz; unpack it first, as in `xz -dc FILE | clipgres add -`",
    b"\xff\xfe": "it is written in UTF-16; save it as UTF-8 first",
    b"\xfe\xff": "it is written in UTF-16; save it as UTF-8 first",
}
FINGERPRINT_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class OpenedList:
    """A list that can be read: `read(n)` leaves out what begins on the first n lines.

    One with a fingerprint can be read again, and so be taken up where it stopped.
    """

    name: str
    fingerprint: str | None
    read: Callable[[int], Iterator[Entry]]


def open_list(source: str | Path, format: str = AUTO, *, caption_max_chars: int) -> OpenedList:
    """Open a file, or the standard input as `-`.

    Raises:
        BadRequest: it is not there, cannot be read, or is in a format that is not read here.
    """
    if source == STDIN:
        return open_stream(sys.stdin.buffer, "standard input", format, caption_max_chars=caption_max_chars)
    path = Path(source)
    with _readable(path.name):
        stream = path.open("rb")
    if not path.is_file():
        return open_stream(stream, str(path), format, caption_max_chars=caption_max_chars)
    with stream, _readable(path.name):
        is_parquet = stream.peek(8).startswith(MAGIC)
        if not is_parquet:
            _refuse_unreadable(stream.peek(8), path.name)
        chosen = "parquet" if is_parquet else _chosen(format, path.name)
        digest = hashlib.sha256(stream.read(FINGERPRINT_BYTES))
    digest.update(f"{path.stat().st_size} {chosen}".encode())
    name = str(path.resolve())

    def read(lines_done: int) -> Iterator[Entry]:
        if is_parquet:
            yield from open_rows(read_parquet(path), name, caption_max_chars=caption_max_chars).read(lines_done)
            return
        with _readable(path.name), path.open("rb") as again:
            yield from _entries(again, chosen, lines_done, caption_max_chars)

    return OpenedList(name, digest.hexdigest(), read)


def open_stream(stream: BinaryIO, name: str, format: str = AUTO, *, caption_max_chars: int) -> OpenedList:
    """Open a binary stream, such as an upload, that can be read once.

    Raises:
        BadRequest: it is in a format that is not read here.
    """
    buffered = stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(cast(io.RawIOBase, stream))
    _refuse_unreadable(buffered.peek(8), name)
    chosen = _chosen(format, name)
    return OpenedList(name, None, lambda lines_done: _entries(buffered, chosen, lines_done, caption_max_chars))


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


def _entries(stream: io.BufferedReader, chosen: str, lines_done: int, caption_max_chars: int) -> Iterator[Entry]:
    is_packed = stream.peek(2).startswith(GZIP)
    lines = read_lines(cast(BinaryIO, gzip.GzipFile(fileobj=stream)) if is_packed else stream)
    if chosen == AUTO:
        chosen, lines = guess(lines)
    yield from READERS[chosen](lines, lines_done, caption_max_chars)


def _chosen(format: str, name: str) -> str:
    if format not in FORMATS:
        raise BadRequest(f"the format is one of {', '.join(FORMATS)}, not {format[:20]!r}", "format")
    suffix = Path(name.lower().removesuffix(".gz")).suffix
    return FORMAT_BY_SUFFIX.get(suffix, AUTO) if format == AUTO else format


def _refuse_unreadable(head: bytes, name: str) -> None:
    for magic, reason in UNREADABLE.items():
        if head.startswith(magic):
            raise BadRequest(f"{name} cannot be read: {reason}", "file")


@contextmanager
def _readable(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BadRequest(f"{name} cannot be read: {error.strerror or error}", "file") from error
