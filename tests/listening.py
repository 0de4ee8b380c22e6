"""Runs an answerer beside a test, and logins of a test's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from threading import Event, Thread
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import Engine

from clipgres.servers.postgres import SUPERUSER, embedded_database_url
from clipgres.settings import Settings
from tests.ingest import wait_until
from worker.answerer import Answerer
from worker.models import Models

# Who listens for texts: answerers hold this lock, and nothing else here holds one of its kind.
LISTENERS = """
    SELECT pid FROM pg_locks
    WHERE locktype = 'advisory' AND mode = 'ShareLock'
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_numbers = count(1)


@contextmanager
def listening(engine: Engine, asker: psycopg.Connection[Any], models: Models) -> Iterator[None]:
    """An answerer that listens while the block runs."""
    stopping = Event()
    thread = Thread(target=Answerer(engine=engine, models=models).run, args=(stopping,))
    thread.start()
    try:
        assert wait_until(lambda: asker.execute(LISTENERS).fetchone() is not None)
        yield
    finally:
        stopping.set()
        thread.join(30)


@contextmanager
def login(postgres: Settings, database: str, *groups: str) -> Iterator[str]:
    """The address of a database for a new login that is a member of these groups; it is gone after the block."""
    name = f"test_login_{next(_numbers)}"
    with psycopg.connect(embedded_database_url(postgres, role=SUPERUSER, database=database), autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))
        for group in groups:
            admin.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(group), sql.Identifier(name)))
        try:
            yield embedded_database_url(postgres, role=name, database=database)
        finally:
            drop_role(admin, name)


def drop_role(admin: psycopg.Connection[Any], name: str) -> None:
    """Take a role away with all it owns and may do in this database."""
    admin.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(sql.Identifier(name)))
    admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))
