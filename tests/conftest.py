"""Fixtures: one PostgreSQL and one Redis a process, one migrated template, a database of its own for every test."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import psycopg
import pytest
import redis
from psycopg import sql
from sqlalchemy import Engine

from clipgres.database import create_engine
from clipgres.migrations import upgrade
from clipgres.servers.child import RunningChild, last_lines
from clipgres.servers.postgres import SUPERUSER, bootstrap, embedded_database_url, postgres_child, prepare_postgres
from clipgres.servers.redis import embedded_redis_url, prepare_redis, redis_child
from clipgres.settings import PREFIX, Settings
from tests.decoding import shared_decoders

# Durability costs time and a test run has none to lose: only the tests turn it off.
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "shared_buffers": "64MB"}
TEMPLATE = "clipgres"
_numbers = count(1)


@pytest.fixture(scope="session", autouse=True)
def clean_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the developer's settings, and the servers they name, out of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith((PREFIX, "PG"))]:
            patch.delenv(name)
        patch.chdir(tmp_path_factory.mktemp("cwd"))
        yield


@pytest.fixture(scope="session", autouse=True)
def nothing_left_running(clean_environment: None) -> Iterator[None]:
    """Fail the run if a test leaves a process behind, and end it."""
    yield
    shared_decoders().close()
    _, left = psutil.wait_procs(_children(), timeout=5)
    names = [_command(process) for process in left]
    for process in left:
        process.kill()
    assert not names, f"left running by the tests: {names}"


@contextmanager
def private_folder() -> Iterator[Path]:
    """A folder with a short path that a service user can enter, which pytest's `tmp_path` is not for root."""
    with TemporaryDirectory(prefix="clipgres-", dir="/tmp") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


@pytest.fixture
def short_tmp() -> Iterator[Path]:
    """A private folder of the test's own."""
    with private_folder() as folder:
        yield folder


@pytest.fixture(scope="session")
def server_settings(clean_environment: None) -> Iterator[Settings]:
    """Settings of the run's own home, where its servers live."""
    with private_folder() as folder:
        yield Settings(home=folder)


@pytest.fixture(scope="session")
def postgres(nothing_left_running: None, server_settings: Settings) -> Iterator[Settings]:
    """A PostgreSQL whose database `clipgres` is migrated and stays empty: the template of each test's."""
    prepare_postgres(server_settings)
    server = started(RunningChild(postgres_child(server_settings, FAST)))
    try:
        bootstrap(server_settings)
        upgrade(embedded_database_url(server_settings))
        yield server_settings
    finally:
        server.stop()


@pytest.fixture(scope="session")
def redis_server(nothing_left_running: None, server_settings: Settings) -> Iterator[str]:
    """The address of the run's Redis."""
    prepare_redis(server_settings)
    server = started(RunningChild(redis_child(server_settings)))
    yield embedded_redis_url(server_settings)
    server.stop()


@pytest.fixture
def database_url(postgres: Settings) -> Iterator[str]:
    """The address of a fresh, migrated, empty database that is dropped after the test."""
    name = f"test_{next(_numbers)}"
    with _administrator(postgres) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER clipgres_owner STRATEGY file_copy").format(
                sql.Identifier(name), sql.Identifier(TEMPLATE)
            )
        )
    yield embedded_database_url(postgres, database=name)
    with _administrator(postgres) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine on the test's database."""
    engine = create_engine(database_url, name="clipgres tests")
    yield engine
    engine.dispose()


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """The address of a real Redis that was just emptied."""
    with redis.Redis.from_url(redis_server) as client:
        client.flushall()
    return redis_server


@pytest.fixture
def settings(database_url: str, redis_url: str, tmp_path: Path) -> Settings:
    """Settings of a test's own database and Redis, with the bundled model and loopback allowed for fetching."""
    return Settings(
        database_url=database_url,
        redis_url=redis_url,
        home=tmp_path / "home",
        model="tiny-clip",
        fetch_allow="127.0.0.0/8",
    )


def _children() -> list[psutil.Process]:
    """What the tests started; the helpers of `multiprocessing` end by themselves with this process."""
    return [child for child in psutil.Process().children(recursive=True) if "multiprocessing" not in _command(child)]


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def _administrator(settings: Settings) -> psycopg.Connection[tuple[object, ...]]:
    url = embedded_database_url(settings, role=SUPERUSER, database="postgres")
    return psycopg.connect(url, autocommit=True)


def started(server: RunningChild) -> RunningChild:
    """The server, once it answers."""
    deadline = time.monotonic() + server.child.ready_timeout_s
    while not server.is_ready():
        if server.exit_code() is not None or time.monotonic() > deadline:
            server.stop()
            pytest.fail(f"{server.child.name} did not start: {last_lines(server.child.log)}")
        time.sleep(0.05)
    return server
