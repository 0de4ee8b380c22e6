"""Hosts that ask for time or fail again and again: left alone by all workers, and no link of theirs is dead for it."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise

import pytest
from sqlalchemy import Engine, text

from clipgres import hosts
from clipgres.collections import Collection
from clipgres.database import create_engine, transaction
from clipgres.errors import ImageError, PermanentImageError, TransientImageError
from clipgres.fetching import Fetched, Fetcher
from clipgres.reasons import Reason
from clipgres.settings import Settings
from clipgres.writes import Written
from tests.fakes import FakeEncoder
from tests.hostile import HostileServer, hostile_server, jpeg
from tests.ingest import add_urls, ends, fetched, items, make_tools, new_collection, no_network, scalar, wait_until
from worker.breaker import Breaker
from worker.host import PROBES
from worker.network import Network
from worker.pipeline import run
from worker.tools import Tools

HOST = "127.0.0.2"
LATER_SQL = text("UPDATE clipgres.host SET paused_until = now()")
DUE_SQL = text("UPDATE clipgres.job SET next_attempt_at = now() WHERE status = 'pending'")
OTHER = "SELECT count(*) FROM clipgres.job WHERE attempts = :attempts AND status = 'pending'"


@pytest.fixture
def collection(engine: Engine) -> Collection:
    return new_collection(engine)


@pytest.fixture
def servers() -> Iterator[list[HostileServer]]:
    """Two hosts: one at 127.0.0.1, one at 127.0.0.2."""
    with ExitStack() as stack:
        yield [stack.enter_context(hostile_server(address)) for address in ("127.0.0.1", HOST)]


class World:
    """Answers for hosts as told: an error for those in `failing`, a picture for the others; counts what was asked."""

    def __init__(self, failing: dict[str, ImageError]) -> None:
        self.failing = failing
        self.asked: Counter[str] = Counter()

    def __call__(self, url: str) -> Fetched:
        host = url.split("/")[2]
        self.asked[host] += 1
        if error := self.failing.get(host):
            raise type(error)(
                error.reason, str(error), http_status=error.http_status, retry_after_s=error.retry_after_s
            )
        return fetched(jpeg())


def urls(host: str, count: int) -> list[str]:
    return [f"http://{host}/{number}" for number in range(count)]


def work(tools: Tools, collection: Collection) -> Written:
    return run(collection, FakeEncoder(), tools)


def another_worker(tools: Tools) -> Tools:
    """The same again with a memory of its own, as after a restart or in another process."""
    return make_tools(tools.engine, tools.settings, tools.fetch, fetch_per_host=tools.settings.fetch_per_host)


def later(engine: Engine) -> None:
    """As if all pauses were over."""
    with transaction(engine) as connection:
        connection.execute(LATER_SQL)
        connection.execute(DUE_SQL)


def has_answered_before(engine: Engine) -> None:
    """As if the host had given a picture once."""
    [image] = add_urls(engine, new_collection(engine, "older"), [f"http://{HOST}/seen"])
    with transaction(engine) as connection:
        connection.execute(text("UPDATE clipgres.job SET status = 'ok' WHERE image_id = :id"), {"id": image})
        connection.execute(text("UPDATE clipgres.image SET first_seen_alive = now() WHERE id = :id"), {"id": image})


def refused() -> ImageError:
    return TransientImageError(Reason.REFUSED)


@pytest.fixture
def failing(engine: Engine, settings: Settings) -> tuple[World, Tools]:
    """A world in which one local host refuses every connection, and what works on it one by one."""
    world = World({HOST: refused()})
    return world, make_tools(engine, settings, world, fetch_threads=1, host_failures=3)


def test_a_host_that_fails_is_left_alone_and_its_other_links_wait_uncounted(
    failing: tuple[World, Tools], collection: Collection, caplog: pytest.LogCaptureFixture
) -> None:
    world, tools = failing
    add_urls(tools.engine, collection, [*urls(HOST, 40), *urls("127.0.0.3", 10)])
    with caplog.at_level(logging.WARNING):
        assert work(tools, collection) == Written(ok=10, put_off=3)
    assert world.asked == {HOST: 3, "127.0.0.3": 10}
    assert ends(tools.engine, collection) == {"ok": 10, "pending connection_refused": 3, "pending": 37}
    assert scalar(tools.engine, OTHER, attempts=0) == 37
    assert [record.message for record in caplog.records] == [
        f"the host {HOST} is left alone for 1 min 0 s: the host refused the connection"
    ]
    row = scalar(tools.engine, "SELECT (trips, reason, paused_until > now() + '55 s')::text FROM clipgres.host")
    assert row == "(1,connection_refused,t)"


def test_other_workers_learn_of_it_at_their_next_claim(failing: tuple[World, Tools], collection: Collection) -> None:
    world, tools = failing
    add_urls(tools.engine, collection, urls(HOST, 10))
    work(tools, collection)
    with transaction(tools.engine) as connection:
        connection.execute(DUE_SQL)
    work(another_worker(tools), collection)
    assert world.asked[HOST] == 3
    assert scalar(tools.engine, "SELECT min(next_attempt_at) > now() + '50 s' FROM clipgres.job")


def test_after_the_pause_a_reply_to_a_probe_ends_it_all(
    failing: tuple[World, Tools], collection: Collection, caplog: pytest.LogCaptureFixture
) -> None:
    world, tools = failing
    add_urls(tools.engine, collection, urls(HOST, 20))
    work(tools, collection)
    world.failing.clear()
    later(tools.engine)
    with caplog.at_level(logging.WARNING):
        assert work(tools, collection).ok == PROBES
        assert f"the host {HOST} is back" in caplog.messages
        later(tools.engine)
        work(another_worker(tools), collection)
    assert ends(tools.engine, collection) == {"ok": 20}
    assert scalar(tools.engine, "SELECT count(*) FROM clipgres.host") == 0


def test_a_probe_that_fails_makes_the_next_pause_longer(failing: tuple[World, Tools], collection: Collection) -> None:
    world, tools = failing
    has_answered_before(tools.engine)
    add_urls(tools.engine, collection, urls(HOST, 20))
    work(tools, collection)
    later(tools.engine)
    work(another_worker(tools), collection)
    assert 3 < world.asked[HOST] <= 3 + PROBES
    assert scalar(tools.engine, "SELECT max(attempts) FROM clipgres.job") == 1
    pause_s = scalar(tools.engine, "SELECT extract(epoch FROM paused_until - now())::float8 FROM clipgres.host")
    assert 235 < pause_s <= 240  # type: ignore[operator]


def test_two_workers_do_not_probe_at_once(engine: Engine) -> None:
    with transaction(engine) as connection:
        hosts.trip(connection, HOST, Reason.TIMEOUT, trips=2, seconds=0)
        hosts.trip(connection, "resting.test", Reason.TIMEOUT, trips=1, seconds=60)
    with engine.begin() as one, engine.begin() as other:
        names = [HOST, "resting.test"]
        assert hosts.begin_probes(one, names, seconds=45) == {HOST}
        assert hosts.begin_probes(other, names, seconds=45) == set()
    with transaction(engine) as connection:
        assert hosts.begin_probes(connection, names, seconds=45) == set()


@pytest.mark.parametrize(
    ("error", "has_answered", "trips"),
    [
        (TransientImageError(Reason.REFUSED), True, hosts.GIVEN_UP_TRIPS),
        (TransientImageError(Reason.REFUSED), False, hosts.GIVEN_UP_SOON_TRIPS),
        (PermanentImageError(Reason.TLS_FAILED), False, hosts.GIVEN_UP_SOON_TRIPS),
        (PermanentImageError(Reason.FORBIDDEN, http_status=403), False, hosts.GIVEN_UP_SOON_TRIPS),
        (PermanentImageError(Reason.FORBIDDEN, http_status=403), True, hosts.GIVEN_UP_TRIPS),
    ],
)
def test_a_host_that_never_comes_back_is_given_up_in_the_end(
    failing: tuple[World, Tools], collection: Collection, error: ImageError, has_answered: bool, trips: int
) -> None:
    world, tools = failing
    world.failing[HOST] = error
    add_urls(tools.engine, collection, urls(HOST, 20))
    if has_answered:
        has_answered_before(tools.engine)
    asked = []
    for _ in range(trips):
        work(tools, collection)
        asked.append(world.asked[HOST])
        with transaction(tools.engine) as connection:
            connection.execute(DUE_SQL)
            if len(asked) < trips:
                connection.execute(LATER_SQL)
        tools = another_worker(tools)
    work(tools, collection)
    assert ends(tools.engine, collection) == {f"failed {error.reason}": 20}
    assert world.asked[HOST] == asked[-1]
    assert [2 < more - before for before, more in pairwise([0, *asked])] == [True] + [False] * (trips - 1)
    assert scalar(tools.engine, "SELECT bool_and(next_check IS NOT NULL) FROM clipgres.image WHERE state = 'failed'")
    pause_s = scalar(tools.engine, "SELECT extract(epoch FROM paused_until - now())::float8 FROM clipgres.host")
    assert 15_300 < pause_s <= 15_360  # type: ignore[operator]


def test_a_host_that_was_given_up_gets_another_chance(failing: tuple[World, Tools], collection: Collection) -> None:
    world, tools = failing
    with transaction(tools.engine) as connection:
        hosts.trip(connection, HOST, Reason.REFUSED, trips=hosts.GIVEN_UP_TRIPS, seconds=0)
    world.failing.clear()
    add_urls(tools.engine, collection, urls(HOST, 5))
    assert work(tools, collection) == Written(ok=PROBES)
    assert ends(tools.engine, collection) == {"ok": PROBES, "pending": 5 - PROBES}
    assert scalar(
        tools.engine, "SELECT max(next_attempt_at) < now() + '7 s' FROM clipgres.job WHERE status = 'pending'"
    )


def test_a_reply_between_failures_keeps_a_host_in(engine: Engine, settings: Settings, collection: Collection) -> None:
    asked: list[str] = []

    def every_third_answers(url: str) -> Fetched:
        asked.append(url)
        if len(asked) % 3:
            raise refused()
        return fetched(jpeg())

    tools = make_tools(engine, settings, every_third_answers, fetch_threads=1, host_failures=3)
    add_urls(engine, collection, urls(HOST, 30))
    assert work(tools, collection) == Written(ok=10, put_off=20)
    assert scalar(engine, "SELECT count(*) FROM clipgres.host") == 0


def test_a_429_pauses_its_host_and_counts_for_its_picture_alone(
    engine: Engine, settings: Settings, collection: Collection, servers: list[HostileServer]
) -> None:
    calm, busy = servers
    add_urls(engine, collection, [busy.url("retry-after?429,90"), *(busy.url(f"picture?{n}") for n in range(50))])
    add_urls(engine, collection, [calm.url(f"picture?{number}") for number in range(5)])
    with Fetcher(settings) as fetcher:
        tools = make_tools(engine, settings, fetcher.fetch, fetch_threads=1, fetch_per_host=1)
        assert work(tools, collection) == Written(ok=5, put_off=1)
    assert ends(engine, collection) == {"ok": 5, "pending rate_limited": 1, "pending": 50}
    assert [request.path for request in busy.requests if request.path != "/robots.txt"] == ["/retry-after"]
    assert scalar(engine, OTHER, attempts=0) == 50
    assert scalar(engine, "SELECT min(next_attempt_at) > now() + '80 s' FROM clipgres.job WHERE status = 'pending'")


@pytest.mark.parametrize(
    ("error", "least_s", "most_s"),
    [
        (TransientImageError(Reason.RATE_LIMITED, http_status=429), 0, 1),  # a second where it says nothing
        (TransientImageError(Reason.RATE_LIMITED, http_status=429, retry_after_s=10**9), 3_590, 3_600),
        (TransientImageError(Reason.SERVER_ERROR, http_status=503, retry_after_s=30), 20, 30),
        (TransientImageError(Reason.SERVER_ERROR, http_status=503), None, None),
        (TransientImageError(Reason.SERVER_ERROR, http_status=500), None, None),
    ],
)
def test_how_long_a_host_is_paused(
    engine: Engine, settings: Settings, error: ImageError, least_s: float | None, most_s: float
) -> None:
    breaker = make_tools(engine, settings, no_network).breaker
    assert breaker.note(HOST, error) is None
    breaker.publish()
    seconds = scalar(engine, "SELECT max(extract(epoch FROM paused_until - now())::float8) FROM clipgres.host")
    if least_s is None:
        assert seconds is None
    else:
        assert least_s < seconds <= most_s  # type: ignore[operator]
        assert breaker.stop(HOST)


def test_a_dead_network_trips_no_host(engine: Engine, settings: Settings, collection: Collection) -> None:
    tools = make_tools(engine, settings, no_network, fetch_threads=1, host_failures=3)
    tools.network.note_reply("alive.example.org")
    add_urls(engine, collection, urls("example.org", 20))
    work(tools, collection)
    assert scalar(engine, "SELECT count(*) FROM clipgres.host") == 0


def test_one_dead_host_in_a_live_network_is_tripped(engine: Engine, settings: Settings) -> None:
    tools = make_tools(engine, settings, no_network, host_failures=3)
    tools.network.note_reply("alive.example.org")
    for _ in range(4):
        tools.breaker.note("dead.example.org", TransientImageError(Reason.DNS_FAILED))
    assert not tools.breaker.stop("dead.example.org")  # it may be the network
    tools.network.note_reply("alive.example.org")
    tools.breaker.note("dead.example.org", TransientImageError(Reason.DNS_FAILED))
    assert tools.breaker.stop("dead.example.org")


def test_a_thumbnail_needs_no_host(failing: tuple[World, Tools], collection: Collection) -> None:
    world, tools = failing
    [image] = add_urls(tools.engine, collection, urls(HOST, 1))
    with transaction(tools.engine) as connection:
        hosts.trip(connection, HOST, Reason.TIMEOUT, trips=1, seconds=60)
        connection.execute(text("UPDATE clipgres.image SET state = 'ok'"))
        connection.execute(text("INSERT INTO clipgres.thumbnail VALUES (:id, :webp)"), {"id": image, "webp": jpeg()})
    assert work(tools, collection) == Written(ok=1)
    assert not world.asked


def test_what_a_person_wants_tried_again_is_tried_at_once(failing: tuple[World, Tools], collection: Collection) -> None:
    world, tools = failing
    add_urls(tools.engine, collection, urls(HOST, 5))
    work(tools, collection)
    world.failing.clear()
    with transaction(tools.engine) as connection:
        hosts.relent(connection, [HOST])
        connection.execute(DUE_SQL)
    assert work(tools, collection) == Written(ok=5)


def test_what_says_nothing_any_more_is_forgotten(engine: Engine) -> None:
    with transaction(engine) as connection:
        hosts.pause(connection, "over.test", Reason.RATE_LIMITED, seconds=0)
        hosts.pause(connection, "asked.test", Reason.RATE_LIMITED, seconds=60)
        hosts.trip(connection, "failed.test", Reason.TIMEOUT, trips=2, seconds=0)
        hosts.trip(connection, "long.test", Reason.TIMEOUT, trips=1, seconds=-100_000)
    with transaction(engine) as connection:
        hosts.forget_old(connection)
    assert scalar(engine, "SELECT string_agg(name, ' ' ORDER BY name) FROM clipgres.host") == "asked.test failed.test"


def test_a_database_that_is_away_hears_of_it_later(engine: Engine, database_url: str, settings: Settings) -> None:
    impatient = create_engine(database_url, statement_timeout_ms=100)
    breaker = Breaker(impatient, Network(), settings.model_copy(update={"host_failures": 1}))
    breaker.note(HOST, refused())
    with engine.begin() as connection:
        connection.execute(text("LOCK TABLE clipgres.host"))
        breaker.publish()
    breaker.publish()
    impatient.dispose()
    assert scalar(engine, "SELECT trips FROM clipgres.host") == 1


@pytest.mark.parametrize("trips", [0, 1, hosts.GIVEN_UP_TRIPS])
def test_a_worker_that_starts_reads_the_table(
    engine: Engine, settings: Settings, collection: Collection, trips: int
) -> None:
    world = World({})
    add_urls(engine, collection, urls(HOST, 3))
    with transaction(engine) as connection:
        if trips:
            hosts.trip(connection, HOST, Reason.TIMEOUT, trips=trips, seconds=60)
        else:
            hosts.pause(connection, HOST, Reason.RATE_LIMITED, seconds=60)
    work(make_tools(engine, settings, world), collection)
    assert not world.asked
    assert ends(engine, collection) == ({"failed timeout": 3} if trips > 1 else {"pending": 3})


def test_a_hanging_host_with_many_links_delays_no_other(
    engine: Engine, settings: Settings, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.pipeline.SLOW_S", 0.3)
    is_over = threading.Event()
    hung: list[str] = []

    def fetch(url: str) -> Fetched:
        if HOST in url:
            hung.append(url)
            is_over.wait(60)
            raise TransientImageError(Reason.TIMEOUT)
        return fetched(jpeg())

    tools = make_tools(engine, settings, fetch, fetch_threads=4, fetch_per_host=2, batch_images=64)
    add_urls(engine, collection, [*urls(HOST, 1_000), *urls("127.0.0.3", 200)])
    thread = threading.Thread(target=run, args=(collection, FakeEncoder(), tools))
    thread.start()
    is_through = wait_until(lambda: items(engine, collection) == 200, 50)
    hung_by_then = len(hung)
    is_over.set()
    thread.join(60)
    assert is_through
    assert hung_by_then == 2
