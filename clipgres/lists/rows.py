"""One row of a list: made from named values, or refused with the reason."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from clipgres.errors import BadRequest
from clipgres.wording import printable

EXCERPT_CHARS = 120

# The URL of the picture itself comes first: beside it, `url` is most often the page.
URL_NAMES = ("image_url", "url")
CAPTION_NAMES = ("caption", "captions", "text", "alt")
KEY_NAMES = ("key", "id")
NAMESPACE_NAMES = ("namespace",)

_FETCHABLE = re.compile(r"\s*https?://", re.IGNORECASE)


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
    record = {name.strip(): value for name, value in values.items() if name.strip() and not _is_empty(value)}
    _check_storable(record)
    url = _one_text(record, URL_NAMES)
    if url is None:
        raise BadRequest("no URL", "url")
    captions = tuple(_captions(record, caption_max_chars))
    key, namespace = _one_text(record, KEY_NAMES), _one_text(record, NAMESPACE_NAMES)
    return ListRow(line, url, captions, key, namespace, record or None)


def is_fetchable(value: str) -> bool:
    """Whether a text begins as an http or https URL does."""
    return _FETCHABLE.match(value) is not None


def column(names: Iterable[str], wanted: tuple[str, ...]) -> str | None:
    """The name among `names` that is the first of `wanted`, in whatever case it is written."""
    written = {name.strip().lower(): name for name in names}
    return next((written[name] for name in wanted if name in written), None)


def excerpt(value: str) -> str:
    """The beginning of a text, with every character that could move a cursor replaced."""
    return printable(value[:EXCERPT_CHARS])


def _is_empty(value: Any) -> bool:
    return value is None or value == [] or (isinstance(value, str) and not value.strip())


def _check_storable(record: dict[str, Any]) -> None:
    """Refuse what neither a text nor a jsonb column of PostgreSQL can hold."""
    try:
        written = json.dumps(record, ensure_ascii=False, allow_nan=False)
        written.encode()
    except UnicodeEncodeError as error:
        raise BadRequest("it holds half a character (a lone surrogate)") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise BadRequest("it holds a value that JSON cannot express") from error
    if r"\u0000" in written.replace(r"\\", ""):
        raise BadRequest("it holds a NUL character")


def _one_text(record: dict[str, Any], names: tuple[str, ...]) -> str | None:
    name = column(record, names)
    if name is None:
        return None
    value = record.pop(name)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise BadRequest(f"{excerpt(name)} is not a text")
    return value.strip()


def _captions(record: dict[str, Any], max_chars: int) -> Iterable[str]:
    for known in CAPTION_NAMES:
        name = column(record, (known,))
        value = record.pop(name) if name is not None else []
        for caption in value if isinstance(value, list) else [value]:
            if not isinstance(caption, str):
                raise BadRequest(f"{known} is neither a text nor a list of texts")
            if len(caption) > max_chars:
                raise BadRequest(f"a caption is longer than {max_chars:,} characters")
            if caption.strip():
                yield caption.strip()
