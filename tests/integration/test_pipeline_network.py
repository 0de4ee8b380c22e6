"""The pipeline and the network: a machine that has lost it marks nothing dead, and goes on when it is back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
from sqlalchemy import Engine, text

from clipgres.collections import Collection
from clipgres.database import transaction
from clipgres.fetching import Fetched, Fetcher
from clipgres.reasons import Reason
from clipgres.settings import Settings
from clipgres.writes import Written
from tests.fakes import FakeEncoder
from tests.hostile import HostileServer, hostile_server, jpeg
from tests.ingest import add_urls, ends, fetched, make_tools, new_collection, no_network, pictures, scalar, wait_until
from worker.network import Network
from worker.pipeline import run
from worker.witness import hasten

# As if the job had waited for as long as it was put off.
MUCH_LATER_SQL = text("""
    UPDATE clipgres.job SET updated_at = updated_at - (next_attempt_at - now()), next_attempt_at = now()
""")


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with hostile_server() as running:
        yield running


@pytest.fixture
def collection(engine: Engine) -> Collection:
    return new_collection(engine)


def test_without_a_network_nothing_fails(engine: Engine, settings: Settings, collection: Collection) -> None:
    tools = make_tools(engine, settings, no_network, batch_images=32)
    add_urls(engine, collection, [f"http://{number}.example.org/a.jpg" for number in range(100)])
    assert run(collection, FakeEncoder(), tools).failed == 0
    assert run(collection, FakeEncoder(), tools) == Written()
    assert scalar(engine, "SELECT array_agg(DISTINCT status || attempts) FROM clipgres.job") == ["pending0"]
    assert 32 <= ends(engine, collection)["pending dns_failed"] < 100


def test_a_held_job_waits_longer_each_time(engine: Engine, settings: Settings, collection: Collection) -> None:
    tools = make_tools(engine, settings, no_network)
    add_urls(engine, collection, ["http://example.org/a.jpg"])
    waits = []
    for _ in range(3):
        run(collection, FakeEncoder(), tools)
        waits.append(
            scalar(engine, "SELECT round(extract(epoch FROM next_attempt_at - updated_at))::int FROM clipgres.job")
        )
        with transaction(engine) as connection:
            connection.execute(MUCH_LATER_SQL)
    assert waits == [30, 60, 120]


def test_what_waited_for_the_network_is_due_at_the_first_reply(
    engine: Engine, settings: Settings, collection: Collection
) -> None:
    network = Network(on_back=lambda: hasten(engine))
    tools = replace(make_tools(engine, settings, no_network), network=network)
    add_urls(engine, collection, [f"http://{number}.example.org/a.jpg" for number in range(3)])
    run(collection, FakeEncoder(), tools)
    assert scalar(engine, "SELECT min(next_attempt_at) > now() FROM clipgres.job") is True
    network.note_reply("example.com")
    assert scalar(engine, "SELECT max(next_attempt_at) <= now() FROM clipgres.job") is True


def test_a_dead_network_does_not_hold_up_what_needs_none(
    engine: Engine, settings: Settings, collection: Collection, server: HostileServer
) -> None:
    with Fetcher(settings) as fetcher:
        tools = make_tools(
            engine,
            settings,
            lambda url: fetcher.fetch(url) if "127.0.0.1" in url else no_network(url),
            batch_images=16,
        )
        add_urls(engine, collection, [f"http://{number}.example.org/a.jpg" for number in range(100)])
        add_urls(engine, collection, pictures(server, 40))
        assert run(collection, FakeEncoder(), tools).ok == 40
    assert ends(engine, collection)["pending"] > 0


def test_one_reply_makes_the_failures_of_other_hosts_count(
    engine: Engine, settings: Settings, collection: Collection
) -> None:
    def one_host_lives(url: str) -> Fetched:
        return fetched(jpeg()) if "alive" in url else no_network(url)

    tools = make_tools(engine, settings, one_host_lives)
    add_urls(engine, collection, ["http://alive.example.org/a.jpg", "http://dead.example.org/a.jpg"])
    run(collection, FakeEncoder(), tools)
    assert scalar(engine, "SELECT sum(attempts) FROM clipgres.job") == 2


def test_a_host_that_used_to_answer_is_asked_for_a_witness(
    engine: Engine, settings: Settings, collection: Collection
) -> None:
    is_asked = threading.Event()

    def only_the_old_one(url: str) -> Fetched:
        if "alive" not in url:
            return no_network(url)
        is_asked.set()
        return fetched(b"")

    tools = make_tools(engine, settings, only_the_old_one)
    add_urls(engine, collection, ["http://alive.example.org/a.jpg"])
    with transaction(engine) as connection:
        connection.execute(text("UPDATE clipgres.job SET status = 'ok'"))
        connection.execute(text("UPDATE clipgres.image SET state = 'ok', next_check = now()"))
    add_urls(engine, collection, ["http://dead.example.org/a.jpg"])
    run(collection, FakeEncoder(), tools)
    assert is_asked.wait(60)
    assert wait_until(lambda: not tools.network.explains("dead.example.org", Reason.DNS_FAILED))
