"""Reads small lists from memory, for the tests of their formats."""

from __future__ import annotations

import io
from collections.abc import Iterable

from clipgres.lists import UTF_8, Entry, RefusedLine, open_stream

URL = "https://example.com/a.jpg"
MAX = 100


def read(content: str | bytes, format: str = "auto", lines_done: int = 0, encoding: str = UTF_8) -> list[Entry]:
    """Every row and refusal after so many lines."""
    body = content if isinstance(content, bytes) else content.encode()
    opened = open_stream(io.BytesIO(body), "list", format, caption_max_chars=MAX, encoding=encoding)
    return list(opened.read(lines_done))


def reasons(entries: Iterable[Entry]) -> dict[int, str]:
    """Why lines were refused, by their number."""
    return {entry.line: entry.reason for entry in entries if isinstance(entry, RefusedLine)}
