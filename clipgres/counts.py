"""How many items a collection has, in a moment however many there are."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text

from clipgres.collections import Collection

COUNTED_ITEMS = 10_000
CAPPED_SQL = """
    SELECT (SELECT count(*) FROM (SELECT FROM {table} LIMIT :cap + 1) capped) AS counted,
           (SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass(:table)) AS estimated
"""


@dataclass(frozen=True, slots=True)
class ItemCount:
    """How many items there are; not exact where it is the planner's estimate."""

    items: int
    is_exact: bool


def count_items(connection: Connection, collection: Collection, *, cap: int = COUNTED_ITEMS) -> ItemCount:
    """Count a collection's items: exactly up to `cap`, above that as the planner estimates."""
    return count_rows(connection, collection.item_table, cap=cap)


def count_rows(connection: Connection, table: str, *, cap: int = COUNTED_ITEMS) -> ItemCount:
    """Count the rows of a table of ours likewise; its name is put into the statement."""
    row = connection.execute(text(CAPPED_SQL.format(table=table)), {"table": table, "cap": cap}).one()
    if row.counted <= cap:
        return ItemCount(row.counted, is_exact=True)
    return ItemCount(max(row.counted, row.estimated), is_exact=False)
