"""The formats of a list: each turns lines into rows and refusals, and leaves out what was read before."""

from __future__ import annotations

import csv
import json
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, islice
from typing import Any, NoReturn

from clipgres.errors import BadRequest
from clipgres.lists.lines import CR_ALONE, Line
from clipgres.lists.rows import URL_NAMES, Entry, RefusedLine, column, excerpt, is_fetchable, row_of

PEEKED_LINES = 100
# A quote that is never closed holds back this much at most before the line it stands on is refused.
RECORD_MAX_LINES = 100
RECORD_MAX_CHARS = 1_000_000

Lines = Iterator[Line | RefusedLine]
Reader = Callable[[Lines, int, int], Iterator[Entry]]


def read_tsv(lines: Lines, lines_done: int, caption_max_chars: int) -> Iterator[Entry]:
    """A caption and a URL in either order, a URL alone, or any columns under a header; quotes are plain text."""
    first, lines = peek(lines)
    if first and _is_header(first.text.split("\t")):
        lines = (line for line in _without_remarks(lines) if line is not first)
        return _rows(lines, lines_done, caption_max_chars, partial(_named, first.text.split("\t")))
    return _rows(lines, lines_done, caption_max_chars, _caption_and_url)


def read_csv(lines: Lines, lines_done: int, caption_max_chars: int) -> Iterator[Entry]:
    """Named columns as RFC 4180 has them: a quoted value may hold commas, quotes and line ends."""
    header: list[str] | None = None
    for record in _csv_records(_without_remarks(lines)):
        if isinstance(record, RefusedLine):
            if record.line > lines_done:
                yield record
            continue
        first, cells = record
        if header is None:
            header = cells
            if column(header, URL_NAMES) is None:
                if first.line > lines_done:
                    yield _refused(first, f"the header must name a column {' or '.join(URL_NAMES)}")
                return
        elif first.line > lines_done:
            yield _row(first, dict(zip(header, cells, strict=True)), caption_max_chars)


def read_jsonl(lines: Lines, lines_done: int, caption_max_chars: int) -> Iterator[Entry]:
    """One JSON object a line."""
    return _rows(lines, lines_done, caption_max_chars, _json)


READERS: dict[str, Reader] = {"tsv": read_tsv, "csv": read_csv, "jsonl": read_jsonl}


def guess(lines: Lines) -> tuple[str, Lines]:
    """The format that the first readable line looks like, and all the lines."""
    first, lines = peek(lines)
    text = first.text.strip() if first else ""
    if text.startswith("{"):
        return "jsonl", lines
    is_csv = "\t" not in text and column(text.replace('"', "").split(","), URL_NAMES) is not None
    return ("csv" if is_csv else "tsv"), lines


def peek(lines: Lines) -> tuple[Line | None, Lines]:
    """The first line that says something among the first hundred, and all the lines."""
    before: list[Line | RefusedLine] = []
    for line in islice(lines, PEEKED_LINES):
        before.append(line)
        if isinstance(line, Line) and not line.is_blank and not _is_remark(line):
            return line, chain(before, lines)
    return None, chain(before, lines)


def _without_remarks(lines: Lines) -> Lines:
    """Refuse the remarks that stand before a header."""
    for line in lines:
        if isinstance(line, Line) and _is_remark(line):
            yield _refused(line, "a remark before the header")
            continue
        yield line
        if isinstance(line, Line) and not line.is_blank:
            break
    yield from lines


def _is_remark(line: Line) -> bool:
    """Whether a line begins as remarks do and names no column."""
    text = line.text
    return text.startswith("#") and not any(column(text.split(mark), URL_NAMES) for mark in "\t,")


def _is_header(cells: list[str]) -> bool:
    return column(cells, URL_NAMES) is not None and not any(map(is_fetchable, cells))


def _rows(lines: Lines, lines_done: int, caption_max_chars: int, parse: Callable[[str], object]) -> Iterator[Entry]:
    """Read the formats in which a line is a row."""
    for line in lines:
        if line.line <= lines_done:
            continue
        if isinstance(line, RefusedLine):
            yield line
        elif not line.is_blank:
            try:
                yield _row(line, parse(line.text), caption_max_chars)
            except BadRequest as error:
                yield _refused(line, str(error))


def _row(line: Line, values: object, caption_max_chars: int) -> Entry:
    try:
        return row_of(line.line, values, caption_max_chars=caption_max_chars)
    except BadRequest as error:
        return _refused(line, str(error))


def _refused(line: Line, reason: str) -> RefusedLine:
    if "\r" in line.text:
        reason = f"{reason}; {CR_ALONE}"
    return RefusedLine(line.line, reason, excerpt(line.text))


def _caption_and_url(text: str) -> dict[str, Any]:
    cells = text.split("\t")
    if len(cells) > 2:
        raise BadRequest(f"{len(cells):,} columns where a caption and a URL are expected")
    urls = [place for place, cell in enumerate(cells) if is_fetchable(cell)]
    if not urls:
        raise BadRequest("no http or https URL")
    return {"url": cells.pop(urls[-1]), "caption": cells[0] if cells else None}


def _named(header: list[str], text: str) -> dict[str, Any]:
    cells = text.split("\t")
    if len(cells) != len(header):
        raise BadRequest(_wrong_count(len(cells), len(header)))
    return dict(zip(header, cells, strict=True))


def _wrong_count(found: int, expected: int) -> str:
    return f"{found:,} column{'s' if found != 1 else ''} where the header has {expected:,}"


def _csv_records(lines: Lines) -> Iterator[tuple[Line, list[str]] | RefusedLine]:
    """Yield records; where one is wrong its first line is refused and the next one is read as a new record."""
    waiting: deque[Line | RefusedLine] = deque()
    columns: int | None = None
    while (first := waiting.popleft() if waiting else next(lines, None)) is not None:
        if isinstance(first, RefusedLine):
            yield first
        elif not first.is_blank:
            taken = [first]
            try:
                cells = next(csv.reader(_feed(taken, waiting, lines), strict=True))
                if columns is not None and len(cells) != columns:
                    raise csv.Error(_wrong_count(len(cells), columns))
                columns = len(cells)
                yield first, cells
            except csv.Error as error:
                waiting.extendleft(reversed(taken[1:]))
                yield _refused(first, _why_not_csv(str(error)))


def _feed(taken: list[Line], waiting: deque[Line | RefusedLine], lines: Lines) -> Iterator[str]:
    """Give the lines of one record to the csv module, which asks for another while a quote is open."""
    yield taken[0].text + "\n"
    chars = 0
    while len(taken) < RECORD_MAX_LINES and chars < RECORD_MAX_CHARS:
        line = waiting.popleft() if waiting else next(lines, None)
        if not isinstance(line, Line):
            if line is not None:
                waiting.appendleft(line)
            return
        taken.append(line)
        chars += len(line.text)
        yield line.text + "\n"


def _why_not_csv(error: str) -> str:
    return "a quote that is not closed" if error == "unexpected end of data" else error


def _json(text: str) -> object:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise BadRequest(f"not JSON: {error.msg} at character {error.colno:,}") from error
    except (ValueError, RecursionError) as error:
        raise BadRequest("a number that is too large or not finite, or nesting that is too deep") from error


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
