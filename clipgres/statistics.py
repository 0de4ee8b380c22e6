"""What a collection holds and how it stands: counts, sizes, its index."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from clipgres.collections import Collection, list_all
from clipgres.index import IndexOf, IndexState, index_state
from clipgres.schema import JobStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionStatistics:
    """One collection in numbers: sizes in bytes, and `captions_waiting` in images whose captions have no vector yet.

    What a person ignores is not among the `failed`.
    """

    name: str
    model: str
    revision: str
    dimension: int
    items: int
    pending: int
    leased: int
    ok: int
    failed: int
    ignored: int
    table_bytes: int
    index: IndexState
    captions: int
    captions_waiting: int
    caption_index: IndexState
    created_at: datetime


ROWS_SQL = "SELECT count(*) FROM {table}"
JOBS_SQL = text("""
    SELECT CASE WHEN ignored_at IS NULL THEN status ELSE 'ignored' END AS standing, count(*) AS jobs
    FROM clipgres.job
    WHERE collection_id = :collection
    GROUP BY standing
""")
CAPTION_JOBS_SQL = text("SELECT count(*) FROM clipgres.caption_job WHERE collection_id = :collection")
SIZE_SQL = text("SELECT pg_table_size(to_regclass(:items))")


def collection_statistics(connection: Connection, collection: Collection) -> CollectionStatistics:
    """Count one collection; exact, so it takes a moment on millions of items."""
    ours = {"collection": collection.id}
    jobs = {row.standing: row.jobs for row in connection.execute(JOBS_SQL, ours)}
    return CollectionStatistics(
        name=collection.name,
        model=collection.space.model,
        revision=collection.space.revision,
        dimension=collection.space.dimension,
        items=_rows(connection, collection.item_table),
        pending=jobs.get(JobStatus.PENDING, 0),
        leased=jobs.get(JobStatus.LEASED, 0),
        ok=jobs.get(JobStatus.OK, 0),
        failed=jobs.get(JobStatus.FAILED, 0),
        ignored=jobs.get("ignored", 0),
        table_bytes=connection.execute(SIZE_SQL, {"items": collection.item_table}).scalar_one(),
        index=index_state(connection, IndexOf.items(collection)),
        captions=_rows(connection, collection.caption_table),
        captions_waiting=connection.execute(CAPTION_JOBS_SQL, ours).scalar_one(),
        caption_index=index_state(connection, IndexOf.captions(collection)),
        created_at=collection.created_at,
    )


def all_statistics(connection: Connection) -> list[CollectionStatistics]:
    """Count every collection, by name."""
    return [collection_statistics(connection, collection) for collection in list_all(connection)]


def _rows(connection: Connection, table: str) -> int:
    rows: int = connection.execute(text(ROWS_SQL.format(table=table))).scalar_one()
    return rows
