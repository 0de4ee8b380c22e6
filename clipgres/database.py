"""Connections: one engine a process, timeouts, versions that are refused, and driver errors said in our words."""

from __future__ import annotations

import select
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
import sqlalchemy
from pgvector.psycopg import register_vector
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from clipgres.errors import ClipgresError, NotPermitted, SchemaError, SetupError, Unavailable
from clipgres.settings import Settings

MIN_POSTGRES = 15
# Before 0.8.4 vacuum under concurrent writes can leave an HNSW graph unrepaired (pgvector's changelog).
MIN_PGVECTOR = (0, 8, 4)

# A server whose machine or network went without a word is given up within a minute, and so is a client by the server;
# TCP by itself takes a quarter of an hour, and hours where nothing is sent. Over a Unix socket these mean nothing.
KEEPALIVES = {"keepalives_idle": 20, "keepalives_interval": 10, "keepalives_count": 3}
SILENT_SERVER = {**KEEPALIVES, "tcp_user_timeout": 30_000}
SILENT_CLIENT = {f"tcp_{name}": f"{value}" for name, value in KEEPALIVES.items()}

# The execution option of an engine made for searches: the statement timeout of its connections, in milliseconds.
SEARCH_TIMEOUT = "search_timeout_ms"

AVAILABLE_PGVECTOR_SQL = text("""
    SELECT coalesce(installed_version, default_version) FROM pg_available_extensions WHERE name = 'vector'
""")


def sqlalchemy_url(database_url: str) -> URL:
    """Turn any `postgresql://` address into the one SQLAlchemy opens with psycopg.

    Raises:
        SetupError: it is not the address of a PostgreSQL database.
    """
    try:
        url = make_url(database_url)
    except ArgumentError as error:
        raise SetupError("CLIPGRES_DATABASE_URL is not an address like postgresql://user@host/database") from error
    if url.get_backend_name() not in {"postgresql", "postgres"}:
        raise SetupError(f"CLIPGRES_DATABASE_URL must begin with postgresql://, not {url.drivername}://")
    return url.set(drivername="postgresql+psycopg")


def libpq_url(database_url: str) -> str:
    """The same address as `psql` and `pg_dump` take it, the password in clear."""
    url = sqlalchemy_url(database_url).set(drivername="postgresql")
    address, mark, query = url.render_as_string(hide_password=False).partition("?")
    # libpq takes a plus for a plus: a space in a socket's folder is %20 to it.
    return address + mark + query.replace("+", "%20")


def create_engine(
    database_url: str, *, pool_size: int = 5, statement_timeout_ms: int = 0, name: str = "clipgres"
) -> Engine:
    """Make an engine whose connections know the vector types and carry `name` as their application name.

    It connects on first use, so it may be made before a fork and before the server is up.
    """
    return _engine(database_url, pool_size, name, {"statement_timeout": f"{statement_timeout_ms}"}, pool_pre_ping=True)


def search_engine(database_url: str, settings: Settings, name: str, *, pool_size: int = 5) -> Engine:
    """Make an engine for searches: its connections have the settings of searches from the start.

    They are looked at before each use, not asked, and plan a statement once, not each time: either would take as long
    as the fastest searches. A statement whose plan depends on the values at hand says so.
    """
    timeout_ms = settings.search_timeout_ms
    options = {"statement_timeout": f"{timeout_ms}", "jit": "off", "plan_cache_mode": "force_generic_plan"}
    engine = _engine(database_url, pool_size, name, options)
    event.listen(engine, "checkout", _refuse_closed)
    engine.update_execution_options(**{SEARCH_TIMEOUT: timeout_ms})
    return engine


def _engine(
    database_url: str, pool_size: int, name: str, settings: Mapping[str, str], *, pool_pre_ping: bool = False
) -> Engine:
    # What a process holds that was stopped in the middle of a transaction, others wait for.
    settings = {**settings, **SILENT_CLIENT, "lock_timeout": "30s", "idle_in_transaction_session_timeout": "30s"}
    options = " ".join(f"-c {setting}={value}" for setting, value in settings.items())
    engine = sqlalchemy.create_engine(
        sqlalchemy_url(database_url),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=10,
        pool_pre_ping=pool_pre_ping,
        connect_args={"connect_timeout": 5, "options": options, "application_name": name, **SILENT_SERVER},
    )
    event.listen(engine, "connect", _register_vector_types)
    return engine


def _refuse_closed(connection: psycopg.Connection[Any], _record: object, _proxy: object) -> None:
    """Have the pool make a new connection for one that the server has closed: its socket has an end to be read."""
    looks = select.poll()
    looks.register(connection, select.POLLIN)
    if connection.closed or looks.poll(0):
        raise DisconnectionError("the server closed the connection")


def _register_vector_types(connection: psycopg.Connection[Any], _record: object) -> None:
    try:
        register_vector(connection)
    except psycopg.ProgrammingError:
        connection.rollback()  # before the first migration the types are not there
    else:
        connection.commit()


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """Run the block in one transaction, with the driver's errors said in our words."""
    with translated_errors(), engine.begin() as connection:
        yield connection


@contextmanager
def autocommit(engine: Engine) -> Iterator[Connection]:
    """Run each statement of the block by itself, for those that refuse a transaction."""
    with translated_errors(), engine.connect() as connection:
        yield connection.execution_options(isolation_level="AUTOCOMMIT")


def driver_connection(connection: Connection) -> psycopg.Connection[Any]:
    """Return psycopg's connection below, in the same transaction: for COPY and LISTEN."""
    below: psycopg.Connection[Any] | None = connection.connection.driver_connection
    if below is None:
        raise Unavailable("the connection to the database is closed: try again")
    return below


@contextmanager
def translated_errors() -> Iterator[None]:
    """Say the driver's errors in our words; a wrong statement stays what it is: a bug.

    Raises:
        Unavailable: the server is away, full or restarting, or a statement took longer than it may.
        SchemaError: tables of ours are missing.
        NotPermitted: the login may not do it, or the server takes no writes.
    """
    try:
        yield
    except PoolTimeoutError as error:
        raise Unavailable("all database connections are busy; try again in a moment") from error
    except (DBAPIError, psycopg.Error) as error:
        ours = _in_our_words(error)
        if ours is None:
            raise
        raise ours from error


def _in_our_words(error: DBAPIError | psycopg.Error) -> ClipgresError | None:
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, psycopg.errors.QueryCanceled):
        return Unavailable("the database took longer over this than it may; narrow it down, or try again")
    if isinstance(cause, psycopg.errors.UndefinedTable | psycopg.errors.InvalidSchemaName):
        return SchemaError("the database lacks tables of clipgres; run `clipgres migrate`")
    if isinstance(cause, psycopg.errors.InsufficientPrivilege):
        return NotPermitted(f"{_first_line(cause)}: connect with a login that may, such as clipgres_owner")
    if isinstance(cause, psycopg.errors.ReadOnlySqlTransaction):
        return NotPermitted("the database takes no writes: CLIPGRES_DATABASE_URL must name the primary")
    if isinstance(error, OperationalError | InterfaceError | psycopg.OperationalError | psycopg.InterfaceError):
        return Unavailable(f"the database cannot answer now: {_first_line(cause)}")
    return None


def _first_line(cause: object) -> str:
    return str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__


def check_versions(connection: Connection) -> None:
    """Refuse a server this program is not safe on.

    Raises:
        SchemaError: PostgreSQL before 15, or pgvector missing or before 0.8.4; the text says why.
    """
    check_postgres(int(connection.execute(text("SHOW server_version_num")).scalar_one()) // 10_000)
    check_pgvector(available_pgvector(connection))


def check_postgres(version: int) -> None:
    """Refuse a major version that lacks what we use.

    Raises:
        SchemaError: it is before 15.
    """
    if version < MIN_POSTGRES:
        raise SchemaError(f"PostgreSQL {version} is too old: clipgres needs {MIN_POSTGRES} or later")


def available_pgvector(connection: Connection) -> str | None:
    """The version of pgvector that is installed in this database, else the one the server could install."""
    version: str | None = connection.execute(AVAILABLE_PGVECTOR_SQL).scalar_one_or_none()
    return version


def check_pgvector(version: str | None) -> None:
    """Refuse a pgvector that can corrupt its index.

    Raises:
        SchemaError: there is none, or it is before 0.8.4.
    """
    least = ".".join(map(str, MIN_PGVECTOR))
    if version is None:
        raise SchemaError(f"this PostgreSQL has no pgvector: install version {least} or later on the server")
    if tuple(int(part) for part in version.split(".")[:3]) < MIN_PGVECTOR:
        raise SchemaError(
            f"pgvector {version} can leave an HNSW index corrupt after a vacuum under writes: "
            f"install {least} or later, then run ALTER EXTENSION vector UPDATE"
        )
