"""The functions of SQL: the vector of a text, scores, and what looks like an item."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, text

from clipgres.database import libpq_url, transaction
from clipgres.text_vectors import TextVectors
from tests.fakes import FakeEncoder
from tests.seed import FixedEncoders, seed_collection
from tests.vectors import (
    build_index,
    clustered,
    fill,
    make_collection,
    nearest,
    put,
    put_caption,
    put_images,
)

Session = psycopg.Connection[Any]
DIMENSION = 16
# Above what is searched exactly.
MANY = 10_500
SCANS = """
    SELECT pg_stat_get_xact_numscans(indexrelid) FROM pg_index WHERE indexrelid = to_regclass('clipgres.' || %s)
"""


@pytest.fixture
def session(database_url: str) -> Iterator[Session]:
    """A session of somebody who writes SQL."""
    with closing(psycopg.connect(libpq_url(database_url), autocommit=True)) as connection:
        yield connection


def known(engine: Engine, *texts: str) -> FakeEncoder:
    """Texts that were searched for in collection `default`, and the encoder that made their vectors."""
    encoder = FakeEncoder(dimension=32)
    collection = seed_collection(engine, encoder)
    for wanted in texts:
        TextVectors(engine, FixedEncoders(encoder)).of(wanted, collection.space)
    return encoder


def similar(session: Session, *arguments: Any) -> list[str]:
    """The keys that look like an item, in order."""
    places = ", ".join(["%s"] * len(arguments))
    return [row[0] for row in session.execute(f"SELECT key FROM similar_to({places})".encode(), arguments)]


@pytest.mark.parametrize("wanted", ["it's new", "50% :off", "'); DROP TABLE x; --", "two\n dogs"])
def test_a_text_that_is_new_says_how_it_gets_its_vector(engine: Engine, session: Session, wanted: str) -> None:
    known(engine)
    with pytest.raises(psycopg.errors.NoDataFound, match="has no vector yet") as caught:
        session.execute("SELECT clip_text(%s)", [wanted])
    call = (caught.value.diag.message_hint or "").partition(";")[0]
    if ";" not in wanted:
        session.execute("SET statement_timeout = '100ms'")
        with pytest.raises(psycopg.Error, match="no worker answers"):
            session.execute(call.encode())


@pytest.mark.parametrize(
    ("wanted", "collection", "problem"),
    [
        ("red", "nope", 'no collection "nope"'),
        ("red", None, "no collection"),
        (None, "default", "the text is empty"),
        (" \n", "default", "the text is empty"),
        ("x" * 7_801, "default", "7801 bytes, more than"),
    ],
)
def test_what_has_no_vector_is_said(
    engine: Engine, session: Session, wanted: str, collection: str, problem: str
) -> None:
    known(engine)
    with pytest.raises(psycopg.Error, match=problem):
        session.execute("SELECT clip_text(%s, %s)", [wanted, collection])


def test_an_unknown_collection_is_answered_with_those_there_are(engine: Engine, session: Session) -> None:
    known(engine)
    with pytest.raises(psycopg.Error) as caught:
        session.execute("SELECT * FROM similar_to('nope', '1')")
    assert caught.value.diag.message_hint == 'There is: "default".'


def test_a_score_is_the_cosine_by_text_and_by_vector(engine: Engine, session: Session) -> None:
    encoder = known(engine, "red", "blue")
    red, blue = encoder.text(["red", "blue"])
    scores = session.execute("""
        SELECT clip_score(clip_text('red'), 'blue'), clip_score(clip_text('red'), clip_text('blue')),
               clip_score(clip_text('red'), 'red', 'default'),
               clip_score(embedding => clip_text('red'), query => 'blue')
    """).fetchone()
    assert scores == pytest.approx((red @ blue, red @ blue, 1, red @ blue), abs=2e-3)
    opposite = "SELECT clip_score('[1,0]'::halfvec, '[-1,0]'::halfvec), clip_score(NULL, '[1,0]'::halfvec)"
    assert session.execute(opposite).fetchone() == (-1, None)


def test_a_score_by_a_vector_is_taken_apart_by_the_planner(engine: Engine, session: Session) -> None:
    known(engine, "red")
    explain = "EXPLAIN VERBOSE SELECT clip_score(embedding, (SELECT clip_text('red'))) FROM collections.\"default\""
    plan = "\n".join(row[0] for row in session.execute(explain.encode()))
    assert "<=>" in plan
    assert (plan.count("clip_text"), plan.count("clip_score")) == (1, 0)


def test_what_looks_like_an_item_is_told_best_first_without_it(engine: Engine, session: Session) -> None:
    collection, vectors = make_collection(engine, DIMENSION), clustered(300, DIMENSION)
    fill(engine, collection, vectors)
    assert similar(session, "default", "7") == nearest(vectors, vectors[7], 11)[1:]
    assert similar(session, "default", "7", 400) == nearest(vectors, vectors[7], 300)[1:]


def test_it_tells_of_the_picture_too(engine: Engine, session: Session) -> None:
    collection = make_collection(engine, 2)
    with transaction(engine) as connection:
        [image] = put_images(connection, 1)
        put(connection, collection, "one", [1, 0])
        put(connection, collection, "two", [0.6, 0.8], image=image, metadata={"year": 2026})
        put(connection, collection, "three", [0, 1])
        put(connection, collection, "elsewhere", [1, 0], namespace="other")
        for caption in ("a dog", "one dog"):
            put_caption(connection, image, caption)
    two, three = session.execute("SELECT * FROM similar_to('default', 'one')").fetchall()
    assert two[:1] + two[2:] == (
        "two",
        "http://host-0.org/0",
        "a dog",
        ["a dog", "one dog"],
        100,
        100,
        "host-0.org",
        {"year": 2026},
    )
    assert two[1] == pytest.approx(0.6, abs=1e-3)
    assert three == ("three", pytest.approx(0, abs=1e-3), None, None, [], None, None, None, {})
    assert similar(session, "default", "elsewhere", 10, "other") == []


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("default", "7", 0), "k: 0 is not between 1 and 10,000"),
        (("default", "7", 10_001), "k: 10001 is not between"),
        (("default", "7", None), "k: NULL is not between"),
        (("default", "nope"), 'no item "nope"'),
        (("default", "7", 10, "other"), 'no item "7"'),
        (("default", None), "no item"),
        ((None, "7"), "no collection"),
        (("'; DROP TABLE clipgres.item_1; --", "7"), "no collection"),
    ],
)
def test_what_cannot_be_looked_like_is_refused(
    engine: Engine, session: Session, arguments: tuple[Any, ...], problem: str
) -> None:
    make_collection(engine, DIMENSION)
    with pytest.raises(psycopg.Error, match=problem):
        similar(session, *arguments)


def test_in_a_large_collection_it_goes_by_the_index_and_never_comes_back_short(
    engine: Engine, session: Session
) -> None:
    collection, vectors = make_collection(engine, DIMENSION), clustered(MANY, DIMENSION)
    fill(engine, collection, vectors)
    near = nearest(vectors, vectors[7], 401)
    apart = text(f"UPDATE {collection.item_table} SET namespace = 'apart' WHERE key = ANY (:keys)")
    with transaction(engine) as connection:
        connection.execute(apart, {"keys": near[201:]})
    build_index(engine, collection)
    with session.transaction():
        session.execute("SET LOCAL hnsw.ef_search = 17")
        assert similar(session, "default", "7", 20) == near[1:21]
        assert session.execute(SCANS, [collection.index_name]).fetchone() == (1,)
        for setting, value in {"hnsw.ef_search": "17", "hnsw.iterative_scan": "off", "enable_seqscan": "on"}.items():
            assert session.execute(f"SHOW {setting}".encode()).fetchone() == (value,)
        # The last of these lie too deep among the index's candidates to be relied on: so all is done without it.
        expected = near[1:201] + nearest(vectors, vectors[7], 411)[401:]
        assert similar(session, "default", "7", 210) == expected
        assert session.execute(SCANS, [collection.index_name]).fetchone() == (2,)
    assert len(similar(session, "default", "7", 2_000)) == 2_000
