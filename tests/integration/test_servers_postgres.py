"""The embedded PostgreSQL: what it is reached by, by whom, and what does not stop it from starting."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from signal import SIGKILL

import psutil
import psycopg
import pytest

from clipgres.errors import SetupError
from clipgres.servers.account import launched_as, server_account
from clipgres.servers.child import RunningChild
from clipgres.servers.home import Home, home_of
from clipgres.servers.postgres import (
    SUPERUSER,
    bootstrap,
    embedded_database_url,
    postgres_child,
    prepare_postgres,
    psql_program,
)
from clipgres.settings import Settings
from tests.conftest import FAST, private_folder, started

Starter = Callable[[Path], tuple[Settings, RunningChild]]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")


@pytest.fixture
def start() -> Iterator[Starter]:
    """Start a PostgreSQL on a home; it is stopped after the test."""
    with ExitStack() as stack:

        def starter(home: Path) -> tuple[Settings, RunningChild]:
            settings = Settings(home=home)
            prepare_postgres(settings)
            server = started(RunningChild(postgres_child(settings, FAST)))
            stack.callback(shutil.rmtree, home_of(settings).sockets, ignore_errors=True)  # it may lie outside the home
            stack.callback(server.stop)
            return settings, server

        yield starter


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A home that several tests start a server on, one after the other."""
    with private_folder() as folder:
        yield folder / "home"


def ask(settings: Settings, question: bytes, role: str = SUPERUSER, database: str = "postgres") -> object:
    with psycopg.connect(embedded_database_url(settings, role=role, database=database)) as connection:
        row = connection.execute(question).fetchone()
        return row[0] if row else None


def test_a_home_with_spaces_an_apostrophe_and_a_comma(start: Starter, short_tmp: Path) -> None:
    settings, server = start(short_tmp / "my own, bücher's home")
    assert ask(settings, b"SHOW data_checksums") == "on"
    server.stop()
    assert server.exit_code() == 0


def test_a_home_too_deep_for_a_socket(start: Starter, short_tmp: Path) -> None:
    settings, _ = start(short_tmp / ("deep" * 20) / ("deeper" * 10))
    sockets = home_of(settings).sockets
    assert ask(settings, b"SELECT 1") == 1
    assert len(str(sockets)) < 60 and stat.S_IMODE(sockets.stat().st_mode) == 0o700


def test_the_socket_is_private_and_there_is_no_tcp(postgres: Settings) -> None:
    sockets = home_of(postgres).sockets
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (sockets, sockets / ".s.PGSQL.5432")]
    assert modes == [0o700, 0o700]
    server = next(child for child in psutil.Process().children() if child.name() == "postgres")
    assert server.net_connections("inet") == []


@as_root
def test_another_user_is_not_let_in(postgres: Settings) -> None:
    command = [str(psql_program()), embedded_database_url(postgres), "-c", "SELECT 1"]
    done = subprocess.run(
        ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--", *command],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode and "Permission denied" in done.stderr


def test_a_database_that_another_user_serves_is_not_believed(postgres: Settings) -> None:
    peer = server_account().name
    url = embedded_database_url(postgres).replace(f"requirepeer={peer}", "requirepeer=someone")
    with pytest.raises(psycopg.OperationalError, match="requirepeer specifies"):
        psycopg.connect(url)


def test_the_owner_owns_the_database_and_is_no_superuser(postgres: Settings, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        row = connection.execute(
            "SELECT current_user::text, rolsuper, rolcreaterole, pg_get_userbyid(datdba)::text "
            "FROM pg_roles, pg_database WHERE rolname = current_user AND datname = current_database()"
        ).fetchone()
    assert row == ("clipgres_owner", False, True, "clipgres_owner")


def test_a_new_database_has_the_extension(postgres: Settings) -> None:
    question = b"SELECT extversion >= '0.8.4' FROM pg_extension WHERE extname = 'vector'"
    assert ask(postgres, question, database="template1") is True


def test_bootstrap_leaves_what_is_there_alone(postgres: Settings) -> None:
    question = b"SELECT oid FROM pg_database WHERE datname = 'clipgres'"
    before = ask(postgres, question)
    bootstrap(postgres)
    assert ask(postgres, question) == before


def test_text_is_utf8_and_sorts_the_same_everywhere(postgres: Settings) -> None:
    assert ask(postgres, b"SHOW server_encoding") == "UTF8"
    assert (
        ask(postgres, b"SELECT datlocprovider::text || datlocale FROM pg_database WHERE datname = 'clipgres'")
        == "bC.UTF-8"
    )
    assert ask(postgres, "SELECT upper('é')".encode()) == "É"


def test_a_killed_server_starts_again_with_its_data(start: Starter, home: Path) -> None:
    settings, server = start(home)
    busy = psycopg.connect(embedded_database_url(settings, role=SUPERUSER, database="postgres"))
    busy.execute("SET synchronous_commit = on")
    busy.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    busy.commit()
    os.kill(server.pid, SIGKILL)
    settings, _ = start(home)
    assert ask(settings, b"SELECT answer FROM kept") == 42
    busy.close()


def test_a_pid_file_that_names_another_process_is_no_obstacle(start: Starter, home: Path) -> None:
    settings, server = start(home)
    sockets = home_of(settings).sockets
    files = [home_of(settings).postgres / "data-18" / "postmaster.pid", sockets / ".s.PGSQL.5432.lock"]
    left = [path.read_text() for path in files]
    server.stop()
    with subprocess.Popen(launched_as(server_account(), ["sleep", "60"])) as other:
        for path, text in zip(files, left, strict=True):
            path.write_text(text.replace(str(server.pid), str(other.pid), 1))
        assert ask(start(home)[0], b"SELECT 1") == 1
        other.kill()


def test_a_server_left_running_makes_way(start: Starter, home: Path) -> None:
    _, first = start(home)
    settings, second = start(home)
    assert ask(settings, b"SELECT 1") == 1
    assert (first.exit_code() is None, second.exit_code() is None) == (False, True)


def test_an_initdb_that_was_cut_short_is_done_again(start: Starter, short_tmp: Path) -> None:
    home = home_of(Settings(home=short_tmp / "home"))
    home.prepare_servers()
    (home.postgres / "unfinished").mkdir()
    (home.postgres / "unfinished" / "PG_VERSION").write_text("18\n")
    assert ask(start(short_tmp / "home")[0], b"SELECT 1") == 1


def test_data_of_another_major_version_is_refused(short_tmp: Path) -> None:
    home = home_of(Settings(home=short_tmp / "home"))
    home.prepare_servers()
    (home.postgres / "data-17").mkdir()
    with pytest.raises(SetupError, match=r"data-17 was written by PostgreSQL 17, and this one is 18"):
        prepare_postgres(Settings(home=short_tmp / "home"))


def test_a_folder_that_someone_else_made_is_refused(short_tmp: Path) -> None:
    home = Home(short_tmp / "home", server_account())
    home.prepare()
    home.sockets.symlink_to(short_tmp)
    with pytest.raises(SetupError, match=r"sockets is not a folder of user"):
        home.prepare_servers()


@as_root
def test_a_home_the_service_user_cannot_reach_is_named(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(SetupError, match=r"user 'clipgres', which may not enter /tmp/.*CLIPGRES_HOME"):
        prepare_postgres(Settings(home=closed / "home"))


@as_root
def test_an_ordinary_user_runs_it_as_themselves(short_tmp: Path) -> None:
    short_tmp.chmod(0o777)
    program = """
import sys; from pathlib import Path; from clipgres.settings import Settings
from clipgres.servers.postgres import *; from clipgres.servers.supervisor import Supervisor
settings = Settings(home=Path(sys.argv[1]))
prepare_postgres(settings)
with Supervisor(print) as supervisor:
    supervisor.start(postgres_child(settings))
    bootstrap(settings)
    print(psycopg.connect(embedded_database_url(settings)).execute("SELECT current_user").fetchone()[0])
"""
    user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--"]
    if subprocess.run(
        [*user, sys.executable, "-c", "import clipgres.servers.postgres"], check=False, capture_output=True
    ).returncode:
        pytest.skip("an ordinary user cannot read this installation of Python or of clipgres")
    done = subprocess.run(
        [*user, sys.executable, "-c", program, str(short_tmp / "home")],
        cwd=short_tmp,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "clipgres_owner\n", done.stderr
    assert (short_tmp / "home" / "postgres").owner() == "nobody"
