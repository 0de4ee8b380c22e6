"""The pipeline on a real database and real loopback HTTP: every URL comes to its end, whatever its host does."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from io import BytesIO
from multiprocessing import get_context

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import Engine, text

from clipgres.collections import Collection
from clipgres.database import create_engine, transaction
from clipgres.encoder import Vectors
from clipgres.errors import ModelError
from clipgres.fetching import Fetched, Fetcher
from clipgres.jobs import MAX_CLAIMS, sweep
from clipgres.preprocess import Pixels
from clipgres.settings import Settings
from clipgres.writes import Written
from tests.fakes import FakeEncoder
from tests.hostile import HostileServer, hostile_server, jpeg
from tests.ingest import (
    add_urls,
    ends,
    fetched,
    items,
    make_tools,
    new_collection,
    no_network,
    pictures,
    scalar,
    wait_until,
)
from worker.pipeline import run
from worker.tools import Tools

LEASE_SQL = "SELECT leased_until FROM clipgres.job"


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with hostile_server() as running:
        yield running


@pytest.fixture
def tools(engine: Engine, settings: Settings) -> Iterator[Tools]:
    with Fetcher(settings) as fetcher:
        yield make_tools(engine, settings, fetcher.fetch)


@pytest.fixture
def collection(engine: Engine) -> Collection:
    return new_collection(engine)


def plain(colour: str) -> bytes:
    """A PNG of one colour."""
    stream = BytesIO()
    Image.new("RGB", (64, 64), colour).save(stream, "PNG")
    return stream.getvalue()


class FailingEncoder(FakeEncoder):
    """Fails on more than `room` pictures at once and on pictures that are all of one colour."""

    def __init__(self, room: int = 1_000) -> None:
        super().__init__()
        self.room = room

    def embed(self, prepared: Sequence[Pixels]) -> Vectors:
        if len(prepared) > self.room:
            raise MemoryError("out of memory")
        if any(np.ptp(pixels) == 0 and pixels.max() > 250 for pixels in prepared):
            raise RuntimeError("CUDA error")
        return super().embed(prepared)


class BrokenEncoder(FakeEncoder):
    """Cannot be loaded."""

    def embed(self, prepared: Sequence[Pixels]) -> Vectors:
        raise ModelError("the weights are not here")


class BlindEncoder(FakeEncoder):
    """Gives no vector for dark pictures."""

    def embed(self, prepared: Sequence[Pixels]) -> Vectors:
        vectors = super().embed(prepared)
        vectors[[pixels.mean() < 5 for pixels in prepared]] = np.nan
        return vectors


def test_every_url_comes_to_its_end(tools: Tools, collection: Collection, server: HostileServer) -> None:
    bad = ["404", "410", "403", "html-as-jpeg", "418", "loop"]
    add_urls(tools.engine, collection, [*pictures(server, 40), *map(server.url, bad)])
    assert run(collection, FakeEncoder(), tools) == Written(ok=40, failed=6)
    assert ends(tools.engine, collection) == {
        "ok": 40, "failed not_found": 1, "failed gone": 1, "failed forbidden": 1, "failed not_an_image": 1,
        "failed http_status": 1, "failed too_many_redirects": 1,
    }  # fmt: skip
    assert items(tools.engine, collection) == 40
    assert scalar(tools.engine, "SELECT count(*) FROM clipgres.thumbnail") == 40


def test_batches_overlap_and_all_of_them_come_through(
    tools: Tools, collection: Collection, server: HostileServer
) -> None:
    small = make_tools(tools.engine, tools.settings, tools.fetch, batch_images=8, model_batch=4)
    add_urls(tools.engine, collection, pictures(server, 60))
    assert run(collection, FakeEncoder(), small).ok == 60
    assert 0 < server.most_in_hand <= 16


def test_a_picture_that_another_collection_fetched_is_not_fetched_again(
    tools: Tools, collection: Collection, server: HostileServer
) -> None:
    other = new_collection(tools.engine, "other")
    for each in (collection, other):
        add_urls(tools.engine, each, pictures(server, 5))
        run(each, FakeEncoder(), tools)
    assert len(server.requests) == 5
    assert items(tools.engine, other) == 5


def test_without_thumbnails_it_is_fetched_again(tools: Tools, collection: Collection, server: HostileServer) -> None:
    bare = make_tools(tools.engine, tools.settings, tools.fetch, thumbnails=False)
    other = new_collection(tools.engine, "other")
    for each in (collection, other):
        add_urls(tools.engine, each, pictures(server, 3))
        run(each, FakeEncoder(), bare)
    assert len(server.requests) == 6
    assert items(tools.engine, other) == 3


def test_a_transient_failure_is_tried_again_later(tools: Tools, collection: Collection, server: HostileServer) -> None:
    add_urls(tools.engine, collection, [server.url("500")])
    assert run(collection, FakeEncoder(), tools) == Written(put_off=1)
    assert ends(tools.engine, collection) == {"pending server_error": 1}
    wait_s = scalar(tools.engine, "SELECT extract(epoch FROM next_attempt_at - now())::float8 FROM clipgres.job")
    assert 3 < wait_s < 6.1  # type: ignore[operator]


def test_a_transient_failure_ends_after_its_last_attempt(
    tools: Tools, collection: Collection, server: HostileServer
) -> None:
    add_urls(tools.engine, collection, [server.url("500")])
    with transaction(tools.engine) as connection:
        connection.execute(text("UPDATE clipgres.job SET attempts = 4"))
    assert run(collection, FakeEncoder(), tools) == Written(failed=1)
    assert ends(tools.engine, collection) == {"failed server_error": 1}


def test_a_host_is_left_alone_for_as_long_as_it_asks(
    tools: Tools, collection: Collection, server: HostileServer
) -> None:
    add_urls(tools.engine, collection, [server.url("retry-after?429,600")])
    run(collection, FakeEncoder(), tools)
    assert ends(tools.engine, collection) == {"pending rate_limited": 1}
    assert scalar(tools.engine, "SELECT next_attempt_at > now() + interval '590 s' FROM clipgres.job")


def test_what_was_said_and_how_long_it_took_is_on_record(
    tools: Tools, collection: Collection, server: HostileServer
) -> None:
    urls = [server.url("slow-picture"), server.url("500"), "http://127.0.0.3:1/refused", "http://10.1.2.3/"]
    images = add_urls(tools.engine, collection, urls)
    run(collection, FakeEncoder(), tools)
    with transaction(tools.engine) as connection:
        found = connection.execute(text("SELECT image_id, reason, detail, took_ms FROM clipgres.fetch_attempt"))
        said = {row.image_id: tuple(row)[1:] for row in found}
    there, failed, refused, blocked = (said[image] for image in images)
    assert there[:2] == (None, None)
    assert there[2] >= 100
    assert failed[:2] == ("server_error", "the host failed (5xx): HTTP 500")
    assert refused[:2] == (
        "connection_refused",
        "robots.txt: the host refused the connection: [Errno 111] Connection refused",
    )
    assert blocked[0] == "blocked_address"
    assert all(took is not None for *_, took in said.values())


def test_what_hangs_for_good_is_given_up(engine: Engine, settings: Settings, collection: Collection) -> None:
    is_over = threading.Event()

    def hang(url: str) -> Fetched:
        is_over.wait(60)
        return no_network(url)

    brief = settings.model_copy(update={"fetch_total_timeout_s": 0.1, "decode_timeout_s": 0.1})
    tools = make_tools(engine, brief, hang, fetch_threads=1)
    add_urls(engine, collection, ["http://example.org/hangs", "http://example.org/waits"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("worker.pipeline.SLOW_S", 0.5)
        patch.setattr("worker.pipeline.WAITING_S", 1.0)
        written = run(collection, FakeEncoder(), tools)
    is_over.set()
    assert written == Written(put_off=1)
    assert ends(engine, collection) == {"pending stuck": 1, "pending": 1}
    assert scalar(engine, "SELECT array_agg(attempts ORDER BY image_id) FROM clipgres.job") == [1, 0]


def test_a_model_short_of_memory_gets_smaller_batches(
    tools: Tools, collection: Collection, server: HostileServer
) -> None:
    add_urls(tools.engine, collection, pictures(server, 20))
    assert run(collection, FailingEncoder(room=3), tools).ok == 20


def test_a_picture_the_model_fails_on_fails_alone(engine: Engine, settings: Settings, collection: Collection) -> None:
    tools = make_tools(engine, settings, lambda url: fetched(plain("white") if "white" in url else jpeg()))
    add_urls(engine, collection, [f"http://example.org/{n}" for n in range(10)] + ["http://example.org/white"])
    assert run(collection, FailingEncoder(), tools) == Written(ok=10, put_off=1)
    assert ends(engine, collection) == {"ok": 10, "pending encoder_failed": 1}


def test_a_vector_that_is_none_is_never_stored(engine: Engine, settings: Settings, collection: Collection) -> None:
    tools = make_tools(engine, settings, lambda _url: fetched(plain("black")))
    add_urls(engine, collection, ["http://example.org/black"])
    run(collection, BlindEncoder(), tools)
    assert ends(engine, collection) == {"pending encoder_failed": 1}
    assert items(engine, collection) == 0


def test_a_model_that_is_not_there_leaves_the_jobs_as_they_were(
    tools: Tools, collection: Collection, server: HostileServer
) -> None:
    add_urls(tools.engine, collection, pictures(server, 20))
    with pytest.raises(ModelError, match="not here"):
        run(collection, BrokenEncoder(), tools)
    assert ends(tools.engine, collection) == {"pending": 20}
    assert scalar(tools.engine, "SELECT max(attempts) FROM clipgres.job") == 0


def test_stopping_gives_back_what_has_not_ended(engine: Engine, settings: Settings, collection: Collection) -> None:
    stopping = threading.Event()

    def slow(url: str) -> Fetched:
        time.sleep(0.3)
        stopping.set()
        return fetched(jpeg())

    tools = make_tools(engine, settings, slow, fetch_threads=4)
    add_urls(engine, collection, [f"http://example.org/{number}" for number in range(100)])
    written = run(collection, FakeEncoder(), tools, is_stopping=stopping.is_set)
    assert 4 <= written.ok < 100
    assert ends(engine, collection) == {"ok": written.ok, "pending": 100 - written.ok}


def test_suspects_are_done_with_nothing_beside_them(engine: Engine, settings: Settings, collection: Collection) -> None:
    running: set[str] = set()
    company: dict[str, set[str]] = {}

    def fetch(url: str) -> Fetched:
        running.add(url)
        time.sleep(0.05)
        company[url] = set(running)
        running.remove(url)
        return fetched(jpeg())

    names = [f"http://example.org/{kind}{number}" for kind in ("new", "suspect") for number in range(6)]
    add_urls(engine, collection, names)
    with transaction(engine) as connection:
        connection.execute(text("UPDATE clipgres.job SET reason = 'stuck', attempts = 4 WHERE image_id > 6"))
    assert run(collection, FakeEncoder(), make_tools(engine, settings, fetch)).ok == 12
    assert {url: beside for url, beside in company.items() if "suspect" in url and beside != {url}} == {}
    assert any(len(beside) > 1 for beside in company.values())


def test_the_lease_is_renewed_while_rows_are_in_hand(
    engine: Engine, settings: Settings, collection: Collection
) -> None:
    brief = settings.model_copy(update={"lease_s": 1.5})
    moves = []

    def slow(url: str) -> Fetched:
        first = scalar(engine, LEASE_SQL)
        moves.append(wait_until(lambda: scalar(engine, LEASE_SQL) != first))
        return fetched(jpeg())

    add_urls(engine, collection, ["http://example.org/a"])
    assert run(collection, FakeEncoder(), make_tools(engine, brief, slow)) == Written(ok=1)
    assert moves == [True]
    assert scalar(engine, "SELECT attempts FROM clipgres.job") == 1


def work_until_poisoned(database_url: str, settings: Settings, collection: Collection) -> None:
    """Runs in a process of its own, which the poisonous picture ends."""

    def fetch(url: str) -> Fetched:
        if "poison" in url:
            os._exit(1)
        return fetched(jpeg())

    engine = create_engine(database_url)
    run(collection, FakeEncoder(), make_tools(engine, settings, fetch, batch_images=16, lease_s=1.1))
    engine.dispose()


def test_a_picture_that_kills_its_worker_ends_alone(
    engine: Engine, settings: Settings, collection: Collection, database_url: str
) -> None:
    names = [f"{number}" for number in range(11)] + ["poison"] + [f"{number}" for number in range(11, 16)]
    add_urls(engine, collection, [f"http://example.org/{name}" for name in names])
    deaths = 0
    while any(end.startswith("pending") for end in ends(engine, collection)) and deaths < 8:
        process = get_context("spawn").Process(target=work_until_poisoned, args=(database_url, settings, collection))
        process.start()
        process.join(120)
        deaths += process.exitcode == 1
        with transaction(engine) as connection:
            connection.execute(
                text("UPDATE clipgres.job SET leased_until = now() - interval '1 s' WHERE status = 'leased'")
            )
            sweep(connection)
    assert ends(engine, collection) == {"ok": 16, "failed stuck": 1}
    assert deaths == MAX_CLAIMS
