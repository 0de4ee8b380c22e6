"""How many items a collection has, in a moment however many there are."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text

from clipgres.collections import Collection

COUNTED_ITEMS = 10_000
CAPPED_SQL = """
    SELECT (SELECT count(*) FROM (SELECT FROM {items} LIMIT :cap + 1) capped) AS counted,
           (SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass(:items)) AS estimated
"""


@dataclass(frozen=True, slots=True)
class ItemCount:
    """How many items there are; not exact where it is the planner's estimate."""

    items: int
    is_exact: bool


def count_items(connection: Connection, collection: Collection, *, cap: int = COUNTED_ITEMS) -> ItemCount:
    """Count a collection's items: exactly up to `cap`, above that as the planner estimates."""
    statement = text(CAPPED_SQL.format(items=collection.item_table))
    row = connection.execute(statement, {"items": collection.item_table, "cap": cap}).one()
    if row.counted <= cap:
        return ItemCount(row.counted, is_exact=True)
    return ItemCount(max(row.counted, row.estimated), is_exact=False)
