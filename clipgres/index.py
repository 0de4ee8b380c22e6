"""The HNSW indexes of a collection: how each stands, when it is worth having, building it beside reads and writes."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from clipgres.collections import Collection
from clipgres.counts import count_rows
from clipgres.database import autocommit

log = logging.getLogger(__name__)

MOST_MEMORY_BYTES = 4 * 2**30
DISK_FULL = "53100"
# Bytes a row takes in the graph while it is built, on top of its vector.
GRAPH_ROW_BYTES = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexOf:
    """Which index is meant: its name without the schema, and the table of vectors it is over."""

    name: str
    table: str
    dimension: int

    @classmethod
    def items(cls, collection: Collection) -> IndexOf:
        """The index of a collection's items."""
        return cls(name=collection.index_name, table=collection.item_table, dimension=collection.space.dimension)

    @classmethod
    def captions(cls, collection: Collection) -> IndexOf:
        """The index of the captions of a collection's images."""
        return cls(
            name=collection.caption_index_name, table=collection.caption_table, dimension=collection.space.dimension
        )


@dataclass(frozen=True, slots=True)
class IndexState:
    """How an index stands; one that is there but neither valid nor being built is what a failed build left."""

    name: str
    is_there: bool
    is_valid: bool
    is_building: bool
    bytes: int


STATE_SQL = text("""
    SELECT i.indisvalid AND i.indisready AS is_valid, pg_relation_size(i.indexrelid) AS bytes,
           EXISTS (
               SELECT FROM pg_stat_progress_create_index p
               WHERE p.index_relid = i.indexrelid AND p.datname = current_database()
           ) AS is_building
    FROM pg_index i
    WHERE i.indexrelid = to_regclass(:name)
""")
# Tried, not waited for: a session that waits for a lock holds a snapshot, which CONCURRENTLY waits for in its turn.
LOCK_SQL = text("SELECT pg_try_advisory_lock(hashtextextended(:name, 4713))")
UNLOCK_SQL = text("SELECT pg_advisory_unlock(hashtextextended(:name, 4713))")
# What the server's machine has is not known here: a fourth of what the server counts on as its cache is free for this.
SESSION_SQL = text("""
    SELECT set_config('lock_timeout', '0', false), set_config('statement_timeout', '0', false),
           set_config('maintenance_work_mem', greatest(
               pg_size_bytes(current_setting('maintenance_work_mem')),
               least(:needed, pg_size_bytes(current_setting('effective_cache_size')) / 4, :most)
           ) / 1024 || 'kB', false)
""")
ONE_PROCESS_SQL = text("SET max_parallel_maintenance_workers = 0")
RESET_SQL = text("RESET ALL")
DROP_SQL = "DROP INDEX CONCURRENTLY IF EXISTS clipgres.{index}"
BUILD_SQL = "CREATE INDEX CONCURRENTLY {index} ON {table} USING hnsw (embedding halfvec_cosine_ops)"
ANALYZE_SQL = "ANALYZE {table}"


def index_state(connection: Connection, index: IndexOf) -> IndexState:
    """How an index stands."""
    row = connection.execute(STATE_SQL, {"name": f"clipgres.{index.name}"}).first()
    if row is None:
        return IndexState(index.name, False, False, False, 0)
    return IndexState(index.name, True, row.is_valid, row.is_building, row.bytes)


def needs_index(connection: Connection, index: IndexOf, index_rows: int) -> bool:
    """Whether the table has `index_rows` rows or more and no valid index."""
    if index_state(connection, index).is_valid:
        return False
    return count_rows(connection, index.table, cap=index_rows).items >= index_rows


def build_index(engine: Engine, index: IndexOf) -> bool:
    """Build the index beside reads and writes, in place of what a failed build left; then refresh the statistics.

    Returns False if another session is building it, or it is there already.

    Raises:
        Unavailable: the server went away, or lacks the memory or disk to build it.
    """
    with autocommit(engine) as connection:
        if not connection.execute(LOCK_SQL, {"name": index.name}).scalar_one():
            return False
        try:
            state = index_state(connection, index)
            if state.is_valid or state.is_building:
                return False
            _build(connection, index)
            return True
        finally:
            connection.execute(RESET_SQL)
            connection.execute(UNLOCK_SQL, {"name": index.name})


def _build(connection: Connection, index: IndexOf) -> None:
    names = {"index": index.name, "table": index.table}
    connection.exec_driver_sql(DROP_SQL.format(**names))
    connection.exec_driver_sql(ANALYZE_SQL.format(**names))
    needed = count_rows(connection, index.table).items * (2 * index.dimension + GRAPH_ROW_BYTES)
    connection.execute(SESSION_SQL, {"needed": needed, "most": MOST_MEMORY_BYTES})
    try:
        connection.exec_driver_sql(BUILD_SQL.format(**names))
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", None) != DISK_FULL:
            raise
        # Parallel builds need shared memory for the whole graph, of which containers have little.
        log.warning("the index %s is built by one process: %s", index.name, error.orig)
        connection.execute(ONE_PROCESS_SQL)
        connection.exec_driver_sql(DROP_SQL.format(**names))
        connection.exec_driver_sql(BUILD_SQL.format(**names))
    connection.exec_driver_sql(ANALYZE_SQL.format(**names))
