"""Chunks of a list made ready for the tables: URLs in normal form, rows as COPY takes them, unfit lines refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from clipgres.errors import BadRequest
from clipgres.lists import Entry, ListRow, OpenedList, RefusedLine, excerpt
from clipgres.schema import KEY_MAX_BYTES, NAMESPACE_MAX_BYTES
from clipgres.urls import normalise_url

CHUNK_ROWS = 10_000
CHUNK_BYTES = 8_000_000

# What COPY's text form reads as the end of a value or a row, or as the beginning of an escape.
_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})
_to_json = json.JSONEncoder(ensure_ascii=False).encode


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive rows of a list up to its line `last`: those that fit, written for COPY, and those that do not."""

    last: int
    rows: int
    copy: bytes
    refused: Sequence[RefusedLine]


@dataclass(frozen=True, slots=True)
class Judged:
    """What a list holds, as far as it can be told without the tables: up to which line, rows that fit, and others."""

    lines: int = 0
    fit: int = 0
    refused: int = 0


def judge(
    opened: OpenedList, *, on_progress: Callable[[Judged], None], on_refused: Callable[[RefusedLine], None]
) -> Judged:
    """Read a list to its end as if it were to be taken."""
    judged = Judged()
    for chunk in prepared(opened.read(0)):
        judged = Judged(chunk.last, judged.fit + chunk.rows, judged.refused + len(chunk.refused))
        for line in chunk.refused:
            on_refused(line)
        on_progress(judged)
    return judged


def prepared(entries: Iterable[Entry], max_rows: int = CHUNK_ROWS) -> Iterator[Chunk]:
    """Cut a list into chunks that one transaction and the memory can hold."""
    rows: list[bytes] = []
    refused: list[RefusedLine] = []
    size, last = 0, 0
    for entry in entries:
        last = entry.line
        written = _written(entry)
        if isinstance(written, RefusedLine):
            refused.append(written)
        else:
            rows.append(written)
            size += len(written)
        if len(rows) + len(refused) >= max_rows or size >= CHUNK_BYTES:
            yield Chunk(last, len(rows), b"".join(rows), refused)
            rows, refused, size = [], [], 0
    if rows or refused:
        yield Chunk(last, len(rows), b"".join(rows), refused)


def _written(entry: Entry) -> bytes | RefusedLine:
    if isinstance(entry, RefusedLine):
        return entry
    try:
        return _copy_row(entry)
    except BadRequest as error:
        return RefusedLine(entry.line, str(error), excerpt(entry.url))


def _copy_row(row: ListRow) -> bytes:
    """A row as COPY's text form has it: line, url, url_key, host, captions, key, namespace, metadata.

    Raises:
        BadRequest: the URL, the key or the namespace does not fit.
    """
    key, namespace = row.key, row.namespace or ""
    if key is not None and len(key.encode()) > KEY_MAX_BYTES:
        raise BadRequest(f"the key is longer than {KEY_MAX_BYTES:,} bytes")
    if len(namespace.encode()) > NAMESPACE_MAX_BYTES:
        raise BadRequest(f"the namespace is longer than {NAMESPACE_MAX_BYTES:,} bytes")
    url = normalise_url(row.url)
    captions = f"[{','.join(map(_to_json, row.captions))}]"
    metadata = _to_json(row.metadata) if row.metadata else "{}"
    cells = (
        str(row.line),
        url.url,
        rf"\\x{url.key.hex()}",
        url.host,
        _doubled(captions),
        r"\N" if key is None else key.translate(_ESCAPES),
        namespace.translate(_ESCAPES),
        _doubled(metadata),
    )
    return ("\t".join(cells) + "\n").encode()


def _doubled(document: str) -> str:
    """JSON for COPY: of what COPY would take for more than itself, it holds backslashes alone."""
    return document.replace("\\", r"\\")
