"""Bring a database to this program's schema: one migrator at a time, with timeouts, refusing old servers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

import migrations
from clipgres.database import check_versions, create_engine, driver_connection, translated_errors
from clipgres.errors import SchemaError, Unavailable
from clipgres.rights import withhold
from clipgres.schema import SCHEMA

# Any constant serves, as long as every release uses the same one.
MIGRATION_LOCK = 4_712_001


def upgrade(database_url: str, *, wait_s: float = 60) -> str:
    """Migrate to the newest schema and return its revision; waits while another migrator runs.

    Raises:
        SchemaError: the server is too old, or the schema is newer than this program.
        Unavailable: the database is away, or another migrator did not end within `wait_s` seconds.
    """
    engine = create_engine(database_url, pool_size=1, name="clipgres migrate")
    try:
        with translated_errors(), engine.connect() as connection:
            check_versions(connection)
            with _only_migrator(connection, wait_s):
                connection.execute(text("SET lock_timeout = '5s'"))
                connection.execute(text("SET statement_timeout = '10min'"))
                connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
                connection.commit()
                _refuse_newer(connection)
                command.upgrade(_config(connection), "head")
                withhold(driver_connection(connection))
                connection.commit()
            return head_revision()
    finally:
        engine.dispose()


def check_migrated(connection: Connection) -> None:
    """Refuse to work on a database whose schema is not this program's.

    Raises:
        SchemaError: naming the command that mends it.
    """
    current = current_revision(connection)
    if current is None:
        raise SchemaError("the database holds no clipgres schema yet; run `clipgres migrate`")
    if current != head_revision():
        raise SchemaError(f"the database is at revision {current}, not {head_revision()}; run `clipgres migrate`")


def current_revision(connection: Connection) -> str | None:
    """The revision the database stands at, or None for an empty one."""
    return MigrationContext.configure(connection, opts={"version_table_schema": SCHEMA}).get_current_revision()


@cache
def head_revision() -> str:
    """The newest revision this program knows, read once: whoever asks whether all is ready asks for it each time."""
    head = ScriptDirectory.from_config(_config(None)).get_current_head()
    assert head is not None  # noqa: S101 - the package ships at least one revision
    return head


def _config(connection: Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", migrations.__path__[0].replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _refuse_newer(connection: Connection) -> None:
    current = current_revision(connection)
    known = {script.revision for script in ScriptDirectory.from_config(_config(None)).walk_revisions()}
    if current is not None and current not in known:
        raise SchemaError(f"the database is at revision {current}, newer than this clipgres: update the program")
    connection.commit()


@contextmanager
def _only_migrator(connection: Connection, wait_s: float) -> Iterator[None]:
    """Hold the migration lock. Waiting in pg_advisory_lock would deadlock with CREATE INDEX CONCURRENTLY, so poll."""
    deadline = time.monotonic() + wait_s
    while not connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": MIGRATION_LOCK}).scalar_one():
        connection.commit()
        if time.monotonic() > deadline:
            raise Unavailable(f"another migration is still running after {wait_s:.0f} s; try again when it has ended")
        time.sleep(0.2)
    connection.commit()
    try:
        yield
    finally:
        connection.rollback()
        connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": MIGRATION_LOCK})
        connection.commit()


def downgrade(database_url: str, revision: str) -> None:
    """Undo migrations down to `revision`; `base` drops everything, vectors included."""
    engine = create_engine(database_url, pool_size=1, name="clipgres migrate")
    try:
        with translated_errors(), engine.connect() as connection, _only_migrator(connection, 0):
            command.downgrade(_config(connection), revision)
            connection.commit()
    finally:
        engine.dispose()
