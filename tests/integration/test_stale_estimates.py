"""What is remembered of tables and filters turns out old: the rows are right all the same, and it is learned."""

from __future__ import annotations

import numpy as np
import pytest
from sqlalchemy import Engine, text

from clipgres.collections import Collection
from clipgres.database import transaction
from clipgres.filters import compile_filter
from clipgres.plans import Found, Method, Wanted, find_rows
from clipgres.plans.estimates import Estimates, Matching
from clipgres.query import QueryVector
from clipgres.request import Mode
from tests.vectors import Array, build_index, clustered, fill, make_collection, nearest, put

DIMENSION = 8
ROWS = 12_000


def wanted(collection: Collection, query: Array, **conditions: object) -> Wanted:
    """The ten nearest that meet conditions on the metadata."""
    return Wanted(
        collection=collection,
        query=QueryVector(vector=query),
        condition=compile_filter(conditions),
        namespace="",
        limit=10,
        mode=Mode.AUTO,
        timeout_ms=5_000,
        max_scan_tuples=20_000,
    )


def keys(found: Found) -> list[str]:
    """What was found, in order."""
    return [row.key for row in found.rows]


@pytest.fixture
def indexed(engine: Engine) -> tuple[Collection, Array]:
    """A collection that is big enough for exact search on all of it to be the worse plan."""
    collection, vectors = make_collection(engine, DIMENSION), clustered(ROWS, DIMENSION)
    fill(engine, collection, vectors)
    build_index(engine, collection)
    return collection, vectors


def test_an_index_that_was_dropped_is_not_named(engine: Engine, indexed: tuple[Collection, Array]) -> None:
    (collection, vectors), estimates = indexed, Estimates()
    asked = wanted(collection, vectors[0])
    assert find_rows(engine, asked, estimates).method is Method.INDEX
    with transaction(engine) as connection:
        connection.execute(text(f"DROP INDEX clipgres.{collection.index_name}"))
    found = find_rows(engine, asked, estimates)
    assert (found.method, found.index, keys(found)) == (Method.EXACT, None, nearest(vectors, vectors[0], 10))


def test_a_table_that_grew_is_searched_to_its_end(engine: Engine) -> None:
    collection, vectors, estimates = make_collection(engine, DIMENSION), clustered(ROWS, DIMENSION), Estimates()
    with transaction(engine) as connection:
        put(connection, collection, "first", (-vectors[0]).tolist())
    assert find_rows(engine, wanted(collection, vectors[0]), estimates).matches.count == 1
    fill(engine, collection, vectors)
    build_index(engine, collection)
    found = find_rows(engine, wanted(collection, vectors[0]), estimates)
    assert (found.method, found.matches.count) == (Method.EXACT, ROWS + 1)
    assert keys(found) == nearest(vectors, vectors[0], 10)


def test_a_filter_that_went_wide_is_left_to_the_index(engine: Engine, indexed: tuple[Collection, Array]) -> None:
    (collection, vectors), estimates = indexed, Estimates()
    asked = wanted(collection, vectors[0], n={"$gte": 100})
    estimates.learn(asked.filter_key, Matching(rows=3, finding=10.0))
    found = find_rows(engine, asked, estimates)
    assert (found.method, len(found.rows), found.matches.is_exact) == (Method.INDEX, 10, False)
    assert estimates.matching(asked.filter_key, lambda: Matching(0, 0.0)).rows >= 10_000


def test_a_filter_that_went_narrow_is_finished_exactly(engine: Engine, indexed: tuple[Collection, Array]) -> None:
    (collection, vectors), estimates = indexed, Estimates()
    asked = wanted(collection, vectors[0], group=7, n={"$lt": 1_000})
    estimates.learn(asked.filter_key, Matching(rows=ROWS, finding=1_000.0))
    found = find_rows(engine, asked, estimates)
    among = (np.arange(ROWS) % 100 == 7) & (np.arange(ROWS) < 1_000)
    assert (found.method, keys(found)) == (Method.INDEX_THEN_EXACT, nearest(vectors, vectors[0], 10, among=among))
    assert find_rows(engine, asked, estimates).method is Method.EXACT_ON_FILTER


def test_what_a_search_counted_is_known_to_the_next(engine: Engine, indexed: tuple[Collection, Array]) -> None:
    (collection, vectors), estimates = indexed, Estimates()
    asked = wanted(collection, vectors[0], group=7)
    assert find_rows(engine, asked, estimates).matches.count == ROWS // 100
    assert estimates.matching(asked.filter_key, lambda: Matching(0, 0.0)).rows == ROWS // 100
