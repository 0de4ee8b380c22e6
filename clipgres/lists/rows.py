"""One row of a list: made from named values, or refused with the reason."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from clipgres.errors import BadRequest
from clipgres.plain_text import printable

EXCERPT_CHARS = 120

# The URL of the picture itself comes first: beside it, `url` is most often the page.
URL_NAMES = ("image_url", "url")
CAPTION_NAMES = ("caption", "captions", "text", "alt")
KEY_NAMES = ("key", "id")
NAMESPACE_NAMES = ("namespace",)
KNOWN_NAMES = frozenset((*URL_NAMES, *CAPTION_NAMES, *KEY_NAMES, *NAMESPACE_NAMES))
# The server's JSON parser has a stack of its own to overflow.
MAX_DEPTH = 100

_FETCHABLE = re.compile(r"\s*https?://[^\r]*\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ListRow:
    """A URL with what the list says about it; `line` is the physical line it begins on."""

    line: int
    url: str
    captions: tuple[str, ...] = ()
    key: str | None = None
    namespace: str | None = None
    metadata: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class RefusedLine:
    """A line that was not taken, why, and its printable beginning."""

    line: int
    reason: str
    excerpt: str


Entry = ListRow | RefusedLine


def row_of(line: int, values: object, *, caption_max_chars: int) -> ListRow:
    """Make a row from a mapping of names: those we know are taken, every other one becomes metadata.

    Raises:
        BadRequest: there is no URL, or a value that cannot be kept.
    """
    if not isinstance(values, Mapping) or not all(isinstance(name, str) for name in values):
        raise BadRequest("not an object with named values, such as url and caption")
    record = {name.strip(): value for name, value in values.items() if not _is_empty(value)}
    record.pop("", None)
    for name, value in record.items():
        _check_storable(name)
        _check_storable(value)
    known = {lower: name for name in record if (lower := name.lower()) in KNOWN_NAMES}
    url = _one_text(record, known, URL_NAMES)
    if url is None:
        raise BadRequest("no URL", "url")
    captions = tuple(_captions(record, known, caption_max_chars))
    key, namespace = _one_text(record, known, KEY_NAMES), _one_text(record, known, NAMESPACE_NAMES)
    return ListRow(line, url, captions, key, namespace, record or None)


def is_fetchable(value: str) -> bool:
    """Whether a text begins as an http or https URL does, and goes on as one line."""
    return _FETCHABLE.match(value) is not None


def column(names: Iterable[str], wanted: tuple[str, ...]) -> str | None:
    """The name among `names` that is the first of `wanted`, in whatever case it is written."""
    written = {name.strip().lower(): name for name in names}
    return next((written[name] for name in wanted if name in written), None)


def excerpt(value: str) -> str:
    """The beginning of a text, tabs as spaces, with every other character that could move a cursor replaced."""
    return printable(value[:EXCERPT_CHARS].replace("\t", " "))


def _is_empty(value: Any) -> bool:
    return value is None or value == [] or (isinstance(value, str) and not value.strip())


def _check_storable(value: Any) -> None:
    """Refuse what neither a text nor a jsonb column of PostgreSQL can hold."""
    if isinstance(value, str):
        written = value
        has_nul = "\0" in value
    else:
        written = _written(value)
        has_nul = r"\u0000" in written.replace(r"\\", "")
    if not written.isascii():
        try:
            written.encode()
        except UnicodeEncodeError as error:
            raise BadRequest("it holds half a character (a lone surrogate)") from error
    if has_nul:
        raise BadRequest("it holds a NUL character")


def _written(value: Any) -> str:
    if _is_deeper(value, MAX_DEPTH):
        raise BadRequest(f"it holds values that are nested more than {MAX_DEPTH} deep")
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise BadRequest("it holds a value that JSON cannot express") from error


def _is_deeper(value: Any, levels: int) -> bool:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return inside is not None and (levels == 0 or any(_is_deeper(each, levels - 1) for each in inside))


def _one_text(record: dict[str, Any], known: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    name = next((known[name] for name in names if name in known), None)
    if name is None:
        return None
    value = record.pop(name)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise BadRequest(f"{excerpt(name)} is not a text")
    return value.strip()


def _captions(record: dict[str, Any], known: Mapping[str, str], max_chars: int) -> Iterable[str]:
    for name in (name for name in CAPTION_NAMES if name in known):
        value = record.pop(known[name])
        for caption in value if isinstance(value, list) else [value]:
            if not isinstance(caption, str):
                raise BadRequest(f"{name} is neither a text nor a list of texts")
            if len(caption) > max_chars:
                raise BadRequest(f"a caption is longer than {max_chars:,} characters")
            if caption.strip():
                yield caption.strip()
