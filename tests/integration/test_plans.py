"""The plan that is chosen, what it does in the database, and what it says of itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from clipgres.collections import Collection
from clipgres.database import autocommit, search_engine, transaction
from clipgres.errors import BadRequest, Unavailable
from clipgres.filters import compile_filter
from clipgres.plans import Estimates, Wanted, find_rows
from clipgres.plans.scans import Scans
from clipgres.plans.statements import COUNTED_EXACT_SQL, EXACT_SQL, INDEX_SETTINGS_SQL, INDEX_SQL
from clipgres.query import QueryVector
from clipgres.request import Criterion, Mode
from clipgres.settings import Settings
from tests.asking import DIMENSION, ask, keys
from tests.vectors import (
    BUILD_SQL,
    Array,
    build_caption_index,
    build_index,
    clustered,
    fill,
    fill_captions,
    index_names,
    make_collection,
    make_indexed,
    nearest,
    put,
)


@pytest.fixture
def indexed(engine: Engine) -> tuple[Collection, Array]:
    """A collection of 1,000 rows with an index."""
    return make_indexed(engine, DIMENSION)


def recall(engine: Engine, collection: Collection, vectors: Array, **fields: Any) -> float:
    """How much of the true ten nearest is found, over twenty queries."""
    queries = clustered(20, vectors.shape[1], seed=1)
    answers = [ask(engine, collection, query, top_k=10, **fields) for query in queries]
    hits = [set(keys(answer)) & set(nearest(vectors, q, 10)) for q, answer in zip(queries, answers, strict=True)]
    return sum(map(len, hits)) / 200


def test_the_index_finds_nearly_all_and_the_plan_names_it(engine: Engine) -> None:
    collection, vectors = make_collection(engine, DIMENSION), clustered(5_000, DIMENSION)
    fill(engine, collection, vectors)
    build_index(engine, collection)
    assert recall(engine, collection, vectors) >= 0.95
    plan = ask(engine, collection, vectors[0], top_k=10).plan
    assert (plan.method, plan.index, plan.asked, plan.found) == ("index", collection.index_name, 10, 10)
    assert (plan.matched, plan.matched_is_exact, plan.capped) == (5_000, False, False)
    assert plan.ef_search and plan.took_ms > 0
    assert recall(engine, collection, vectors, mode="exact") == 1.0


def test_the_index_cannot_be_asked_for_where_there_is_none(engine: Engine) -> None:
    with pytest.raises(BadRequest, match='collection "default" has no finished index') as refused:
        ask(engine, make_collection(engine), [1, 0, 0, 0], mode="index")
    assert refused.value.field == "mode"


def test_an_index_whose_making_was_cut_short_is_not_used(engine: Engine) -> None:
    collection = make_collection(engine)
    with engine.connect() as writer, autocommit(engine) as builder:
        put(writer, collection, "held", [1, 0, 0, 0])
        builder.execute(text("SET lock_timeout = '50ms'"))
        with pytest.raises(OperationalError, match="lock timeout"):
            builder.execute(text(BUILD_SQL.format(how="CONCURRENTLY", **index_names(collection))))
        builder.execute(text("RESET lock_timeout"))
        left = text("SELECT indisvalid FROM pg_index WHERE indexrelid = CAST(:name AS regclass)")
        assert builder.execute(left, {"name": f"clipgres.{collection.index_name}"}).scalar_one() is False
        writer.commit()
    answer = ask(engine, collection, [1, 0, 0, 0])
    assert (keys(answer), answer.plan.method) == (["held"], "exact")


SLEEPY_SQL = """
    CREATE FUNCTION may_see(key text, sleepy text) RETURNS boolean LANGUAGE plpgsql
    AS $$ BEGIN IF key = sleepy THEN PERFORM pg_sleep(10); END IF; RETURN true; END $$;
    CREATE POLICY sleepy ON {items} USING (may_see(key, '{key}'));
    ALTER TABLE {items} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
"""


def test_wide_filters_use_the_index_and_what_it_misses_is_found_exactly(engine: Engine) -> None:
    vectors = clustered(12_000, 8)
    collection = make_collection(engine, 8)
    fill(engine, collection, vectors)
    build_index(engine, collection)
    query = vectors[0]

    answer = ask(engine, collection, query, filter={"n": {"$gte": 1_000}})
    assert (answer.plan.method, answer.plan.found, answer.plan.matched_is_exact) == ("index", 20, False)
    assert answer.plan.matched and answer.plan.matched > 10_000
    assert ask(engine, collection, query).plan.matched == len(vectors)

    # What was deleted stays in the graph until a vacuum, and is all that a short scan meets.
    gone = nearest(vectors, query, 8_000)
    rest = ~np.isin(np.arange(len(vectors)), [int(key) for key in gone])
    with transaction(engine) as connection:
        connection.execute(text(f"DELETE FROM {collection.item_table} WHERE key = ANY (:gone)"), {"gone": gone})
    short = Settings(search_max_scan_tuples=1, search_timeout_ms=1_000)
    answer = ask(engine, collection, query, settings=short)
    assert (answer.plan.method, answer.plan.capped) == ("index, then exact", False)
    assert keys(answer) == nearest(vectors, query, 20, among=rest)

    # An exact search that does not end in time leaves what the index gave, and says so.
    with transaction(engine) as connection:
        farthest = nearest(vectors, -query, 1)[0]
        connection.exec_driver_sql(SLEEPY_SQL.format(items=collection.item_table, key=farthest))
    answer = ask(engine, collection, query, settings=short)
    assert (answer.plan.method, answer.plan.capped) == ("index", True)
    assert answer.plan.found < 20


def test_items_without_captions_are_no_matches_of_a_search_in_captions(
    engine: Engine, indexed: tuple[Collection, Array]
) -> None:
    collection, vectors = indexed
    fill_captions(engine, collection, [[vector] for vector in vectors[:5]])
    build_caption_index(engine, collection)
    for mode in ("auto", "exact", "index"):
        plan = ask(engine, collection, vectors[0], criterion="text", mode=mode).plan
        assert (plan.found, plan.matched, plan.matched_is_exact, plan.capped) == (5, 5, True, False)


def test_an_index_is_used_as_soon_as_it_is_asked_for(engine: Engine) -> None:
    collection, vectors = make_collection(engine, DIMENSION), clustered(100, DIMENSION)
    fill(engine, collection, vectors)
    wanted, estimates = wanted_by(collection, {}), Estimates()
    assert find_rows(engine, wanted, estimates).method == "exact"
    build_index(engine, collection)
    assert find_rows(engine, replace(wanted, mode=Mode.INDEX), estimates).method == "index"


def test_a_search_that_takes_too_long_is_ended(engine: Engine) -> None:
    collection = make_collection(engine)
    with transaction(engine) as connection:
        put(connection, collection, "slow", [1, 0, 0, 0])
        connection.exec_driver_sql(SLEEPY_SQL.format(items=collection.item_table, key="slow"))
    with pytest.raises(Unavailable, match="took longer"):
        ask(engine, collection, [1, 0, 0, 0], settings=Settings(search_timeout_ms=50))


def test_settings_end_with_the_search(engine: Engine, indexed: tuple[Collection, Array]) -> None:
    collection, vectors = indexed
    with engine.connect() as connection:
        before = connection.execute(text("SELECT name, setting FROM pg_settings ORDER BY name")).all()
    assert ask(engine, collection, vectors[0], mode="index").plan.method == "index"
    with engine.connect() as connection:
        assert connection.execute(text("SELECT pid FROM pg_stat_activity WHERE pid = pg_backend_pid()")).scalar_one()
        assert connection.execute(text("SELECT name, setting FROM pg_settings ORDER BY name")).all() == before


def test_an_engine_made_for_searches_has_their_settings(database_url: str) -> None:
    engine = search_engine(database_url, Settings(search_timeout_ms=1_234), "tests")
    with engine.connect() as connection:
        shown = [connection.execute(text(f"SHOW {name}")).scalar_one() for name in ("statement_timeout", "jit")]
    engine.dispose()
    assert shown == ["1234ms", "off"]


def test_a_connection_that_the_server_closed_is_replaced(engine: Engine, database_url: str) -> None:
    collection = make_collection(engine)
    with transaction(engine) as connection:
        put(connection, collection, "a", [1, 0, 0, 0])
    searching = search_engine(database_url, Settings(), "tests searching")
    for _ in range(3):
        assert keys(ask(searching, collection, [1, 0, 0, 0])) == ["a"]
        end = text("""
            SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'tests searching'
        """)
        with transaction(engine) as connection:
            assert connection.execute(end).scalars().all() == [True]
    searching.dispose()


FILTERS: list[dict[str, Any]] = [
    {},
    {"group": 7},
    {"width": {"$gte": 500}, "host": "host-1.org"},
    {"caption": {"$match": "dog -cat"}},
    {"$or": [{"n": {"$lt": 10}}, {"$not": {"aspect": {"$lt": 3}}}]},
]


def wanted_by(collection: Collection, conditions: dict[str, Any], criterion: Criterion = Criterion.IMAGE) -> Wanted:
    """The twenty nearest that meet these conditions."""
    return Wanted(
        collection=collection,
        query=QueryVector(vector=clustered(1, DIMENSION)[0]),
        condition=compile_filter(conditions),
        namespace="",
        limit=20,
        mode=Mode.AUTO,
        timeout_ms=5_000,
        max_scan_tuples=20_000,
        criterion=criterion,
    )


def test_rows_are_estimated_by_the_values_of_a_filter(
    engine: Engine, database_url: str, indexed: tuple[Collection, Array]
) -> None:
    collection, _ = indexed
    searching = search_engine(database_url, Settings(), "tests searching")
    for using in (engine, searching):
        few, many = (
            Scans(using, wanted_by(collection, given)).estimate().rows for given in ({"n": -1}, {"n": {"$gte": 100}})
        )
        assert few < 20
        assert 800 < many <= 1_000
    searching.dispose()


def explain(
    engine: Engine, collection: Collection, statement: str, conditions: dict[str, Any], criterion: Criterion
) -> str:
    """The plan of a statement, under the settings that the index gets."""
    wanted = wanted_by(collection, conditions, criterion)
    settings = {"timeout_ms": "5000", "plan_cache_mode": "auto", "max_scan_tuples": "20000", "ef_search": "200"}
    explained = "EXPLAIN " + wanted.sql(statement, candidates=200, taken=20, cap=10_000)
    with transaction(engine) as connection:
        connection.execute(text(INDEX_SETTINGS_SQL), {**settings, "index": wanted.index_name})
        return "\n".join(connection.execute(text(explained), wanted.parameters).scalars())


@pytest.fixture
def with_captions(engine: Engine, indexed: tuple[Collection, Array]) -> Collection:
    """The collection with two embedded captions an item, indexed too."""
    collection, vectors = indexed
    fill_captions(engine, collection, [[vector, -vector] for vector in vectors])
    build_caption_index(engine, collection)
    return collection


@pytest.mark.parametrize("criterion", [Criterion.IMAGE, Criterion.TEXT])
def test_the_index_plan_scans_the_index_and_joins_captions_after(
    engine: Engine, with_captions: Collection, criterion: Criterion
) -> None:
    names = {Criterion.IMAGE: with_captions.index_name, Criterion.TEXT: with_captions.caption_index_name}
    for conditions in FILTERS:
        plan = explain(engine, with_captions, INDEX_SQL[criterion], conditions, criterion)
        assert f"Index Scan using {names[criterion]}" in plan
        assert "Seq Scan" not in plan
        assert plan.index(names[criterion]) < plan.rindex("caption_image_id_text_key_key")


@pytest.mark.parametrize("criterion", [Criterion.IMAGE, Criterion.TEXT])
def test_the_exact_plan_leaves_the_index_alone(engine: Engine, with_captions: Collection, criterion: Criterion) -> None:
    for conditions in FILTERS:
        for statement in (EXACT_SQL[criterion], COUNTED_EXACT_SQL[criterion]):
            assert "hnsw" not in explain(engine, with_captions, statement, conditions, criterion)
