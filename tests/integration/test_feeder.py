"""The feeder and real Celery workers: what a flush, a kill or a duplicate does to the jobs."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from celery import Celery
from pydantic import SecretStr
from redis import Redis
from sqlalchemy import Engine, text

from clipgres.collections import Collection
from clipgres.database import transaction
from clipgres.presence import workers
from clipgres.queue import make_app, queued, send_work
from clipgres.redis_client import connect_redis
from clipgres.servers.child import RunningChild
from clipgres.servers.home import home_of
from clipgres.servers.programs import environment
from clipgres.servers.redis import embedded_redis_url, prepare_redis, redis_child
from clipgres.settings import Settings
from tests.hostile import HostileServer, hostile_server
from tests.ingest import add_urls, ends, items, new_collection, scalar, wait_until
from worker.feeder import Feeder

ROOT = Path(__file__).parents[2]
LOCK_SQL = text("SELECT pg_advisory_lock(hashtextextended('clipgres.feeder', 4714))")
# The last word of a feeder that waits for work: it was not the one to feed, or it has fed.
SAID_SQL = "FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle' AND query LIKE 'SELECT {}%'"
REFUSED_SQL, FED_SQL = SAID_SQL.format("pg_try_advisory_lock"), SAID_SQL.format("pg_advisory_unlock")
FEEDING_SQL = """
    FROM pg_locks JOIN pg_database d ON d.oid = database WHERE locktype = 'advisory' AND datname = current_database()
"""


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with connect_redis(redis_url) as client:
        yield client


@pytest.fixture
def app(redis_url: str) -> Iterator[Celery]:
    app = make_app(redis_url)
    yield app
    app.close()


@pytest.fixture
def feeder(engine: Engine, redis: Redis, app: Celery) -> Feeder:
    return Feeder(engine=engine, redis=redis, app=app, batch_images=10)


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with hostile_server() as running:
        yield running


@contextmanager
def feeding(feeder: Feeder) -> Iterator[None]:
    stopping = threading.Event()
    thread = threading.Thread(target=feeder.run, args=(stopping,))
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(60)


@contextmanager
def worker(settings: Settings, log: Path, name: str = "one") -> Iterator[subprocess.Popen[bytes]]:
    """A real Celery worker in a process of its own, with the fake encoder."""
    command = [sys.executable, "-m", "celery", "-A", "tests.fake_worker:app", "worker"]
    command += ["--loglevel", "INFO", "--hostname", f"{name}@test"]
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, env=environment(settings), cwd=ROOT, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def slow_pictures(server: HostileServer, count: int) -> list[str]:
    return [server.url(f"slow-picture?{number}") for number in range(count)]


def all_ended(engine: Engine, collection: Collection) -> Callable[[], bool]:
    return lambda: not any(end.startswith(("pending", "leased")) for end in ends(engine, collection))


def test_each_collection_with_work_gets_one_message_a_slot(engine: Engine, redis: Redis, feeder: Feeder) -> None:
    busy, idle, other = (new_collection(engine, name) for name in ("busy", "idle", "other"))
    add_urls(engine, busy, [f"http://example.org/{number}" for number in range(35)])
    add_urls(engine, other, ["http://example.org/other"])
    for _ in range(3):
        with transaction(engine) as connection:
            feeder.feed(connection)
    assert queued(redis) == {busy.id: 1, other.id: 1}
    assert idle.id not in queued(redis)


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Feeders look ten times as often as they do."""
    monkeypatch.setattr("worker.feeder.LOOK_EVERY_S", 0.5)


@pytest.mark.usefixtures("often")
def test_a_flushed_queue_fills_up_again(engine: Engine, redis: Redis, feeder: Feeder) -> None:
    collection = new_collection(engine)
    add_urls(engine, collection, ["http://example.org/a"])
    with feeding(feeder):
        assert wait_until(lambda: queued(redis).total() == 1)
        redis.flushall()
        assert wait_until(lambda: queued(redis).total() == 1)


def test_a_nudge_is_heeded_at_once(
    engine: Engine, redis: Redis, feeder: Feeder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.feeder.LOOK_EVERY_S", 600)
    collection = new_collection(engine)
    with feeding(feeder):
        assert wait_until(lambda: scalar(engine, f"SELECT count(*) {FED_SQL}") == 1)
        add_urls(engine, collection, ["http://example.org/a"])
        with transaction(engine) as connection:
            connection.execute(text("NOTIFY clipgres_work"))
        assert wait_until(lambda: queued(redis).total() == 1)


@pytest.mark.usefixtures("often")
def test_two_feeders_never_feed_at_once(engine: Engine, redis: Redis, feeder: Feeder) -> None:
    add_urls(engine, new_collection(engine), ["http://example.org/a"])
    with engine.connect() as other, feeding(feeder):
        other.execute(LOCK_SQL)
        redis.flushall()
        assert wait_until(lambda: scalar(engine, f"SELECT count(*) {REFUSED_SQL}") == 1)
        assert queued(redis).total() == 0
        other.invalidate()
        assert wait_until(lambda: queued(redis).total() == 1)


@pytest.mark.usefixtures("often")
def test_a_feeder_that_waits_holds_no_other_up(engine: Engine, redis: Redis, feeder: Feeder) -> None:
    with feeding(feeder), feeding(feeder):
        assert wait_until(lambda: scalar(engine, f"SELECT count(*) {FED_SQL}") == 2)


@pytest.mark.usefixtures("often")
def test_feeding_survives_a_lost_connection(engine: Engine, redis: Redis, feeder: Feeder) -> None:
    with feeding(feeder):
        add_urls(engine, new_collection(engine), ["http://example.org/a"])
        assert wait_until(lambda: queued(redis).total() == 1)
        with transaction(engine) as connection:
            connection.execute(text(f"SELECT pg_terminate_backend(pid) {FED_SQL}"))
        redis.flushall()
        assert wait_until(lambda: queued(redis).total() == 1)


@pytest.mark.usefixtures("often")
def test_a_feeder_without_a_queue_leaves_its_place_to_another(engine: Engine, redis: Redis, feeder: Feeder) -> None:
    add_urls(engine, new_collection(engine), ["http://example.org/a"])
    with feeding(replace(feeder, redis=connect_redis("redis://127.0.0.1:1"))):
        with feeding(feeder):
            assert wait_until(lambda: queued(redis).total() == 1)


@pytest.mark.usefixtures("often")
def test_a_feeder_that_falls_silent_leaves_its_place_to_another(
    engine: Engine, redis: Redis, feeder: Feeder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.feeder.SILENCE_S", 1)
    add_urls(engine, new_collection(engine), ["http://example.org/a"])
    with ExitStack() as ending:
        silent = ending.enter_context(socket.create_server(("127.0.0.1", 0)))
        stuck = connect_redis(f"redis://127.0.0.1:{silent.getsockname()[1]}", timeout_s=60)
        ending.enter_context(feeding(replace(feeder, redis=stuck)))
        ending.callback(silent.close)  # ends what waits for it
        assert wait_until(lambda: scalar(engine, f"SELECT count(*) {FEEDING_SQL}") == 1)
        with feeding(feeder):
            assert wait_until(lambda: queued(redis).total() == 1)


@pytest.mark.slow
def test_a_worker_embeds_what_is_due(engine: Engine, settings: Settings, server: HostileServer, tmp_path: Path) -> None:
    collection = new_collection(engine)
    add_urls(engine, collection, [*slow_pictures(server, 30), server.url("404")])
    with worker(settings, tmp_path / "log"), connect_redis(settings.redis_url.get_secret_value()) as redis:  # type: ignore[union-attr]
        assert wait_until(all_ended(engine, collection)), (tmp_path / "log").read_text()
        [alive] = workers(redis)
    assert ends(engine, collection) == {"ok": 30, "failed not_found": 1}
    assert (alive.name, alive.slots) == ("one@test", 1)


@pytest.mark.slow
def test_a_flush_in_mid_import_loses_nothing(
    engine: Engine, settings: Settings, redis: Redis, server: HostileServer, tmp_path: Path
) -> None:
    first, second = new_collection(engine, "first"), new_collection(engine, "second")
    add_urls(engine, first, slow_pictures(server, 60))
    add_urls(engine, second, [server.url(f"slow-picture?second{number}") for number in range(20)])
    with worker(settings, tmp_path / "log"):
        assert wait_until(lambda: items(engine, first) > 0)
        redis.flushall()
        assert wait_until(lambda: items(engine, first) == 60 and items(engine, second) == 20, 90)
        redis.flushall()
        add_urls(engine, first, [server.url("slow-picture?later")])
        assert wait_until(lambda: items(engine, first) == 61), (tmp_path / "log").read_text()


@pytest.mark.slow
def test_the_work_of_a_killed_worker_is_done_by_another(
    engine: Engine, settings: Settings, server: HostileServer, tmp_path: Path
) -> None:
    brief = settings.model_copy(update={"lease_s": 3.0, "batch_images": 20})
    collection = new_collection(engine)
    add_urls(engine, collection, slow_pictures(server, 80))
    with worker(brief, tmp_path / "log", "killed") as process:
        assert wait_until(lambda: items(engine, collection) > 0)
        process.kill()
    assert ends(engine, collection)["leased"] > 0
    with worker(brief, tmp_path / "log", "heir"):
        assert wait_until(lambda: items(engine, collection) == 80, 90), (tmp_path / "log").read_text()
    assert ends(engine, collection) == {"ok": 80}


@pytest.mark.slow
def test_a_message_twice_is_harmless(
    engine: Engine, settings: Settings, app: Celery, server: HostileServer, tmp_path: Path
) -> None:
    collection = new_collection(engine)
    add_urls(engine, collection, slow_pictures(server, 20))
    for _ in range(5):
        send_work(app, collection.id)
    with worker(settings, tmp_path / "one"), worker(settings, tmp_path / "two", "two"):
        assert wait_until(lambda: items(engine, collection) == 20)
    assert len(server.requests) == 20


@pytest.mark.slow
def test_a_warm_shutdown_is_quick_and_gives_the_jobs_back(
    engine: Engine, settings: Settings, redis: Redis, server: HostileServer, tmp_path: Path
) -> None:
    collection = new_collection(engine)
    add_urls(engine, collection, [*slow_pictures(server, 200), server.url("hang")])
    with worker(settings, tmp_path / "log") as process:
        assert wait_until(lambda: items(engine, collection) > 0)
        process.terminate()
        assert process.wait(25) == 0  # the hanging host has 30 s
    assert ends(engine, collection)["leased"] == 0
    assert workers(redis) == []


@contextmanager
def own_redis(settings: Settings) -> Iterator[None]:
    """A Redis of this test alone, killed at the end along with its data."""
    prepare_redis(settings)
    child = RunningChild(redis_child(settings))
    assert wait_until(child.is_ready)
    try:
        yield
    finally:
        child.process.kill()
        child.stop()
        for file in [path for path in home_of(settings).redis.rglob("*") if path.is_file()]:
            file.unlink()


@pytest.mark.slow
def test_a_redis_that_comes_back_empty_loses_nothing(
    engine: Engine, settings: Settings, server: HostileServer, short_tmp: Path, tmp_path: Path
) -> None:
    own = Settings(home=short_tmp / "a home")
    home_of(own).prepare()
    theirs = settings.model_copy(update={"redis_url": SecretStr(embedded_redis_url(own))})
    collection = new_collection(engine)
    add_urls(engine, collection, slow_pictures(server, 60))
    with ExitStack() as stack:
        with own_redis(own):
            stack.enter_context(worker(theirs, tmp_path / "log"))
            assert wait_until(lambda: items(engine, collection) > 0)
        with own_redis(own):
            assert wait_until(lambda: items(engine, collection) == 60, 90), (tmp_path / "log").read_text()
            add_urls(engine, collection, [server.url("slow-picture?later")])
            assert wait_until(lambda: items(engine, collection) == 61, 90), (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        (
            "CLIPGRES_BATCH_IMAGE",
            "7",
            "Error: unknown setting CLIPGRES_BATCH_IMAGE; did you mean CLIPGRES_BATCH_IMAGES?",
        ),
        ("CLIPGRES_FETCH_ALLOW", "everything", "Error: setting CLIPGRES_FETCH_ALLOW: 'everything'"),
    ],
)
def test_a_wrong_setting_is_one_line(variable: str, value: str, message: str) -> None:
    command = [sys.executable, "-m", "celery", "-A", "worker.app", "worker"]
    done = subprocess.run(
        command, env={**os.environ, variable: value}, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1
