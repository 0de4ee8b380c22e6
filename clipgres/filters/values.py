"""The values that a filter may compare with: checked by type, and said in words when they do not fit."""

from __future__ import annotations

import difflib
import json
import math
import re
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache
from typing import NoReturn

from clipgres.errors import BadRequest

MAX_CHARS = 10_000
# PostgreSQL's parser of words holds 32 signs that wait for the word they belong to.
MINUS_SIGNS = re.compile(r'(?:-[^\w"-]*){21}')


class Kind(Enum):
    """What a column holds; the value is its type in PostgreSQL."""

    NUMBER = "double precision"
    TEXT = "text"
    TIME = "timestamptz"


def column_value(value: object, kind: Kind, where: str) -> float | str | datetime:
    """A value that a column of this kind can be compared with; `where` begins what is said of one that cannot."""
    if kind is Kind.NUMBER:
        return float(number(value, where))
    return plain_text(value, where) if kind is Kind.TEXT else moment(value, where)


def scalar(value: object, where: str) -> str | bool | float:
    """A value that metadata can be equal to."""
    if isinstance(value, bool):
        return value
    return ordered_value(value, where)


def ordered_value(value: object, where: str) -> str | float:
    """A value that metadata can be above or below."""
    if isinstance(value, str):
        return plain_text(value, where)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return number(value, where)
    hint = {list: "; for several values use $in", type(None): "; use {$exists: false}"}.get(type(value), "")
    refuse(f"{where} takes a text or a number, not {shown(value)}{hint}")


def number(value: object, where: str) -> float:
    """A finite number; true and false are none."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            if math.isfinite(value):
                return value
        except OverflowError:
            pass  # an integer beyond the largest float
    refuse(f"{where} takes a number, not {shown(value)}")


def plain_text(value: object, where: str) -> str:
    """A text that PostgreSQL can hold."""
    if not isinstance(value, str):
        refuse(f"{where} takes a text, not {shown(value)}")
    if len(value) > MAX_CHARS:
        refuse(f"{where}: a text of more than {MAX_CHARS:,} characters")
    if not is_storable(value):
        refuse(f"{where}: a text with a NUL character or half of a surrogate pair")
    return value


def is_storable(value: str) -> bool:
    """Whether PostgreSQL can hold the text: it takes neither a NUL character nor half of a surrogate pair."""
    return "\0" not in value and not any("\ud800" <= character <= "\udfff" for character in value)


def is_searchable(words: str) -> bool:
    """Whether PostgreSQL can read the text as words to search for: it takes no long row of minus signs."""
    return not MINUS_SIGNS.search(words)


def moment(value: object, where: str) -> datetime:
    """A moment; one that names no zone is in UTC."""
    try:
        parsed = datetime.fromisoformat(plain_text(value, where))
    except ValueError:
        refuse(f"{where} takes a time like 2026-11-24 or 2026-11-24T18:30:00Z, not {shown(value)}")
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def nearest(name: str, names: tuple[str, ...]) -> str:
    """The end of a sentence on an unknown name: the nearest known one, or all."""
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else f"; there are {', '.join(names)}"


@lru_cache(maxsize=1_000)
def like_one_of(name: str, names: tuple[str, ...]) -> str | None:
    """The known name that this one is so like that it must be a slip: a letter or two are off."""
    near = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.8)
    return near[0] if near else None


def shown(value: object) -> str:
    """The value as JSON, cut to fit a line."""
    try:
        whole = json.dumps(value, default=repr)
    except (ValueError, RecursionError):  # a number of thousands of digits, lists within lists
        return "what is too large to show"
    return whole if len(whole) <= 60 else f"{whole[:57]}..."


def refuse(problem: str) -> NoReturn:
    """Raise the BadRequest of a filter."""
    raise BadRequest(f"filter: {problem}", "filter")
