"""The hard limit: sessions of readers end whatever they set, and nobody else's do."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from threading import Event, Thread
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine

from clipgres.database import transaction
from clipgres.rights import watching
from clipgres.servers.postgres import SUPERUSER, embedded_database_url
from clipgres.settings import Settings
from tests.ingest import wait_until
from tests.listening import login
from worker.readers import end_overdue, watch_readers

Session = psycopg.Connection[Any]


@pytest.fixture
def session(engine: Engine, postgres: Settings) -> Iterator[Callable[..., Session]]:
    """Opens sessions of new logins that are members of the groups named."""
    with ExitStack() as stack:

        def connect(*groups: str) -> Session:
            url = stack.enter_context(login(postgres, str(engine.url.database), *groups))
            return stack.enter_context(closing(psycopg.connect(url, autocommit=True)))

        yield connect


def is_alive(session: Session) -> bool:
    try:
        session.execute("SELECT 1")
    except psycopg.OperationalError:
        return False
    return True


def in_the_background(session: Session, statement: str) -> Thread:
    """Run a statement that will be cut off."""

    def run() -> None:
        with pytest.raises(psycopg.OperationalError, match="terminating connection"):
            session.execute(statement.encode())

    thread = Thread(target=run)
    thread.start()
    return thread


def ended(engine: Engine, limit_s: float) -> list[str]:
    with transaction(engine) as connection:
        return [one.login for one in end_overdue(connection, limit_s)]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT pg_sleep(600)",
        # Transaction after transaction, none of which gets old.
        "DO $$ BEGIN LOOP PERFORM pg_sleep(0.01); COMMIT; END LOOP; END $$",
    ],
    ids=["long", "endless"],
)
def test_a_statement_that_takes_too_long_ends_with_its_session(
    engine: Engine, session: Callable[..., Session], statement: str
) -> None:
    reader = session("clipgres_reader")
    reader.execute("SET statement_timeout = 0")
    thread = in_the_background(reader, statement)
    assert wait_until(lambda: ended(engine, 0.3) == [reader.info.user])
    thread.join(30)


def test_a_transaction_that_is_left_open_ends_with_its_session(engine: Engine, session: Callable[..., Session]) -> None:
    reader = session("clipgres_reader")
    reader.execute("SET idle_in_transaction_session_timeout = 0")
    reader.execute("BEGIN")
    assert wait_until(lambda: ended(engine, 0.1) == [reader.info.user])
    assert not is_alive(reader)


def test_set_role_does_not_help(engine: Engine, session: Callable[..., Session], postgres: Settings) -> None:
    url = embedded_database_url(postgres, role=SUPERUSER, database=str(engine.url.database))
    reader = session("clipgres_reader")
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute("CREATE ROLE test_disguise")
        admin.execute(f"GRANT test_disguise TO {reader.info.user}".encode())
        try:
            reader.execute("SET ROLE test_disguise")
            reader.execute("BEGIN")
            assert wait_until(lambda: ended(engine, 0.1) == [reader.info.user])
        finally:
            admin.execute("DROP ROLE test_disguise")


@pytest.mark.parametrize("groups", [(), ("clipgres_reader", "clipgres_web"), ("clipgres_owner",)])
def test_others_are_left_alone(engine: Engine, session: Callable[..., Session], groups: tuple[str, ...]) -> None:
    other, reader = session(*groups), session("clipgres_reader")
    for one in (other, reader):
        one.execute("BEGIN")
    assert wait_until(lambda: ended(engine, 0.1) == [reader.info.user])
    assert is_alive(other)


def test_a_session_that_is_idle_is_left_alone(engine: Engine, session: Callable[..., Session]) -> None:
    reader, other = session("clipgres_reader"), session("clipgres_reader")
    reader.execute("SELECT 1")
    other.execute("BEGIN")
    assert wait_until(lambda: ended(engine, 0.1) == [other.info.user])
    assert is_alive(reader)


def test_the_worker_looks_by_itself(
    engine: Engine, session: Callable[..., Session], caplog: pytest.LogCaptureFixture
) -> None:
    reader = session("clipgres_reader")
    reader.execute("BEGIN")
    assert wait_until(lambda: _age(engine, reader) > 0.1)
    stopping = Event()
    with caplog.at_level(logging.WARNING):
        thread = Thread(target=watch_readers, args=(stopping, engine, 0.1))
        thread.start()
        try:
            said = f"reader {reader.info.user} took over 0.1 s and was disconnected: BEGIN"
            assert wait_until(lambda: said in caplog.text)
        finally:
            stopping.set()
            thread.join(30)
    assert not is_alive(reader)


def _age(engine: Engine, session: Session) -> float:
    with transaction(engine) as connection:
        age = "SELECT extract(epoch FROM clock_timestamp() - xact_start)::float8 FROM pg_stat_activity WHERE pid = {}"
        return float(connection.exec_driver_sql(age.format(session.info.backend_pid)).scalar_one())


def test_a_worker_that_may_not_end_sessions_says_what_it_lacks(session: Callable[..., Session]) -> None:
    worker, _reader = session(), session("clipgres_reader")
    [trouble] = watching(worker)
    assert "nothing bounds them" in trouble.what
    assert trouble.statement == f"GRANT pg_signal_backend, pg_read_all_stats TO {worker.info.user}"


def test_without_readers_nothing_is_lacking(session: Callable[..., Session]) -> None:
    assert watching(session()) == []
