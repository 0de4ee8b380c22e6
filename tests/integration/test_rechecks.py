"""Links over time: what another look at a link finds, and what that changes for those who search."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from hashlib import sha256
from io import BytesIO
from threading import Event
from threading import enumerate as enumerate_threads
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from sqlalchemy import Engine

from clipgres import attempts, placeholders, rechecks
from clipgres.cli import main
from clipgres.cli.tools import Tools
from clipgres.collections import Collection
from clipgres.database import create_engine, transaction
from clipgres.encoder import unit
from clipgres.fetching import Fetched, Fetcher
from clipgres.hosts import GIVEN_UP_TRIPS, trip
from clipgres.jobs import claim
from clipgres.links import link_statistics
from clipgres.queue import make_app
from clipgres.reasons import Reason
from clipgres.rechecks import Rechecked, claim_due, make_due, release_due, write_checks
from clipgres.request import SearchRequest
from clipgres.schema import JobStatus
from clipgres.search import Searcher
from clipgres.settings import Settings
from clipgres.writes import Outcome, write_outcomes
from tests.adding import query
from tests.fake_worker import FakeEncoders
from tests.fakes import FakeEncoder
from tests.hostile import BEHAVIOURS, HostileServer, Request, hostile_server, reply
from tests.ingest import add_urls, ends, items, make_tools, new_collection, no_network, scalar, wait_until
from worker.pipeline import run
from worker.process import WorkerProcess
from worker.rechecks import PUT_BACK_S, Rechecker
from worker.stages import facts_of

STATE = """
    SELECT state, reason, same_checks, failed_checks, changed_at IS NOT NULL,
           round(extract(epoch FROM next_check - now()) / 86400) AS days
    FROM clipgres.image
"""


def picture(colour: str) -> bytes:
    stream = BytesIO()
    Image.new("RGB", (64, 48), colour).save(stream, "JPEG")
    return stream.getvalue()


def shows(path: str, colour: str, *headers: str, etag: str | None = '"1"') -> None:
    """From now on there is a picture of a colour at a path; whoever has it by its ETag gets 304."""
    tags = [f"ETag: {etag}"] if etag else []

    def send(_: HostileServer, connection: socket.socket, request: Request) -> bool:
        has_it = etag is not None and request.headers.get("if-none-match") == etag
        status, body = ("304 Not Modified", b"") if has_it else ("200 OK", picture(colour))
        connection.sendall(reply(status, body, *tags, *headers))
        return True

    BEHAVIOURS[f"/{path}"] = send


def answers(path: str, status: str, *headers: str) -> None:
    """From now on a path has no picture."""

    def send(_: HostileServer, connection: socket.socket, __: Request) -> bool:
        connection.sendall(reply(status, b"", *headers))
        return True

    BEHAVIOURS[f"/{path}"] = send


@dataclass(slots=True)
class Links:
    """A collection of links to one server, and who looks at them."""

    engine: Engine
    collection: Collection
    server: HostileServer
    fetcher: Fetcher
    rechecker: Rechecker
    settings: Settings
    images: dict[str, int] = field(default_factory=dict)

    def embed(self, *paths: str) -> None:
        """Take links to these paths into the collection, as a worker would."""
        urls = [self.server.url(path) for path in paths]
        self.images |= dict(zip(paths, add_urls(self.engine, self.collection, urls), strict=True))
        tools, token = self.rechecker.tools, uuid4()
        with transaction(self.engine) as connection:
            outcomes = [
                Outcome(
                    image_id=job.image_id, status=JobStatus.OK, embedding=vector(job.image_id), took_ms=1,
                    facts=facts_of(fetched, tools.decoders.picture(fetched.body, None, thumbnail=True)),
                )
                for job in claim(connection, self.collection.id, token, limit=100, lease_s=30)
                for fetched in [self.fetcher.fetch(job.url)]
            ]  # fmt: skip
            write_outcomes(connection, self.collection, token, outcomes, recheck_days=30)
        self.server.requests.clear()

    def look(self) -> Rechecked:
        """Look at all links again, now."""
        query(self.engine, "UPDATE clipgres.image SET next_check = now() - interval '1 s'")
        return self.rechecker.round(Event())

    def state(self, path: str) -> tuple[Any, ...]:
        """State, reason, checks that found the same, checks that failed, whether it changed, days to the next."""
        [row] = query(self.engine, f"{STATE} WHERE id = :id", id=self.images[path])
        return tuple(row)

    def history(self, path: str) -> list[tuple[Reason | None, int | None]]:
        with transaction(self.engine) as connection:
            return [(each.reason, each.http_status) for each in attempts.of_image(connection, self.images[path])]


def vector(seed: int) -> Any:
    return unit(np.random.default_rng(seed).normal(size=(1, 512)).astype(np.float32))[0]


@pytest.fixture(scope="module")
def server() -> Iterator[HostileServer]:
    with hostile_server() as running:
        yield running


@pytest.fixture
def links(engine: Engine, settings: Settings, server: HostileServer) -> Iterator[Links]:
    with Fetcher(settings) as fetcher:
        tools = make_tools(engine, settings, fetcher.fetch)
        rechecker = Rechecker(tools=tools, fetch=fetcher.fetch_if_changed, is_busy=lambda: False)
        yield Links(engine, new_collection(engine), server, fetcher, rechecker, settings)


def test_a_link_that_stays_the_same_is_looked_at_ever_more_rarely(links: Links) -> None:
    shows("tagged", "red")
    shows("untagged", "red", etag=None)
    links.embed("tagged", "untagged")
    assert 27 <= links.state("tagged")[-1] <= 33
    for checks, days in ((1, 60), (2, 120), (3, 240), (4, 240)):
        assert links.look() == Rechecked(alive=2)
        for path in ("tagged", "untagged"):
            *rest, wait = links.state(path)
            assert rest == ["ok", None, checks, 0, False] and 0.9 * days <= wait <= 1.1 * days + 1
    assert links.history("tagged") == [(None, 304)] * 4 + [(None, 200)]
    assert links.history("untagged") == [(None, 200)] * 5
    assert ends(links.engine, links.collection) == {"ok": 2}


def test_a_picture_that_changed_is_embedded_anew_from_its_new_thumbnail(links: Links) -> None:
    shows("link", "red")
    links.embed("link")
    old = scalar(links.engine, "SELECT webp FROM clipgres.thumbnail")
    before = scalar(links.engine, f"SELECT embedding::text FROM {links.collection.item_table}")
    shows("link", "blue", etag='"2"')
    assert links.look() == Rechecked(alive=1, jobs=1)
    assert links.state("link")[:5] == ("ok", None, 0, 0, True)
    assert scalar(links.engine, "SELECT webp FROM clipgres.thumbnail") != old
    assert (items(links.engine, links.collection), ends(links.engine, links.collection)) == (1, {"pending": 1})
    links.server.requests.clear()
    run(links.collection, FakeEncoder(), links.rechecker.tools)
    assert scalar(links.engine, f"SELECT embedding::text FROM {links.collection.item_table}") != before
    assert (ends(links.engine, links.collection), links.server.requests) == ({"ok": 1}, [])


def test_without_a_new_thumbnail_the_old_one_does_not_stand_for_other_bytes(
    links: Links, engine: Engine, settings: Settings
) -> None:
    shows("link", "red")
    links.embed("link")
    shows("link", "blue", etag=None)
    links.rechecker = replace(
        links.rechecker, tools=make_tools(engine, settings, links.fetcher.fetch, thumbnails=False)
    )
    assert links.look().jobs == 1
    assert scalar(engine, "SELECT count(*) FROM clipgres.thumbnail") == 0


def test_a_job_that_is_about_to_embed_the_old_picture_is_taken_away(links: Links) -> None:
    shows("link", "red")
    links.embed("link")
    token, other = uuid4(), new_collection(links.engine, "other")
    add_urls(links.engine, other, [links.server.url("link")])
    with transaction(links.engine) as connection:
        [held] = claim(connection, other.id, token, limit=1, lease_s=30)
    assert held.thumbnail
    shows("link", "blue", etag='"2"')
    assert links.look().jobs == 2
    with transaction(links.engine) as connection:
        late = Outcome(image_id=held.image_id, status=JobStatus.OK, embedding=vector(0))
        assert write_outcomes(connection, other, token, [late], recheck_days=30).lost == 1
    assert ends(links.engine, other) == {"pending": 1}


def test_a_link_that_is_back_gives_the_jobs_that_it_failed_another_chance(links: Links) -> None:
    shows("link", "red")
    links.embed("link")
    answers("link", "410 Gone")
    links.look()
    ends_by_name = {
        "fetch": "reason = 'gone', attempts = 1",
        "ignored": "reason = 'gone', ignored_at = now()",
        "model": "reason = 'encoder_failed', attempts = 3",
    }
    for name, end in ends_by_name.items():
        other = new_collection(links.engine, name)
        add_urls(links.engine, other, [links.server.url("link")])
        query(
            links.engine,
            f"UPDATE clipgres.job SET status = 'failed', {end} WHERE collection_id = :id",
            id=other.id,
        )
    shows("link", "red")
    links.server.requests.clear()
    assert links.look() == Rechecked(alive=1, jobs=1)
    assert "if-none-match" not in links.server.requests[0].headers
    assert links.state("link")[:5] == ("ok", None, 0, 0, False)
    statuses = query(links.engine, "SELECT status, attempts FROM clipgres.job ORDER BY collection_id")
    assert statuses == [("ok", 1), ("pending", 0), ("failed", 0), ("failed", 3)]


def test_a_placeholder_stays_one_however_often_it_is_seen(links: Links) -> None:
    shows("link", "red")
    links.embed("link")
    placeholders.decide(links.engine, sha256(picture("red")).digest(), is_placeholder=True)
    assert links.look() == Rechecked(alive=1)
    assert links.state("link")[:2] == ("failed", "placeholder")
    assert ends(links.engine, links.collection) == {"failed placeholder": 1}


def test_a_host_in_trouble_is_asked_several_times_before_its_link_is_dead(links: Links) -> None:
    shows("link", "red")
    links.embed("link")
    answers("link", "503 Busy")
    for failed_checks, minutes in ((1, 5), (2, 20), (3, 80), (4, 320)):
        assert links.look() == Rechecked(put_off=1)
        assert links.state("link")[:4] == ("ok", None, 0, failed_checks)
        wait = scalar(links.engine, "SELECT (extract(epoch FROM next_check - now()) / 60)::float8 FROM clipgres.image")
        assert 0.75 * minutes < wait < 1.25 * minutes  # type: ignore[operator]
    assert links.look() == Rechecked(dead=1)
    assert links.state("link")[:4] == ("failed", "server_error", 0, 0)
    assert links.history("link") == [(Reason.SERVER_ERROR, 503)] * 5 + [(None, 200)]


def test_a_link_that_moved_for_good_is_said_to_have(links: Links) -> None:
    shows("target", "red")
    answers("link", "301 Moved", "Location: /target")
    links.embed("link")
    assert links.look() == Rechecked(alive=1)
    assert scalar(links.engine, "SELECT final_url FROM clipgres.image") == links.server.url("target")
    assert links.history("link")[0] == (None, 304)
    with transaction(links.engine) as connection:
        found = link_statistics(connection, links.collection)
    assert (found.alive, found.moved, found.changed, found.due) == (1, 1, 0, 0)


def test_links_of_hosts_that_are_left_alone_wait_and_those_of_one_given_up_are_dead(links: Links) -> None:
    for path in ("fine", "paused", "given-up"):
        shows(path, "red")
    links.embed("fine", "paused", "given-up")
    for name in ("paused", "given-up"):
        query(links.engine, "UPDATE clipgres.image SET host = :host WHERE id = :id", host=name, id=links.images[name])
    with transaction(links.engine) as connection:
        trip(connection, "paused", Reason.TIMEOUT, trips=1, seconds=2 * 86_400)
        trip(connection, "given-up", Reason.DNS_FAILED, trips=GIVEN_UP_TRIPS, seconds=2 * 86_400)
    assert links.look() == Rechecked(alive=1, dead=1)
    assert links.state("paused") == ("ok", None, 0, 0, False, 2)
    assert links.state("given-up")[:2] == ("failed", "dns_failed")
    assert {request.path for request in links.server.requests} == {"/fine"}
    assert links.history("given-up") == [(None, 200)]


def test_claims_do_not_meet_and_what_is_not_written_is_due_again(links: Links) -> None:
    for path in ("a", "b", "c"):
        shows(path, "red")
    links.embed("a", "b", "c")
    query(links.engine, "UPDATE clipgres.image SET next_check = now()")
    with transaction(links.engine) as one, transaction(links.engine) as another:
        ours = claim_due(one, limit=2, lease_s=0)
        theirs = claim_due(another, limit=9, lease_s=60)
    assert sorted(due.image_id for due in ours + theirs) == sorted(links.images.values())
    with transaction(links.engine) as connection:
        again = claim_due(connection, limit=9, lease_s=60)
        late = {
            due: Outcome(image_id=due.image_id, status=JobStatus.FAILED, reason=Reason.GONE, took_ms=1) for due in ours
        }
        assert write_checks(connection, late, recheck_days=30) == Rechecked(lost=2)
        release_due(connection, {again[0]: 0.0, ours[0]: 0.0})
    assert {due.image_id for due in again} == {due.image_id for due in ours}
    assert scalar(links.engine, "SELECT count(*) FROM clipgres.image WHERE is_valid") == 3
    assert scalar(links.engine, "SELECT count(*) FROM clipgres.image WHERE next_check <= now()") == 1


def test_a_host_that_hangs_holds_up_no_other(
    links: Links, engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hostile_server("127.0.0.2") as slow:
        shows("link", "red")
        shows("slow", "red")
        links.embed("link")
        add_urls(engine, links.collection, [slow.url("slow?1"), slow.url("slow?2"), slow.url("slow?3")])
        query(engine, "UPDATE clipgres.image SET state = 'ok' WHERE state = 'new'")
        BEHAVIOURS["/slow"] = BEHAVIOURS["/hang"]
        monkeypatch.setattr("worker.rechecks.ROUND_S", 0.1)
        hasty = settings.model_copy(update={"fetch_total_timeout_s": 0.6, "fetch_robots": False})
        with Fetcher(hasty) as fetcher:
            tools = make_tools(engine, hasty, fetcher.fetch)
            links.rechecker = Rechecker(tools=tools, fetch=fetcher.fetch_if_changed, is_busy=lambda: False)
            assert links.look() == Rechecked(alive=1, put_off=1)
    waits = query(engine, "SELECT round(extract(epoch FROM next_check - now()) / 60) FROM clipgres.image ORDER BY id")
    assert waits[2:] == [PUT_BACK_S / 60] * 2


def test_links_are_made_due_by_collection_host_reason_and_death(links: Links, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rechecks, "PORTION", 2)
    paths = ["a", "b", "c", "d", "e"]
    for path in paths:
        shows(path, "red")
    links.embed(*paths)
    answers("e", "404 Not Found")
    links.look()
    add_urls(links.engine, links.collection, [links.server.url("not-fetched-yet")])
    host, other = links.server.address, new_collection(links.engine, "other")

    def made(
        collection: Collection | None = None,
        host: str | None = None,
        reason: Reason | None = None,
        is_dead: bool = False,
    ) -> int:
        return sum(make_due(links.engine, collection=collection, host=host, reason=reason, is_dead=is_dead))

    assert (made(is_dead=True), made(reason=Reason.NOT_FOUND), made(reason=Reason.GONE)) == (1, 1, 0)
    assert (made(host="elsewhere"), made(collection=other)) == (0, 0)
    assert scalar(links.engine, "SELECT count(*) FROM clipgres.image WHERE next_check <= now()") == 1
    assert (made(host=host), made(collection=links.collection), made()) == (5, 5, 5)
    with transaction(links.engine) as connection:
        found = link_statistics(connection, links.collection)
    assert (found.alive, found.dead_by_reason, found.due) == (4, {Reason.NOT_FOUND: 1}, 5)


def test_the_command_line_makes_links_due_and_shows_how_they_stand(links: Links) -> None:
    def typed(*arguments: str, **changes: Any) -> str:
        tools = Tools(links.settings.model_copy(update=changes))
        return CliRunner().invoke(main, list(arguments), obj=tools, terminal_width=200).output

    shows("here", "red")
    shows("gone", "red")
    links.embed("here", "gone")
    answers("gone", "404 Not Found")
    links.look()
    assert "1 link will be looked at again." in typed("recheck", "--dead", "--reason", "not_found")
    assert "2 links will be looked at again." in typed("recheck", "--host", links.server.address)
    assert "No such link" in typed("recheck", "--host", "elsewhere", "--collection", "default")
    assert "CLIPGRES_RECHECK_DAYS is 0" in typed("recheck", recheck_days=0)
    told = typed("collections", "stats")
    assert "1 alive, 1 dead (1 not_found), 0 moved, 0 changed this month" in told and "2 due now" in told
    as_json = json.loads(typed("collections", "stats", "--json"))["links"]
    assert (as_json["alive"], as_json["dead_by_reason"]) == (1, {"not_found": 1})


def test_links_that_die_keep_their_pictures_searchable(links: Links) -> None:
    ends_by_path = {"missing": Reason.NOT_FOUND, "opted-out": Reason.OPTED_OUT}
    for path in ends_by_path:
        shows(path, "red")
    links.embed(*ends_by_path)
    answers("missing", "404 Not Found")
    shows("opted-out", "red", "X-Robots-Tag: noai")
    for checks, days in ((0, 7.5), (1, 15)):
        assert links.look() == Rechecked(dead=2)
        for path, reason in ends_by_path.items():
            *rest, wait = links.state(path)
            assert rest == ["failed", reason, checks, 0, False] and 0.9 * days - 1 <= wait <= 1.1 * days + 1
            assert [each[0] for each in links.history(path)] == [reason] * (checks + 1) + [None]
    assert ends(links.engine, links.collection) == {"ok": 2}
    searcher = Searcher(
        engine=links.engine,
        encoders=FakeEncoders(links.settings),
        fetcher=links.fetcher,
        decoders=links.rechecker.tools.decoders,
        settings=links.settings,
    )
    hits = searcher.search(SearchRequest(text="red")).hits
    assert [(hit.alive, hit.has_thumbnail) for hit in hits] == [(False, True)] * 2


def test_neither_a_dead_network_nor_a_bug_of_ours_is_held_against_a_link(
    links: Links, caplog: pytest.LogCaptureFixture
) -> None:
    shows("link", "red")
    links.embed("link")
    query(links.engine, "UPDATE clipgres.image SET host = 'example.org'")

    def in_vain(url: str, **_: str | None) -> Fetched:
        return no_network(url)

    def broken(url: str, **_: str | None) -> Fetched:
        raise KeyError(url)

    links.rechecker = replace(links.rechecker, fetch=in_vain)
    for _ in range(7):
        assert links.look() == Rechecked(put_off=1)
    assert links.state("link") == ("ok", None, 0, 0, False, 0)
    links.rechecker = replace(links.rechecker, fetch=broken)
    for _ in range(4):
        assert links.look() == Rechecked(put_off=1)
    assert links.state("link") == ("ok", None, 0, 0, False, 1)
    assert [each[0] for each in links.history("link")] == [Reason.STUCK] * 4 + [Reason.DNS_FAILED] * 6
    assert "could not be looked at again" in caplog.text


def test_links_are_left_alone_while_others_come_first_or_nobody_asks_for_them(links: Links) -> None:
    shows("link", "red")
    links.embed("link")
    links.rechecker = replace(links.rechecker, is_busy=lambda: True)
    assert links.look() == Rechecked()
    links.rechecker = replace(links.rechecker, is_busy=lambda: False)
    stopping = Event()
    stopping.set()
    assert links.rechecker.round(stopping) == Rechecked()
    assert scalar(links.engine, "SELECT count(*) FROM clipgres.image WHERE next_check <= now()") == 1
    for reason in ("UPDATE clipgres.collection SET paused_at = now()", "DELETE FROM clipgres.job"):
        query(links.engine, reason)
        assert (links.look(), links.state("link")[-1]) == (Rechecked(), 1)
    assert links.server.requests == []


def test_a_worker_looks_at_links_by_itself_unless_told_never_to(links: Links) -> None:
    shows("link", "red")
    links.embed("link")
    query(links.engine, "UPDATE clipgres.image SET next_check = now() - interval '1 s'")
    assert links.settings.redis_url is not None
    app = make_app(links.settings.redis_url.get_secret_value())
    for days, is_looked_at in ((0, False), (30, True)):
        settings = links.settings.model_copy(update={"recheck_days": days})
        process = WorkerProcess(settings, app, FakeEncoders(settings))
        try:
            process.start("one", 1)
            assert ("rechecks" in [thread.name for thread in enumerate_threads()]) is is_looked_at
            assert not is_looked_at or wait_until(lambda: links.state("link")[2] == 1)
        finally:
            process.close()
        assert wait_until(lambda: "rechecks" not in [thread.name for thread in enumerate_threads()])


def test_a_database_that_is_away_is_said_once(links: Links, caplog: pytest.LogCaptureFixture) -> None:
    nowhere = create_engine("postgresql://nobody@127.0.0.1:1/nothing")
    tools = replace(links.rechecker.tools, engine=nowhere)
    stopping = ThirdWait()
    replace(links.rechecker, tools=tools).run(stopping)
    assert [record.message[:20] for record in caplog.records] == ["the database is away"]


class ThirdWait(Event):
    """Is set by being waited for the third time, and waits for nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = 0

    def wait(self, timeout: float | None = None) -> bool:
        self.waits += 1
        if self.waits == 3:
            self.set()
        return self.is_set()
