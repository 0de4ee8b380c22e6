"""Saved searches: a request under a name, with its thresholds, for whoever knows the name."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, text

from clipgres.database import transaction
from clipgres.errors import BadRequest, Conflict, NotFound
from clipgres.filters import compile_filter
from clipgres.request import SearchRequest, parse_request

NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")

SAVE_SQL = text("""
    INSERT INTO clipgres.saved_search (name, request) VALUES (:name, CAST(:request AS jsonb))
    ON CONFLICT (name) DO NOTHING
""")
REPLACE_SQL = text("""
    INSERT INTO clipgres.saved_search (name, request) VALUES (:name, CAST(:request AS jsonb))
    ON CONFLICT (name) DO UPDATE SET request = excluded.request, created_at = now()
""")
LOAD_SQL = text("SELECT request FROM clipgres.saved_search WHERE name = :name")
LIST_SQL = text("SELECT name, request, created_at FROM clipgres.saved_search ORDER BY name")
NAMES_SQL = text("SELECT name FROM clipgres.saved_search ORDER BY name")
DELETE_SQL = text("DELETE FROM clipgres.saved_search WHERE name = :name")


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedSearch:
    """A request as it was saved: the fields that were asked for, which `load` checks anew."""

    name: str
    request: Mapping[str, Any]
    created_at: datetime


def save(engine: Engine, name: str, request: SearchRequest, *, replace: bool = False) -> None:
    """Keep a request under a name.

    Raises:
        BadRequest: the name does not fit, or the request cannot be kept: it holds a picture's bytes, a page's cursor or
            a filter that is none.
        Conflict: the name is taken, and is not to be replaced.
    """
    _check_name(name)
    if request.image is not None:
        raise BadRequest("image: a search by an uploaded picture cannot be saved; use an address or an item", "image")
    if request.cursor is not None:
        raise BadRequest("cursor: a page cannot be saved; save the search it belongs to", "cursor")
    compile_filter(request.filter)
    kept = json.dumps(request.model_dump(mode="json", exclude_defaults=True), allow_nan=False)
    with transaction(engine) as connection:
        written = connection.execute(REPLACE_SQL if replace else SAVE_SQL, {"name": name, "request": kept}).rowcount
    if not written:
        raise Conflict(f'there is a saved search "{name}" already; choose another name, or replace it')


def load(engine: Engine, name: str) -> SearchRequest:
    """The request under a name.

    Raises:
        NotFound: there is none; names the nearest.
        BadRequest: it was saved by another version and does not fit any more; names the field.
    """
    _check_name(name)
    with transaction(engine) as connection:
        kept = connection.execute(LOAD_SQL, {"name": name}).scalar_one_or_none()
        if kept is None:
            raise _not_found(name, list(connection.execute(NAMES_SQL).scalars()))
    try:
        return parse_request(kept)
    except BadRequest as error:
        raise BadRequest(f'the saved search "{name}" does not fit any more: {error}', error.field) from error


def list_saved(engine: Engine) -> list[SavedSearch]:
    """All saved searches, in order of name."""
    with transaction(engine) as connection:
        rows = connection.execute(LIST_SQL)
        return [SavedSearch(name=row.name, request=row.request, created_at=row.created_at) for row in rows]


def delete_saved(engine: Engine, name: str) -> None:
    """Forget a saved search.

    Raises:
        NotFound: there is none; names the nearest.
    """
    _check_name(name)
    with transaction(engine) as connection:
        if not connection.execute(DELETE_SQL, {"name": name}).rowcount:
            raise _not_found(name, list(connection.execute(NAMES_SQL).scalars()))


def _check_name(name: str) -> None:
    if not NAME_PATTERN.fullmatch(name):
        raise BadRequest(
            "a saved search's name has 1 to 63 characters of a-z, 0-9, _ and -, the first a letter or digit", "name"
        )


def _not_found(name: str, names: list[str]) -> NotFound:
    near = difflib.get_close_matches(name, names, n=1)
    hint = f'; did you mean "{near[0]}"?' if near else ""
    return NotFound(f'there is no saved search "{name}"{hint}')
