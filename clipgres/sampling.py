"""Random rows of a table of vectors, at a cost that does not grow with the table."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from clipgres.collections import Collection
from clipgres.database import driver_connection

# Whole pages are taken. How many rows a page has is known once the table was analysed; until then a row is a vector and
# a little more. The limit is for estimates that are far off.
SAMPLE_SQL = """
    SELECT {columns}
    FROM {table} s TABLESAMPLE SYSTEM (least(100, 100.0 * %(rows)s / greatest(1, (
        SELECT pg_relation_size(t.oid) / 8192.0 * CASE
            WHEN t.reltuples > 0 AND t.relpages > 0 THEN t.reltuples / t.relpages
            ELSE 8192.0 / (2 * %(dimension)s + 150)
        END
        FROM pg_class t
        WHERE t.oid = to_regclass(%(table)s)
    ))))
    LIMIT 2 * %(rows)s
"""


def sample_rows(
    connection: Connection, collection: Collection, table: str, columns: str, rows: int
) -> list[tuple[Any, ...]]:
    """About `rows` random rows of one of the collection's tables of vectors, or all if it has no more."""
    statement = SAMPLE_SQL.format(columns=columns, table=table)
    parameters = {"rows": rows, "dimension": collection.space.dimension, "table": table}
    # Binary, since vectors as text take ten times as long to read.
    with driver_connection(connection).cursor(binary=True) as cursor:
        return cursor.execute(statement, parameters).fetchall()
