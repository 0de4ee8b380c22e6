"""Pages under any sequence of writes: nothing twice, nothing lost, in order."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, pairwise

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis import Redis
from sqlalchemy import Engine, text

from clipgres.answer import Answer
from clipgres.collections import Collection
from clipgres.database import transaction
from clipgres.request import SearchRequest
from clipgres.search import Searcher
from tests.asking import make_searcher, next_page, request_for
from tests.vectors import build_index, make_collection, put

# A coarse grid, so that many rows are at one distance.
coordinates = st.integers(-2, 2)
vectors = st.tuples(coordinates, coordinates, coordinates).filter(any)
names = count(1)

MOVE_SQL = "UPDATE {items} SET embedding = CAST(:vector AS halfvec) WHERE key = :key"
DELETE_SQL = "DELETE FROM {items} WHERE key = :key"
RANKING_SQL = """
    SELECT key FROM {items}
    WHERE namespace = '' AND (NOT :is_filtered OR metadata @> '{{"even": true}}')
    ORDER BY (embedding <=> CAST(:query AS halfvec)) + 0, id
"""


class PagesUnderWrites(RuleBasedStateMachine):
    """One search and its pages, while rows are added, moved and deleted."""

    def __init__(self, engine: Engine, searcher: Searcher) -> None:
        super().__init__()
        self.engine = engine
        self.searcher = searcher
        self.keys = count(1)

    @initialize(
        rows=st.lists(vectors, max_size=60),
        query=vectors,
        top_k=st.integers(1, 8),
        has_index=st.booleans(),
        is_filtered=st.booleans(),
    )
    def ask(
        self, rows: list[tuple[int, ...]], query: tuple[int, ...], top_k: int, has_index: bool, is_filtered: bool
    ) -> None:
        """Fill a collection and read the first page."""
        self.collection: Collection = make_collection(self.engine, 3, f"pages-{next(names)}")
        self.there = [self._add(vector) for vector in rows]
        if has_index:
            build_index(self.engine, self.collection)
        fields = {"filter": {"even": True}} if is_filtered else {}
        request: SearchRequest = request_for(query, collection=self.collection.name, top_k=top_k, **fields)
        # As they stand now; what is moved or deleted later is taken off.
        self.expected = self._ranking(query, is_filtered)
        self.first: Answer = self.searcher.search(request)
        self.page = self.first
        self.pages = [[hit.key for hit in self.page.hits]]
        self.moved: set[str] = set()
        self.deleted: set[str] = set()

    @rule(vector=vectors)
    def add(self, vector: tuple[int, ...]) -> None:
        """Add a row."""
        self._add(vector)

    @precondition(lambda self: self.there)
    @rule(data=st.data(), vector=vectors)
    def move(self, data: st.DataObject, vector: tuple[int, ...]) -> None:
        """Give a row another vector."""
        key = data.draw(st.sampled_from(self.there))
        self._write(MOVE_SQL, key=key, vector=str(list(vector)))
        self.moved.add(key)

    @precondition(lambda self: self.there)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        """Delete a row."""
        key = data.draw(st.sampled_from(self.there))
        self._write(DELETE_SQL, key=key)
        self.deleted.add(key)

    @precondition(lambda self: self.page.next)
    @rule()
    def turn(self) -> None:
        """Read the next page."""
        self.page = next_page(self.searcher, self.page)
        self.pages.append([hit.key for hit in self.page.hits])

    @precondition(lambda self: len(self.pages) > 1)
    @rule()
    def look_again(self) -> None:
        """Read the second page once more: it is the same but for what was deleted, and what moves up for that."""
        again = [hit.key for hit in next_page(self.searcher, self.first).hits]
        kept = [key for key in self.pages[1] if key not in self.deleted]
        assert again[: len(kept)] == kept

    @invariant()
    def nothing_comes_twice(self) -> None:
        """No key is on two pages."""
        shown = self._shown()
        assert len(shown) == len(set(shown))

    @invariant()
    def what_was_there_comes_in_order(self) -> None:
        """Rows that nobody touched stand in the order of their distance, ties by age."""
        place = {key: n for n, key in enumerate(self.expected)}
        places = [place[key] for key in self._shown() if key in place and key not in self.moved]
        assert all(before < after for before, after in pairwise(places))

    def teardown(self) -> None:
        """Turn to the last page: whatever was there and is still there was shown."""
        if not hasattr(self, "page"):
            return
        while self.page.next:
            self.turn()
        lost = set(self.expected) - set(self._shown()) - self.deleted
        assert not lost
        assert self.page.plan.capped is False

    def _shown(self) -> list[str]:
        return [key for page in self.pages for key in page]

    def _add(self, vector: tuple[int, ...]) -> str:
        number = next(self.keys)
        with transaction(self.engine) as connection:
            put(connection, self.collection, str(number), list(vector), metadata={"even": number % 2 == 0})
        return str(number)

    def _ranking(self, query: tuple[int, ...], is_filtered: bool) -> list[str]:
        statement = text(RANKING_SQL.format(items=self.collection.item_table))
        with transaction(self.engine) as connection:
            parameters = {"query": str(list(query)), "is_filtered": is_filtered}
            return list(connection.execute(statement, parameters).scalars())

    def _write(self, template: str, **parameters: object) -> None:
        with transaction(self.engine) as connection:
            connection.execute(text(template.format(items=self.collection.item_table)), parameters)


@pytest.fixture
def searcher(engine: Engine, redis_url: str) -> Iterator[Searcher]:
    """A searcher that keeps pages."""
    with Redis.from_url(redis_url) as client:
        yield make_searcher(engine, client)


def test_pages_hold_under_any_writes(engine: Engine, searcher: Searcher) -> None:
    run_state_machine_as_test(
        lambda: PagesUnderWrites(engine, searcher),
        settings=settings(
            max_examples=40,
            stateful_step_count=20,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
