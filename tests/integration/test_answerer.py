"""`CALL clip_embed`: a text that is asked for in SQL gets its vector from a worker, or a word why it gets none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import psycopg
import pytest
from sqlalchemy import Engine

from clipgres.collections import Collection
from clipgres.database import libpq_url
from clipgres.encoder import Encoder, Vectors
from clipgres.errors import ModelError
from clipgres.models import Space
from clipgres.text_vectors import TextVectors
from tests.fakes import FakeEncoder
from tests.listening import LISTENERS, listening
from tests.seed import FixedEncoders, seed_collection
from worker.answerer import Answerer, Wish, parse_wish
from worker.models import Models

KNOWN = "SELECT text FROM clipgres.query_embedding ORDER BY text"


@pytest.fixture
def encoder() -> FakeEncoder:
    """An encoder that counts its work."""
    return FakeEncoder(dimension=32)


@pytest.fixture
def collection(engine: Engine, encoder: FakeEncoder) -> Collection:
    """An empty collection in the encoder's space."""
    return seed_collection(engine, encoder)


@pytest.fixture
def asker(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A session of somebody who writes SQL, with autocommit as psql has it."""
    with psycopg.connect(libpq_url(database_url), autocommit=True) as connection:
        yield connection


@pytest.fixture
def answerer(
    engine: Engine, asker: psycopg.Connection[Any], collection: Collection, encoder: FakeEncoder
) -> Iterator[None]:
    """An answerer that listens, with the encoder."""
    with listening(engine, asker, Models(FixedEncoders(encoder))):
        yield


def test_a_text_that_is_new_gets_its_vector(
    answerer: None, asker: psycopg.Connection[Any], encoder: FakeEncoder
) -> None:
    asker.execute("CALL clip_embed(%s)", ["two \t red\u00a0dogs"])
    found = asker.execute("SELECT clip_text('two red  dogs')::vector::real[]").fetchone()
    assert found
    assert np.allclose(found[0], encoder.text(["two red dogs"])[0], atol=2e-3)


def test_a_text_that_is_known_runs_no_model(
    answerer: None, asker: psycopg.Connection[Any], engine: Engine, collection: Collection, encoder: FakeEncoder
) -> None:
    TextVectors(engine, FixedEncoders(encoder)).of("red", collection.space)
    asker.execute("CALL clip_embed('red')")
    assert encoder.texts_seen == 1


def test_the_collection_says_in_which_space(
    answerer: None, asker: psycopg.Connection[Any], engine: Engine, encoder: FakeEncoder
) -> None:
    other = FakeEncoder(dimension=32, model="another/model")
    seed_collection(engine, other, "other")
    asker.execute("CALL clip_embed('red', 'other')")
    assert asker.execute("SELECT model FROM clipgres.query_embedding").fetchall() == [(f"another/model@{'f' * 40}",)]


def test_wishes_that_come_together_are_one_run_of_the_model(
    engine: Engine, collection: Collection, asker: psycopg.Connection[Any]
) -> None:
    encoder = Recorder(dimension=32)
    answerer = Answerer(engine=engine, models=Models(FixedEncoders(encoder)))
    texts = ["red", "green", "red", "x'); DROP TABLE clipgres.item; --"]
    answerer.answer(Wish(collection.id, wanted) for wanted in texts)
    assert encoder.runs == [3]
    assert {row[0] for row in asker.execute(KNOWN)} == set(texts)


class Recorder(FakeEncoder):
    """Notes how many texts each run of the model had."""

    def __init__(self, dimension: int) -> None:
        super().__init__(dimension)
        self.runs: list[int] = []

    def text(self, texts: Any) -> Vectors:
        """See `Encoder`."""
        self.runs.append(len(texts))
        return super().text(texts)


class Failing(FakeEncoder):
    """Understands pictures, and no text."""

    def __init__(self, dimension: int, answer: Callable[[int], Vectors]) -> None:
        super().__init__(dimension)
        self._answer = answer

    def text(self, texts: Any) -> Vectors:
        """See `Encoder`."""
        return self._answer(len(texts))


def test_a_text_that_the_model_cuts_is_refused(answerer: None, asker: psycopg.Connection[Any]) -> None:
    for _ in range(2):
        with pytest.raises(psycopg.Error, match="gets no vector: it is longer than the model reads") as caught:
            asker.execute("CALL clip_embed(%s)", ["dog " * 100])
        assert "Shorten it" in (caught.value.diag.message_hint or "")
    assert asker.execute(KNOWN).fetchall() == []


def test_a_text_that_the_model_makes_nothing_of_is_refused(
    engine: Engine, asker: psycopg.Connection[Any], collection: Collection
) -> None:
    failing = Failing(32, lambda count: np.full((count, 32), np.nan, np.float32))
    with listening(engine, asker, Models(FixedEncoders(failing))):
        with pytest.raises(psycopg.Error, match="the model gives no usable vector"):
            asker.execute("CALL clip_embed('red')")


def broken(_count: int) -> Vectors:
    raise RuntimeError("out of memory")


class NoEncoders(FixedEncoders):
    """A machine without the model."""

    def of(self, space: Space) -> Encoder:
        """See `Encoders`."""
        raise ModelError(f"no {space.model} here")


@pytest.mark.parametrize(
    "models", [Models(NoEncoders(FakeEncoder(32))), Models(FixedEncoders(Failing(32, broken)))], ids=["none", "broken"]
)
def test_a_worker_that_hears_and_cannot_is_told_from_none(
    engine: Engine, asker: psycopg.Connection[Any], collection: Collection, models: Models
) -> None:
    asker.execute("SET statement_timeout = '1s'")
    with listening(engine, asker, models), pytest.raises(psycopg.Error, match="a worker heard of the text"):
        asker.execute("CALL clip_embed('red')")


def test_where_no_worker_listens_it_gives_up_before_the_statement_timeout(
    asker: psycopg.Connection[Any], collection: Collection
) -> None:
    asker.execute("SET statement_timeout = '200ms'")
    with pytest.raises(psycopg.Error, match="no worker answers") as caught:
        asker.execute("CALL clip_embed('red')")
    assert "clipgres up" in (caught.value.diag.message_hint or "")


def test_an_answerer_comes_back_after_its_connection_was_lost(answerer: None, asker: psycopg.Connection[Any]) -> None:
    row = asker.execute(LISTENERS).fetchone()
    assert row
    asker.execute("SELECT pg_terminate_backend(%s)", [row[0]])
    asker.execute("CALL clip_embed('red')")
    assert asker.execute(KNOWN).fetchall() == [("red",)]


def test_a_session_that_may_only_read_may_ask(answerer: None, asker: psycopg.Connection[Any]) -> None:
    asker.execute("SET default_transaction_read_only = on")
    asker.execute("SET default_transaction_isolation = 'repeatable read'")
    asker.execute("SET search_path = ''")
    asker.execute("CALL public.clip_embed('red')")


def test_inside_a_transaction_it_says_so_at_once(
    answerer: None, asker: psycopg.Connection[Any], encoder: FakeEncoder
) -> None:
    with pytest.raises(psycopg.errors.ActiveSqlTransaction, match="inside a transaction block"), asker.transaction():
        asker.execute("CALL clip_embed('red')")
    assert encoder.texts_seen == 0


@pytest.mark.parametrize(
    ("query", "collection_name", "problem"),
    [
        ("   ", "default", "the text is empty"),
        (None, "default", "the text is empty"),
        ("\u00e9" * 4_000, "default", "8000 bytes, more than the 7,800"),
        ("red", "nope", 'no collection "nope"'),
        ("red", None, "no collection"),
        ("red", "'; DROP TABLE clipgres.job; --", "no collection"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    asker: psycopg.Connection[Any], collection: Collection, query: str, collection_name: str, problem: str
) -> None:
    with pytest.raises(psycopg.Error, match=problem):
        asker.execute("CALL clip_embed(%s, %s)", [query, collection_name])


def test_a_session_that_asks_for_much_at_once_keeps_nobody_waiting(
    answerer: None, asker: psycopg.Connection[Any], database_url: str, encoder: FakeEncoder
) -> None:
    with psycopg.connect(libpq_url(database_url), autocommit=True) as flood:
        wishes = "SELECT pg_notify('clipgres_text', '1 flood ' || n) FROM generate_series(1, 20000) n"
        flood.execute(wishes)
    asker.execute("CALL clip_embed('red')")
    assert encoder.texts_seen < 200


@pytest.mark.parametrize("payload", ["", "7", "7 ", "7  \t", "x red", "-1 red", "\u00b2 red", "9" * 10 + " red"])
def test_what_others_send_on_the_channel_is_nothing(payload: str) -> None:
    assert parse_wish(payload) is None


def test_a_wish_is_a_collection_and_a_text() -> None:
    assert parse_wish("7 two dogs") == Wish(7, "two dogs")


def test_a_wish_for_a_collection_that_is_gone_is_nothing(
    engine: Engine, collection: Collection, encoder: FakeEncoder
) -> None:
    Answerer(engine=engine, models=Models(FixedEncoders(encoder))).answer([Wish(4_711, "red")])
    assert encoder.texts_seen == 0
