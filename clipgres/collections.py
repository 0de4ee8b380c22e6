"""Collections: one model, one dimension, one table of items and one HNSW index each; aliases are their names."""

from __future__ import annotations

import difflib
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Row, text

from clipgres import aliases
from clipgres.errors import Conflict, ModelError, NotFound
from clipgres.models import Space

DEFAULT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """A collection as others see it, under the alias it was found by."""

    id: int
    name: str
    space: Space
    created_at: datetime

    @property
    def item_table(self) -> str:
        """The table of its items, fit to stand in a statement: the id is a number of ours."""
        return f"clipgres.item_{self.id:d}"

    @property
    def caption_table(self) -> str:
        """The table of its caption embeddings."""
        return f"clipgres.caption_{self.id:d}"

    @property
    def index_name(self) -> str:
        """The name of its HNSW index, without the schema."""
        return f"item_{self.id:d}_hnsw_idx"

    @property
    def caption_index_name(self) -> str:
        """The name of the HNSW index of its captions, without the schema."""
        return f"caption_{self.id:d}_hnsw_idx"


FIND_SQL = text("""
    SELECT c.id, a.name, c.model, c.model_revision, c.preprocessing, c.dimension, c.created_at
    FROM clipgres.alias a
    JOIN clipgres.collection c ON c.id = a.collection_id
    WHERE c.state = 'ready' AND a.name = :name
""")

# Its jobs are done under whatever name there is, and without one under its number.
FIND_BY_ID_SQL = text("""
    SELECT c.id, coalesce((SELECT min(a.name) FROM clipgres.alias a WHERE a.collection_id = c.id), c.id::text) AS name,
           c.model, c.model_revision, c.preprocessing, c.dimension, c.created_at
    FROM clipgres.collection c
    WHERE c.state = 'ready' AND c.id = :id
""")

LIST_SQL = text("""
    SELECT c.id, a.name, c.model, c.model_revision, c.preprocessing, c.dimension, c.created_at
    FROM clipgres.alias a
    JOIN clipgres.collection c ON c.id = a.collection_id
    WHERE c.state = 'ready'
    ORDER BY a.name
""")

INSERT_SQL = text("""
    INSERT INTO clipgres.collection (model, model_revision, preprocessing, dimension)
    VALUES (:model, :revision, :preprocessing, :dimension)
    RETURNING id
""")

# HNSW never returns a zero vector under cosine distance, so none may enter.
TABLES_SQL = """
    CREATE TABLE {items} (
        LIKE clipgres.item INCLUDING ALL,
        embedding halfvec({dimension}) NOT NULL CHECK (l2_norm(embedding) > 0)
    );
    CREATE TABLE {captions} (
        LIKE clipgres.caption_embedding INCLUDING ALL,
        embedding halfvec({dimension}) NOT NULL CHECK (l2_norm(embedding) > 0)
    );
"""

# From about 1,000 dimensions a row outgrows PostgreSQL's 2 kB target and would be moved out of line.
INLINE_SQL = "ALTER TABLE {table} SET (toast_tuple_target = 8160)"
INLINE_FROM_DIMENSION = 900


def create(connection: Connection, name: str, space: Space) -> Collection:
    """Make an empty collection in `space` under the alias `name`.

    Raises:
        BadRequest: the name does not fit.
        Conflict: the name is taken.
    """
    aliases.check_name(name)
    aliases.lock(connection)
    if connection.execute(FIND_SQL, {"name": name}).first():
        raise Conflict(f'there is a collection "{name}" already; choose another name or delete it')
    parameters = {"model": space.model, "revision": space.revision, "preprocessing": space.preprocessing}
    new_id = connection.execute(INSERT_SQL, {**parameters, "dimension": space.dimension}).scalar_one()
    items, captions = f"clipgres.item_{new_id:d}", f"clipgres.caption_{new_id:d}"
    connection.exec_driver_sql(TABLES_SQL.format(items=items, captions=captions, dimension=int(space.dimension)))
    if space.dimension >= INLINE_FROM_DIMENSION:
        for table in (items, captions):
            connection.exec_driver_sql(INLINE_SQL.format(table=table))
    aliases.point(connection, name, new_id)
    return find(connection, name)


def find(connection: Connection, name: str) -> Collection:
    """The collection under an alias.

    Raises:
        NotFound: there is none; names the nearest, or how to make one.
    """
    row = connection.execute(FIND_SQL, {"name": name}).first()
    if row is None:
        raise NotFound(f'there is no collection "{name[:60]}"{_suggestion(connection, name)}')
    return _from_row(row)


def find_by_id(connection: Connection, collection_id: int) -> Collection | None:
    """The collection with an id, whether or not an alias names it; None once it is deleted."""
    row = connection.execute(FIND_BY_ID_SQL, {"id": collection_id}).first()
    return None if row is None else _from_row(row)


def find_or_create(connection: Connection, name: str, space: Space) -> Collection:
    """The collection under an alias, made in `space` if there is none.

    Raises:
        ModelError: it exists, in another space.
    """
    if connection.execute(FIND_SQL, {"name": name}).first() is None:
        with suppress(Conflict):  # another made it at this moment
            return create(connection, name, space)
    collection = find(connection, name)
    check_space(collection, space)
    return collection


def list_all(connection: Connection) -> list[Collection]:
    """All collections by alias, in order of name; one with two aliases stands twice."""
    return [_from_row(row) for row in connection.execute(LIST_SQL)]


def check_space(collection: Collection, space: Space) -> None:
    """Refuse to mix two spaces.

    Raises:
        ModelError: the model in hand is not the one the collection's vectors were made with.
    """
    if collection.space != space:
        raise ModelError(
            f'collection "{collection.name}" holds vectors of {collection.space.describe()}, '
            f"but the model in hand is {space.describe()}; set CLIPGRES_MODEL to the former or use another collection"
        )


def set_alias(connection: Connection, name: str, target: Collection) -> Collection:
    """Point the alias `name`, new or old, at a collection, in the caller's transaction."""
    aliases.check_name(name)
    aliases.lock(connection)
    aliases.point(connection, name, target.id)
    return find(connection, name)


def delete(connection: Connection, name: str) -> None:
    """Drop a collection with all its aliases, items and jobs; images that nothing else asks for go too.

    The caller's transaction should have a short lock_timeout: a long reader then gives an error instead of a queue.
    """
    collection = find(connection, name)
    parameters = {"id": collection.id}
    # Jobs before tables, the order in which a worker locks them when it writes.
    for statement in DELETE_JOBS_SQL:
        connection.execute(statement, parameters)
    aliases.drop(connection, collection.id)
    connection.exec_driver_sql(f"DROP TABLE IF EXISTS {collection.item_table}, {collection.caption_table}")
    connection.execute(DELETE_SQL, parameters)


DELETE_JOBS_SQL = (
    text("DELETE FROM clipgres.batch WHERE collection_id = :id"),
    text("""
        WITH gone AS (DELETE FROM clipgres.job WHERE collection_id = :id RETURNING image_id)
        DELETE FROM clipgres.image im
        USING gone
        WHERE im.id = gone.image_id
          AND NOT EXISTS (SELECT 1 FROM clipgres.job j WHERE j.image_id = im.id AND j.collection_id <> :id)
    """),
)
DELETE_SQL = text("DELETE FROM clipgres.collection WHERE id = :id")


def _suggestion(connection: Connection, name: str) -> str:
    names = [collection.name for collection in list_all(connection)]
    if not names:
        return "; there are none yet: `clipgres add` makes one"
    near = difflib.get_close_matches(name, names, n=1)
    return f'; did you mean "{near[0]}"?' if near else f"; there is: {', '.join(names[:10])}"


def _from_row(row: Row[tuple[object, ...]]) -> Collection:
    space = Space(
        model=row.model, revision=row.model_revision, preprocessing=row.preprocessing, dimension=row.dimension
    )
    return Collection(id=row.id, name=row.name, space=space, created_at=row.created_at)
