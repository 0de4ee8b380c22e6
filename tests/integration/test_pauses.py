"""Collections that are paused: nobody works on them, a turn that is under way ends, and lists are still taken."""

from __future__ import annotations

import threading
from uuid import uuid4

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, text

from clipgres.captions import collections_with_captions
from clipgres.cli import main
from clipgres.cli.tools import Tools
from clipgres.collections import Collection
from clipgres.database import transaction
from clipgres.fetching import Fetched
from clipgres.jobs import claim, due
from clipgres.pauses import pause, resume
from clipgres.settings import Settings
from tests.fakes import FakeEncoder
from tests.hostile import jpeg
from tests.ingest import add_urls, ends, fetched, make_tools, new_collection, scalar
from worker.network import Network
from worker.pipeline import run
from worker.turn import Turn

URLS = [f"http://127.0.0.2/{number}" for number in range(50)]


@pytest.fixture
def collection(engine: Engine) -> Collection:
    return new_collection(engine)


def test_nothing_of_a_paused_collection_is_due_or_claimed(engine: Engine, collection: Collection) -> None:
    other = new_collection(engine, "other")
    for each in (collection, other):
        add_urls(engine, each, URLS[:2])
    with transaction(engine) as connection:
        assert [pause(connection, collection), pause(connection, collection)] == [1, 0]
        assert [one.collection_id for one in due(connection, cap=5)] == [other.id]
        assert claim(connection, collection.id, uuid4(), limit=5, lease_s=30) == []
        assert pause(connection) == 1
        assert due(connection, cap=5) == []
        assert [resume(connection, other), resume(connection), resume(connection)] == [1, 1, 0]
        assert len(claim(connection, collection.id, uuid4(), limit=5, lease_s=30)) == 2


def test_captions_wait_as_well(engine: Engine, collection: Collection) -> None:
    add_urls(engine, collection, URLS[:1])
    with transaction(engine) as connection:
        connection.execute(text("INSERT INTO clipgres.caption_job SELECT collection_id, image_id FROM clipgres.job"))
        assert collections_with_captions(connection) == [collection.id]
        pause(connection, collection)
        assert collections_with_captions(connection) == []


def test_a_turn_that_is_under_way_ends_and_gives_back_what_has_not_begun(
    engine: Engine, settings: Settings, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.turn.LOOK_EVERY_S", 0)
    is_paused = threading.Event()

    def fetch(url: str) -> Fetched:
        if not is_paused.is_set():
            with transaction(engine) as connection:
                pause(connection, collection)
            is_paused.set()
        return fetched(jpeg())

    add_urls(engine, collection, URLS)
    tools = make_tools(engine, settings, fetch, fetch_threads=1, batch_images=8)
    turn = Turn(engine, collection.id, Network())
    assert run(collection, FakeEncoder(), tools, may_claim=turn.goes_on).ok < len(URLS)
    assert not turn.goes_on()
    assert set(ends(engine, collection)) == {"ok", "pending"}
    assert scalar(engine, "SELECT max(attempts) FROM clipgres.job WHERE status = 'pending'") == 0


def test_the_turn_of_another_collection_goes_on(
    engine: Engine, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.turn.LOOK_EVERY_S", 0)
    monkeypatch.setattr("worker.turn.TURN_S", 0)
    other = new_collection(engine, "other")
    add_urls(engine, other, URLS[:1])
    with transaction(engine) as connection:
        pause(connection, other)
    assert Turn(engine, collection.id, Network()).goes_on()


def test_the_commands_say_what_they_did_and_lists_are_still_taken(settings: Settings, collection: Collection) -> None:
    def out(*arguments: str) -> str:
        done = CliRunner().invoke(main, list(arguments), obj=Tools(settings), terminal_width=200)
        assert done.exit_code == 0, done.output
        return done.output

    assert out("resume") == "Nothing is paused.\n"
    assert out("pause", "--collection", "default") == (
        "Paused 1 collection.\nGo on: clipgres resume --collection default\n"
    )
    assert out("pause") == "Nothing to pause.\n"
    assert "1 accepted" in out("add", URLS[0])
    assert "`clipgres resume --collection default` lets it go on" in out("status")
    assert out("resume", "--collection", "default") == "Resumed 1 collection.\n"
