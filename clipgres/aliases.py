"""Aliases: the names of collections, and the two views that make a name a table to whoever writes SQL."""

from __future__ import annotations

import re

from psycopg.errors import DependentObjectsStillExist
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from clipgres.errors import BadRequest, Conflict
from clipgres.schema import ALIAS_PATTERN, VIEWS

CAPTION_VIEWS = "collection_captions"

# One at a time may give out names.
LOCK_SQL = text("SELECT pg_advisory_xact_lock(hashtext('clipgres.alias'))")
POINT_SQL = text("""
    INSERT INTO clipgres.alias (name, collection_id) VALUES (:name, :id)
    ON CONFLICT (name) DO UPDATE SET collection_id = excluded.collection_id
""")
DELETE_SQL = text("DELETE FROM clipgres.alias WHERE collection_id = :id RETURNING name")

# Cast to halfvec without a dimension, so that an alias can move to a model of another one; new columns go last.
VIEW_SQL = """
    CREATE OR REPLACE VIEW {views}."{name}" AS
    SELECT i.key, i.namespace, i.embedding::halfvec AS embedding, im.url,
           (SELECT c.text FROM clipgres.caption c WHERE c.image_id = i.image_id ORDER BY c.id LIMIT 1) AS caption,
           ARRAY(SELECT c.text FROM clipgres.caption c WHERE c.image_id = i.image_id ORDER BY c.id) AS captions,
           im.width, im.height, im.host, i.metadata, i.id, i.image_id, im.bytes, im.content_type, im.is_valid,
           im.last_seen_alive, i.created_at
    FROM clipgres.item_{id:d} i
    LEFT JOIN clipgres.image im ON im.id = i.image_id
"""
CAPTION_VIEW_SQL = """
    CREATE OR REPLACE VIEW {views}."{name}" AS
    SELECT c.text AS caption, e.embedding::halfvec AS embedding, i.key, i.namespace, i.image_id, im.url,
           im.width, im.height, im.host, i.metadata, i.id, c.id AS caption_id, c.source, c.tsv
    FROM clipgres.caption_{id:d} e
    JOIN clipgres.caption c ON c.id = e.caption_id
    JOIN clipgres.item_{id:d} i ON i.image_id = e.image_id
    LEFT JOIN clipgres.image im ON im.id = e.image_id
"""


def check_name(name: str) -> None:
    """Refuse a name that cannot be an alias.

    Raises:
        BadRequest: saying what a name may hold.
    """
    if not re.fullmatch(ALIAS_PATTERN.strip("^$"), name):
        raise BadRequest(
            "a collection's name has 1 to 45 characters of a-z, 0-9, _ and -, the first a letter or digit", "collection"
        )


def lock(connection: Connection) -> None:
    """Let no other transaction give out names until this one ends."""
    connection.execute(LOCK_SQL)


def point(connection: Connection, name: str, collection_id: int) -> None:
    """Let a checked name, new or old, mean the collection, to SQL too."""
    connection.execute(POINT_SQL, {"name": name, "id": collection_id})
    connection.exec_driver_sql(VIEW_SQL.format(views=VIEWS, name=name, id=collection_id))
    connection.exec_driver_sql(CAPTION_VIEW_SQL.format(views=CAPTION_VIEWS, name=name, id=collection_id))


def drop(connection: Connection, collection_id: int) -> None:
    """Take all its names from a collection, with their views.

    Raises:
        Conflict: a view of somebody's stands on one of them.
    """
    for name in connection.execute(DELETE_SQL, {"id": collection_id}).scalars().all():
        try:
            connection.exec_driver_sql(f'DROP VIEW IF EXISTS {VIEWS}."{name}", {CAPTION_VIEWS}."{name}"')
        except DBAPIError as error:
            if not isinstance(error.orig, DependentObjectsStillExist):
                raise
            uses = (error.orig.diag.message_detail or "").splitlines()[0]
            raise Conflict(f'"{name}" is in use in SQL: {uses}; drop that first, or move the alias') from error
