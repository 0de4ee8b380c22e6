"""Texts that were asked for are remembered: in the process, in the database, for SQL."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, text

from clipgres.collections import Collection
from clipgres.database import create_engine, transaction
from clipgres.text_vectors import TextVectors, prune_texts
from tests.fakes import FakeEncoder
from tests.seed import FixedEncoders, seed_collection


@pytest.fixture
def encoder() -> FakeEncoder:
    """An encoder that counts its work."""
    return FakeEncoder(dimension=32)


@pytest.fixture
def collection(engine: Engine, encoder: FakeEncoder) -> Collection:
    """An empty collection in the encoder's space."""
    return seed_collection(engine, encoder)


def near(one: Any, other: Any) -> bool:
    """Whether two vectors are the same, as far as half precision can tell."""
    return bool(np.allclose(one, other, atol=2e-3))


def fresh(engine: Engine, encoder: FakeEncoder) -> TextVectors:
    """The memory of a process that has just started."""
    return TextVectors(engine, FixedEncoders(encoder))


def test_a_text_another_process_asked_for_runs_no_model(
    engine: Engine, collection: Collection, encoder: FakeEncoder
) -> None:
    first = fresh(engine, encoder).of("two red dogs", collection.space)
    second = fresh(engine, encoder).of("two red dogs", collection.space)
    assert encoder.texts_seen == 1
    assert np.allclose(first.vector, second.vector)


def test_sql_finds_the_vector_of_a_text_that_was_asked_for(
    engine: Engine, collection: Collection, encoder: FakeEncoder
) -> None:
    spaced = "two \t red\u00a0dogs"
    fresh(engine, encoder).of(spaced, collection.space)
    with transaction(engine) as connection:
        found = connection.execute(text("SELECT clip_text(:spaced)"), {"spaced": spaced}).scalar_one()
    assert near(found.to_numpy(), encoder.text(["two red dogs"])[0])


def test_models_do_not_share_their_texts(engine: Engine, collection: Collection, encoder: FakeEncoder) -> None:
    other = FakeEncoder(dimension=32, model="another/model")
    fresh(engine, encoder).of("dogs", collection.space)
    fresh(engine, other).of("dogs", other.space)
    assert other.texts_seen == 1


def test_a_text_that_is_cut_says_so_each_time(engine: Engine, collection: Collection, encoder: FakeEncoder) -> None:
    long = "dog " * 100
    for _ in range(2):
        texts = fresh(engine, encoder)
        assert [texts.of(long, collection.space).was_cut for _ in range(2)] == [True, True]
    assert encoder.texts_seen == 2


def test_an_old_text_is_known_to_be_in_use(engine: Engine, collection: Collection, encoder: FakeEncoder) -> None:
    fresh(engine, encoder).of("dogs", collection.space)
    age = text("UPDATE clipgres.query_embedding SET used_at = now() - interval '30 days'")
    with transaction(engine) as connection:
        connection.execute(age)
    fresh(engine, encoder).of("dogs", collection.space)
    with transaction(engine) as connection:
        recent = text("SELECT used_at > now() - interval '1 hour' FROM clipgres.query_embedding")
        assert connection.execute(recent).scalars().all() == [True]
    assert encoder.texts_seen == 1


def test_a_database_that_may_only_be_read_still_answers(
    database_url: str, collection: Collection, encoder: FakeEncoder
) -> None:
    engine = create_engine(database_url + "&options=-c%20default_transaction_read_only%3Don")
    with transaction(engine) as connection:
        connection.execute(text("SELECT 1"))
    texts = fresh(engine, encoder)
    assert near(texts.of("red", collection.space).vector, encoder.text(["red"])[0])
    texts.of("red", collection.space)
    assert encoder.texts_seen == 2  # the one above, and the test's own
    engine.dispose()


def test_the_texts_asked_for_longest_ago_are_forgotten(
    engine: Engine, collection: Collection, encoder: FakeEncoder
) -> None:
    other = FakeEncoder(dimension=32, model="another/model")
    age = text("UPDATE clipgres.query_embedding SET used_at = now() - :days * interval '1 day' WHERE text = :text")
    for days, query in enumerate(["new", "newer", "old", "oldest"]):
        for each in (encoder, other) if query == "oldest" else (encoder,):
            fresh(engine, each).of(query, each.space)
        with transaction(engine) as connection:
            connection.execute(age, {"days": days, "text": query})
    with transaction(engine) as connection:
        assert prune_texts(connection, kept=2) == 2
        left = connection.execute(text("SELECT text, model FROM clipgres.query_embedding ORDER BY used_at DESC")).all()
        assert [row.text for row in left] == ["new", "newer", "oldest"]
        assert left[-1].model.startswith("another/model")
        assert prune_texts(connection) == 0
