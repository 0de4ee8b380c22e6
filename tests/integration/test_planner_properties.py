"""Filters and plans against arithmetic: whatever is asked, the rows are those that plain Python finds."""

from __future__ import annotations

import json
import operator
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from clipgres.collections import Collection
from clipgres.database import search_engine, transaction
from clipgres.filters import compile_filter
from clipgres.plans import Estimates, Found, Wanted, costs, find_rows
from clipgres.query import QueryVector
from clipgres.request import Criterion, Mode
from clipgres.settings import Settings
from tests.vectors import (
    Array,
    build_caption_index,
    build_index,
    clustered,
    fill,
    fill_captions,
    make_collection,
)

ROWS, DIMENSION = 400, 8
TIMEOUT_MS = 10_000
WORDS = ["sea", "sky", "a.b", "Ünï", "'; --", '"', "", "7"]
SCALARS = [None, True, False, 0, 1, 7, -2.5, 1e3, *WORDS]

Row = dict[str, Any]


@dataclass(frozen=True)
class World:
    """A collection, and what it holds as Python sees it: `distances` has one row an item and a column a vector."""

    collection: Collection
    rows: list[Row]
    vectors: Array
    captions: list[list[Array]]

    def distances(self, query: Array, criterion: Criterion) -> list[float | None]:
        """How far each item is from a query; None where it has no vector to compare with."""
        per_item = [[vector] for vector in self.vectors] if criterion is Criterion.IMAGE else self.captions
        return [min((_distance(query, vector) for vector in vectors), default=None) for vectors in per_item]


def _distance(query: Array, vector: Array) -> float:
    left, right = (each.astype(np.float16).astype(np.float64) for each in (query, vector))
    return float(1 - left @ right / np.linalg.norm(left) / np.linalg.norm(right))


@pytest.fixture(params=["without index", "indexed"])
def world(request: pytest.FixtureRequest, engine: Engine) -> Iterator[World]:
    """400 items, with images of 100 + n px on ten hosts, metadata of all kinds and none to three captions each."""
    chance = random.Random(0)
    collection, vectors = make_collection(engine, DIMENSION), clustered(ROWS, DIMENSION)
    fill(engine, collection, vectors, with_images=True)
    captions = [list(clustered(chance.randrange(4), DIMENSION, seed=n + 1)) for n in range(ROWS)]
    fill_captions(engine, collection, captions)
    metadata = [_metadata(chance, n) for n in range(ROWS)]
    with transaction(engine) as connection:
        statement = text(f"UPDATE {collection.item_table} SET metadata = CAST(:row AS jsonb) WHERE key = :key")
        connection.execute(statement, [{"key": str(n), "row": json.dumps(row)} for n, row in enumerate(metadata)])
        connection.execute(text(f"UPDATE {collection.item_table} SET image_id = NULL WHERE CAST(key AS int) >= 390"))
        connection.execute(text(f"UPDATE {collection.item_table} SET namespace = 'b' WHERE CAST(key AS int) % 7 = 3"))
    rows = [
        {
            "key": str(n),
            "namespace": "b" if n % 7 == 3 else "",
            "width": 100 + n if n < 390 else None,
            "host": f"host-{n % 10}.org" if n < 390 else None,
            "metadata": row,
        }
        for n, row in enumerate(metadata)
    ]
    captions[390:] = [[] for _ in range(10)]
    if request.param == "indexed":
        build_index(engine, collection)
        build_caption_index(engine, collection)
    yield World(collection, rows, vectors, captions)


@pytest.fixture
def searching(database_url: str) -> Iterator[Engine]:
    """An engine made for searches."""
    engine = search_engine(database_url, Settings(search_timeout_ms=TIMEOUT_MS), "tests searching")
    yield engine
    engine.dispose()


def _metadata(chance: random.Random, n: int) -> Row:
    def value(depth: int = 0) -> Any:
        kind = chance.random()
        if kind < 0.15 and depth < 3:
            return [value(depth + 1) for _ in range(chance.randrange(3))]
        if kind < 0.3 and depth < 3:
            return {chance.choice(["x", "7", "a.b", "0"]): value(depth + 1) for _ in range(2)}
        return chance.choice(SCALARS)

    return {"n": n, **{name: value() for name in ("tag", "deep", "rare") if chance.random() < 0.8}}


NUMBERS = st.one_of(st.integers(-3, 500), st.sampled_from([0.5, 7.0, -2.5, 1e3]))
TEXTS = st.sampled_from(WORDS)
ENTRIES = st.one_of(st.booleans(), NUMBERS, TEXTS)
ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}
PATHS = st.sampled_from(
    ["n", "tag", "deep", "deep.x", "deep.x.x", "deep.7", "deep.0", "tag.1", "none", '"a.b"', "rare"]
)


def leaves(names: st.SearchStrategy[str], entries: st.SearchStrategy[Any], ordered: st.SearchStrategy[Any]) -> Any:
    """Conditions on one field."""
    operators = st.one_of(
        st.fixed_dictionaries({"$eq": entries}),
        st.fixed_dictionaries({"$ne": entries}),
        st.fixed_dictionaries({"$in": st.lists(entries, max_size=4)}),
        st.fixed_dictionaries({"$nin": st.lists(entries, max_size=4)}),
        st.fixed_dictionaries({"$exists": st.booleans()}),
        st.sampled_from(list(ORDER)).flatmap(lambda name: st.fixed_dictionaries({name: ordered})),
    )
    return st.builds(lambda name, condition: {name: condition}, names, operators)


LEAVES: st.SearchStrategy[dict[str, Any]] = st.one_of(
    leaves(st.just("width"), NUMBERS, NUMBERS),
    leaves(st.just("host"), st.sampled_from(["host-1.org", "host-2.org", "none"]), st.just("host-5.org")),
    leaves(st.just("key"), st.sampled_from(["1", "30", "399"]), st.just("5")).filter(lambda leaf: not _has_order(leaf)),
    leaves(PATHS, ENTRIES, st.one_of(NUMBERS, TEXTS)),
    leaves(PATHS, ENTRIES, st.one_of(NUMBERS, TEXTS)),
)
FILTERS: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({}),
    st.recursive(
        LEAVES,
        lambda inner: st.one_of(
            st.fixed_dictionaries({"$and": st.lists(inner, min_size=1, max_size=3)}),
            st.fixed_dictionaries({"$or": st.lists(inner, min_size=1, max_size=3)}),
            st.fixed_dictionaries({"$not": inner}),
        ),
        max_leaves=5,
    ),
)


def _has_order(leaf: dict[str, dict[str, Any]]) -> bool:
    return any(name in ORDER for condition in leaf.values() for name in condition)


def holds(given_filter: dict[str, Any], row: Row) -> bool:
    """Whether a row meets a filter, by the rules of the language and nothing else."""
    for name, value in given_filter.items():
        if name == "$and":
            met = all(holds(part, row) for part in value)
        elif name == "$or":
            met = any(holds(part, row) for part in value)
        elif name == "$not":
            met = not holds(value, row)
        else:
            met = all(_meets(values_of(name, row), operator_, operand) for operator_, operand in value.items())
        if not met:
            return False
    return True


def _meets(values: list[Any], operator_: str, operand: Any) -> bool:
    there = [value for value in values if value is not None]
    if operator_ == "$exists":
        return bool(there) is operand
    if operator_ in ORDER:
        return any(ORDER[operator_](value, operand) for value in there if _kind(value) is _kind(operand))
    entries = operand if operator_ in ("$in", "$nin") else [operand]
    is_one = any(_kind(value) is _kind(entry) and value == entry for value in there for entry in entries)
    return is_one is (operator_ in ("$eq", "$in"))


def _kind(value: Any) -> type:
    return float if isinstance(value, int | float) and not isinstance(value, bool) else type(value)


def values_of(name: str, row: Row) -> list[Any]:
    """The values that a name stands for: lists are looked into at every step and at the end."""
    if name in row:
        return [row[name]]
    found: list[Any] = [row["metadata"]]
    for part in [name.strip('"')] if name.startswith('"') else name.split("."):
        found = [value for each in found for value in _step(each, part)]
    return [value for each in found for entry in _entries(each) for value in _entries(entry)]


def _step(value: Any, part: str) -> Iterator[Any]:
    yield from (entry[part] for entry in _entries(value) if isinstance(entry, dict) and part in entry)
    if part.isdecimal() and int(part) < len(_entries(value)):
        yield _entries(value)[int(part)]


def _entries(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def search(engine: Engine, world: World, query: Array, estimates: Estimates, **fields: Any) -> Found:
    """Find rows by the plans."""
    given_filter = fields.pop("filter")
    wanted = Wanted(
        collection=world.collection,
        query=QueryVector(vector=query, left_out=[]),
        condition=compile_filter(given_filter),
        timeout_ms=TIMEOUT_MS,
        max_scan_tuples=20_000,
        **fields,
    )
    return find_rows(engine, wanted, estimates)


@pytest.mark.parametrize("criterion", [Criterion.IMAGE, Criterion.TEXT])
@pytest.mark.parametrize("index_is_cheap", [False, True])
def test_the_rows_are_those_that_python_finds(
    searching: Engine, world: World, criterion: Criterion, index_is_cheap: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if index_is_cheap:
        monkeypatch.setattr(costs, "CANDIDATE_MS", 1e-6)
    estimates = Estimates()

    @given(
        given_filter=FILTERS,
        seed=st.integers(0, 50),
        limit=st.sampled_from([1, 3, 10, 100, 1_000]),
        namespace=st.sampled_from(["", "b", "none"]),
        mode=st.sampled_from([Mode.AUTO, Mode.AUTO, Mode.EXACT]),
    )
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    def check(given_filter: dict[str, Any], seed: int, limit: int, namespace: str, mode: Mode) -> None:
        query = clustered(1, DIMENSION, seed=1_000 + seed)[0]
        fields = {"namespace": namespace, "limit": limit, "mode": mode, "criterion": criterion}
        found = search(searching, world, query, estimates, filter=given_filter, **fields)
        expected = {
            row["key"]: distance
            for row, distance in zip(world.rows, world.distances(query, criterion), strict=True)
            if row["namespace"] == namespace and distance is not None and holds(given_filter, row)
        }
        nearest = sorted(expected.values())[:limit]
        distances = [row.distance for row in found.rows]
        assert len(found.rows) == len(nearest)
        assert distances == sorted(distances)
        assert {row.key for row in found.rows} <= set(expected)
        assert distances == pytest.approx([expected[row.key] for row in found.rows], abs=1e-4)
        if found.index is None:
            assert distances == pytest.approx(nearest, abs=1e-4)
            assert found.matches.count == len(expected)
        assert not found.capped

    check()
