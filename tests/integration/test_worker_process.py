"""What a message makes a worker process do: take turns, build the index, and leave a model alone that fails."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text

from clipgres.collections import Collection, set_alias
from clipgres.database import transaction
from clipgres.encoders import Encoders
from clipgres.index import IndexOf, index_state
from clipgres.queue import make_app
from clipgres.reasons import Reason
from clipgres.settings import Settings
from tests.fake_worker import FakeEncoders
from tests.fakes import FakeEncoder
from tests.hostile import HostileServer, hostile_server
from tests.ingest import add_urls, ends, items, new_collection, wait_until
from worker.network import PROBE_JOBS, Network
from worker.process import WorkerProcess
from worker.turn import Turn

FILL_SQL = """
    INSERT INTO {items} (key, embedding)
    SELECT number::text, array_fill(number::real, ARRAY[512])::halfvec FROM generate_series(1, 10) AS number
"""


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with hostile_server() as running:
        yield running


def make_process(settings: Settings, encoders: Encoders) -> WorkerProcess:
    assert settings.redis_url is not None
    return WorkerProcess(settings, make_app(settings.redis_url.get_secret_value()), encoders)


@pytest.fixture
def process(settings: Settings) -> Iterator[WorkerProcess]:
    process = make_process(settings.model_copy(update={"index_rows": 10}), FakeEncoders(settings))
    yield process
    process.close()


def has_index(engine: Engine, collection: Collection) -> bool:
    with transaction(engine) as connection:
        return index_state(connection, IndexOf.items(collection)).is_valid


def test_a_message_empties_the_queue_of_its_collection(
    engine: Engine, process: WorkerProcess, server: HostileServer
) -> None:
    collection, other = new_collection(engine), new_collection(engine, "other")
    add_urls(engine, collection, [server.url("picture?1"), server.url("404")])
    add_urls(engine, other, [server.url("picture?2")])
    process.embed(collection.id)
    assert ends(engine, collection) == {"ok": 1, "failed not_found": 1}
    assert ends(engine, other) == {"pending": 1}


def test_a_collection_that_lost_its_name_still_gets_its_pictures(
    engine: Engine, process: WorkerProcess, server: HostileServer
) -> None:
    collection, other = new_collection(engine), new_collection(engine, "other")
    add_urls(engine, collection, [server.url("picture")])
    with transaction(engine) as connection:
        set_alias(connection, collection.name, other)
    process.embed(collection.id)
    assert ends(engine, collection) == {"ok": 1}


def test_a_message_for_a_collection_that_is_gone_is_nothing(engine: Engine, process: WorkerProcess) -> None:
    process.embed(4_711)


def test_a_collection_gets_its_index_once_it_is_large_enough(
    engine: Engine, process: WorkerProcess, server: HostileServer
) -> None:
    collection = new_collection(engine)
    add_urls(engine, collection, [server.url(f"picture?{number}") for number in range(9)])
    process.embed(collection.id)
    assert not wait_until(lambda: has_index(engine, collection), 0.3)
    add_urls(engine, collection, [server.url("picture?10")])
    process.embed(collection.id)
    assert wait_until(lambda: has_index(engine, collection))


def test_an_index_that_a_stopped_worker_left_unbuilt_is_built_without_a_message(
    engine: Engine, process: WorkerProcess
) -> None:
    collection = new_collection(engine)
    with transaction(engine) as connection:
        connection.execute(text(FILL_SQL.format(items=collection.item_table)))
    process.start("one", 1)
    assert wait_until(lambda: has_index(engine, collection))


def test_a_model_that_this_machine_has_not_leaves_the_jobs(
    engine: Engine, settings: Settings, server: HostileServer, caplog: pytest.LogCaptureFixture
) -> None:
    collection = new_collection(engine, space=FakeEncoder(model="no-such-model").space)
    add_urls(engine, collection, [server.url("picture")])
    process = make_process(settings, Encoders(settings.model_copy(update={"model": "/nowhere/clip"})))
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            process.embed(collection.id)
    process.close()
    assert ends(engine, collection) == {"pending": 1}
    assert items(engine, collection) == 0
    assert len(server.requests) == 0
    assert len(caplog.records) == 1


def test_a_turn_ends_early_only_while_others_wait(
    engine: Engine, server: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.turn.TURN_S", 0)
    monkeypatch.setattr("worker.turn.LOOK_EVERY_S", 0)
    collection, other = new_collection(engine), new_collection(engine, "other")
    turn = Turn(engine, collection.id, Network())
    assert turn.goes_on()
    add_urls(engine, other, [server.url("picture")])
    assert not turn.goes_on()


def test_a_dead_network_shortens_the_turn(
    engine: Engine, server: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.turn.LOOK_EVERY_S", 0)
    collection, other, network = new_collection(engine), new_collection(engine, "other"), Network()
    add_urls(engine, other, [server.url("picture")])
    turn = Turn(engine, collection.id, network)
    assert turn.goes_on()
    for _ in range(PROBE_JOBS):
        network.explains("example.org", Reason.DNS_FAILED)
    assert not turn.goes_on()
