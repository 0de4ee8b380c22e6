"""The worker's captions: embedded without a message, beside the pictures, through whatever fails meanwhile."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from threading import Event, Thread

import numpy as np
import pytest
from sqlalchemy import Engine

from clipgres.collections import Collection
from clipgres.database import create_engine, transaction
from clipgres.encoders import Encoders
from clipgres.index import IndexOf, index_state
from clipgres.queue import make_app
from clipgres.settings import Settings
from tests.adding import add, query
from tests.fake_worker import FakeEncoders
from tests.fakes import FakeEncoder
from tests.hostile import HostileServer, hostile_server
from tests.ingest import ends, new_collection, wait_until
from worker.captions import CaptionEmbedder
from worker.models import Models
from worker.process import WorkerProcess

WANT_ALL = "INSERT INTO clipgres.caption_job SELECT collection_id, image_id FROM clipgres.job"


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with hostile_server() as running:
        yield running


@pytest.fixture
def collection(engine: Engine) -> Collection:
    return new_collection(engine)


@pytest.fixture
def embedder(engine: Engine, settings: Settings) -> CaptionEmbedder:
    models = Models(FakeEncoders(settings))
    return CaptionEmbedder(engine=engine, models=models, is_busy=lambda: False, on_drained=lambda _: None)


class Waits(Event):
    """Notes how long it was waited for, and waits for nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.seconds.append(timeout or 0)
        return self.is_set()


def rows(server: HostileServer, count: int) -> list[dict[str, str]]:
    return [{"url": server.url(f"picture?{number}"), "caption": f"picture {number}"} for number in range(count)]


def put_waiting(engine: Engine, collection: Collection, count: int) -> None:
    """So many images whose captions wait; whether the pictures are there is nothing to them."""
    add(
        engine, collection, *({"url": f"http://a/{collection.id}/{n}", "caption": f"picture {n}"} for n in range(count))
    )
    query(engine, WANT_ALL + " ON CONFLICT DO NOTHING")


def vectors(engine: Engine, collection: Collection) -> int:
    count: int = query(engine, f"SELECT count(*) FROM {collection.caption_table}")[0]
    return count


def waiting(engine: Engine) -> int:
    count: int = query(engine, "SELECT count(*) FROM clipgres.caption_job")[0]
    return count


def test_a_list_with_captions_ends_in_two_spaces_with_an_index_each(
    engine: Engine, settings: Settings, collection: Collection, server: HostileServer
) -> None:
    assert settings.redis_url is not None
    changed = settings.model_copy(update={"index_rows": 10})
    process = WorkerProcess(changed, make_app(settings.redis_url.get_secret_value()), FakeEncoders(settings))
    add(engine, collection, *rows(server, 12))
    try:
        process.start("one", 1)
        process.embed(collection.id)
        assert ends(engine, collection) == {"ok": 12}
        for index in (IndexOf.items(collection), IndexOf.captions(collection)):
            assert wait_until(lambda index=index: is_valid(engine, index))  # type: ignore[misc]
    finally:
        process.close()
    assert (vectors(engine, collection), waiting(engine)) == (12, 0)


def is_valid(engine: Engine, index: IndexOf) -> bool:
    with transaction(engine) as connection:
        return index_state(connection, index).is_valid


def test_a_round_takes_some_of_each_collection(
    engine: Engine, collection: Collection, embedder: CaptionEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = new_collection(engine, "other")
    for each in (collection, other):
        put_waiting(engine, each, 65)
    drained: list[int] = []
    embedder = replace(embedder, on_drained=lambda collection: drained.append(collection.id))
    assert embedder.round(Event()) == 2 * 64
    assert (vectors(engine, collection), vectors(engine, other), drained) == (64, 64, [])
    assert embedder.round(Event()) == 2
    assert drained == [collection.id, other.id]
    assert embedder.round(Event()) == 0


def test_captions_rest_while_pictures_are_worked_on(
    engine: Engine, collection: Collection, embedder: CaptionEmbedder
) -> None:
    put_waiting(engine, collection, 2)
    idle, busy = Waits(), Waits()
    embedder.round(idle)
    query(engine, WANT_ALL)
    replace(embedder, is_busy=lambda: True).round(busy)
    assert (len(idle.seconds), len(busy.seconds) > 0) == (0, True)


def test_nothing_is_begun_once_it_is_told_to_stop(
    engine: Engine, collection: Collection, embedder: CaptionEmbedder
) -> None:
    put_waiting(engine, collection, 2)
    stopping = Event()
    stopping.set()
    assert embedder.round(stopping) == 0
    assert waiting(engine) == 2


def test_a_model_that_this_machine_has_not_leaves_them_waiting(
    engine: Engine, collection: Collection, embedder: CaptionEmbedder, settings: Settings
) -> None:
    put_waiting(engine, new_collection(engine, "other", FakeEncoder(model="no-such-model").space), 2)
    models = Models(Encoders(settings.model_copy(update={"model": "/nowhere/clip"})))
    assert replace(embedder, models=models).round(Event()) == 0
    assert waiting(engine) == 2


def test_a_model_that_fails_on_texts_is_left_alone_a_while_by_captions_only(
    engine: Engine, collection: Collection, embedder: CaptionEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_waiting(engine, collection, 2)
    monkeypatch.setattr(FakeEncoder, "text", lambda self, texts: np.zeros((len(texts), 512), np.float32))
    assert embedder.round(Event()) == 0
    monkeypatch.undo()
    assert embedder.round(Event()) == 0
    assert embedder.models.encoder(collection.space) is not None
    embedder.failed_at.clear()
    assert embedder.round(Event()) == 2


def test_a_database_that_is_away_is_said_once(
    database_url: str, embedder: CaptionEmbedder, caplog: pytest.LogCaptureFixture
) -> None:
    nowhere = create_engine("postgresql://nobody@127.0.0.1:1/nothing")
    stopping = Waits()
    with caplog.at_level(logging.WARNING):
        thread = Thread(target=replace(embedder, engine=nowhere).run, args=(stopping,))
        thread.start()
        assert wait_until(lambda: len(stopping.seconds) >= 3)
        stopping.set()
        thread.join(20)
    assert not thread.is_alive()
    assert [record.message[:20] for record in caplog.records] == ["the database is away"]
