"""Counting a collection: exact while it is small, the planner's estimate above."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, text

from clipgres import collections
from clipgres.counts import ItemCount, count_items
from clipgres.database import transaction
from clipgres.models import Space

SPACE = Space(model="m", revision="r", preprocessing="p", dimension=2)
FILL_SQL = """
    INSERT INTO {items} (key, namespace, metadata, embedding)
    SELECT n::text, '', '{{}}', '[1,1]' FROM generate_series(1, 8) n
"""


@pytest.mark.parametrize(("cap", "expected"), [(8, ItemCount(8, is_exact=True)), (5, ItemCount(8, is_exact=False))])
def test_a_count_is_exact_up_to_its_cap(engine: Engine, cap: int, expected: ItemCount) -> None:
    with transaction(engine) as connection:
        made = collections.create(connection, "pets", SPACE)
        connection.execute(text(FILL_SQL.format(items=made.item_table)))
        connection.execute(text(f"ANALYZE {made.item_table}"))
        assert count_items(connection, made, cap=cap) == expected
