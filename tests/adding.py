"""Adds small lists to a database and looks at what is there, for the tests of batches and failures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Engine, text

from clipgres.collections import Collection, find_or_create
from clipgres.database import transaction
from clipgres.enqueue import Added, enqueue
from clipgres.lists import open_rows
from clipgres.models import Space

SPACE = Space(model="test/model", revision="0" * 40, preprocessing="none", dimension=8)


def collection_named(engine: Engine, name: str = "default") -> Collection:
    """The collection of this name, made if need be."""
    with transaction(engine) as connection:
        return find_or_create(connection, name, SPACE)


def add(engine: Engine, collection: Collection, *rows: dict[str, Any]) -> Added:
    """Enqueue rows as a program gives them."""
    return enqueue(engine, collection, open_rows(rows, "test", caption_max_chars=100))


def add_urls(engine: Engine, collection: Collection, *paths: str) -> Added:
    """Enqueue `host/path` addresses without captions."""
    return add(engine, collection, *({"url": f"http://{path}"} for path in paths))


def query(engine: Engine, sql: str, **parameters: Any) -> Sequence[Any]:
    """All rows of a statement, the values of one column as they are, those of several as tuples."""
    with transaction(engine) as connection:
        result = connection.execute(text(sql), parameters)
        rows = [tuple(row) for row in result] if result.returns_rows else []
    return [row[0] if len(row) == 1 else row for row in rows]


def set_job(engine: Engine, path: str, **columns: Any) -> None:
    """Set columns of the job of `http://path`, as a worker would."""
    assignments = ", ".join(f"{name} = :{name}" for name in columns)
    sql = f"""
        UPDATE clipgres.job SET {assignments}, updated_at = now()
        WHERE image_id = (SELECT id FROM clipgres.image WHERE url = :url) RETURNING image_id
    """
    assert query(engine, sql, url=f"http://{path}", **columns)
