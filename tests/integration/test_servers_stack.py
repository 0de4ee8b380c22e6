"""The whole stack as `clipgres up` runs it: real servers, a real worker, a real page."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGTERM, Signals

import psutil
import pytest

from tests.conftest import private_folder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
WAIT_S = 150  # for a loaded machine; an idle one takes a tenth

PROGRAM = """
import sys, time
from pathlib import Path
from clipgres.errors import ClipgresError
from clipgres.servers.stack import run_stack
from clipgres.settings import load_settings
port, work = int(sys.argv[1]), sys.argv[2]
jobs = {
    "serve": None,
    "write the address": lambda stack: Path(sys.argv[3]).write_text(stack.url),
    "fail": lambda stack: 1 / 0,
}
try:
    sys.exit(run_stack(load_settings(), port, on_ready=jobs[work], stay=work == "serve"))
except (ClipgresError, ZeroDivisionError) as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


class Up:
    """A stack in a process of its own, and what it wrote."""

    def __init__(self, home: Path, log: Path, *arguments: str, **environment: str) -> None:
        self.log = log
        own = {"CLIPGRES_HOME": str(home), "CLIPGRES_MODEL": "tiny-clip"}
        self.environment = {**os.environ, **own, **environment}
        with log.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", PROGRAM, *(arguments or ("0", "serve"))],
                env=self.environment,
                stdout=file,
                stderr=file,
                cwd=log.parent,
            )

    def text(self) -> str:
        return self.log.read_text()

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until it has written this."""
        wait_until(lambda: re.search(pattern, self.text()) is not None or self.has_ended())
        found = re.search(pattern, self.text())
        assert found, self.text()
        return found

    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def family(self) -> list[psutil.Process]:
        """Every process it started."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def child(self, word: str) -> psutil.Process:
        """Its own child with this word in its command line."""
        children = psutil.Process(self.process.pid).children()
        return next(child for child in children if any(word in part for part in child.cmdline()))

    def end(self, number: Signals) -> tuple[int, list[psutil.Process]]:
        """Send a signal; the exit code, and what is still there."""
        family = self.family()
        self.process.send_signal(number)
        code = self.process.wait(WAIT_S)
        return code, psutil.wait_procs(family, timeout=1 if number != SIGKILL else 60)[1]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)


def status_of(url: str) -> int:
    connection = HTTPConnection(url.removeprefix("http://"), timeout=10)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with private_folder() as folder:
        # A project of the user's own must not be taken for ours.
        for name in ("worker", "webapp"):
            (folder / name).mkdir()
            (folder / name / "__init__.py").write_text("raise ImportError('this is the folder of a user')")
        yield folder


@pytest.fixture(scope="module")
def up(folder: Path) -> Iterator[Up]:
    """A stack that is ready, shared by the tests that leave it so."""
    up = Up(folder / "my home", folder / "up.log")
    up.wait_for("clipgres is ready")
    yield up
    assert up.end(SIGTERM) == (0, [])


@pytest.fixture(scope="module")
def url(up: Up) -> str:
    return up.wait_for(r"clipgres is ready: (http://127\.0\.0\.1:\d+)")[1]


def test_the_page_answers(url: str) -> None:
    assert status_of(url) == 200


def test_a_second_stack_on_the_home_is_refused(up: Up, url: str, folder: Path) -> None:
    second = Up(folder / "my home", folder / "second.log")
    assert second.process.wait(WAIT_S) == 1
    assert second.text() == f"Conflict: clipgres is already running on this home (pid {up.process.pid}, {url})\n"


def test_only_the_page_listens_on_tcp(up: Up, url: str) -> None:
    found = [connection for child in up.family() for connection in child.net_connections("inet")]
    listening = {(c.laddr.ip, c.laddr.port) for c in found if c.status == psutil.CONN_LISTEN}
    assert listening == {("127.0.0.1", int(url.rsplit(":", 1)[1]))}


@pytest.mark.parametrize(
    ("name", "word"),
    [("postgres", "bin/postgres"), ("redis", "redis-server"), ("worker", "worker.app"), ("web", "gunicorn")],
)
def test_a_killed_child_is_started_again(up: Up, url: str, name: str, word: str) -> None:
    killed = up.child(word)
    killed.kill()
    up.wait_for(rf"{name} stopped \(killed by SIGKILL\): starting it again in \d+ s; log: \S.*/my home/logs/{name}.log")
    wait_until(lambda: any(word in part for c in psutil.Process(up.process.pid).children() for part in c.cmdline()))
    wait_until(lambda: status_of(url) == 200)
    assert up.child(word).pid != killed.pid


def test_a_killed_stack_leaves_nothing_for_long_and_its_home_serves_again_until_ctrl_c(folder: Path) -> None:
    up = Up(folder / "killed", folder / "killed.log")
    up.wait_for("clipgres is ready")
    assert up.end(SIGKILL) == (-SIGKILL, [])
    again = Up(folder / "killed", folder / "killed.log")
    again.wait_for("clipgres is ready")
    assert again.end(SIGINT) == (0, [])


def test_given_servers_are_used_and_it_ends_by_itself_when_the_work_is_done(
    folder: Path, database_url: str, redis_url: str
) -> None:
    given = {"CLIPGRES_DATABASE_URL": database_url, "CLIPGRES_REDIS_URL": redis_url}
    work = ("0", "write the address", str(folder / "address"))
    up = Up(folder / "bare", folder / "bare.log", *work, **given)
    assert up.process.wait(WAIT_S) == 0, up.text()
    assert (folder / "address").read_text() in up.text()
    assert {path.name for path in (folder / "bare" / "logs").iterdir()} == {"worker.log", "web.log"}


def test_work_that_fails_ends_it_with_the_error(folder: Path, database_url: str, redis_url: str) -> None:
    given = {"CLIPGRES_DATABASE_URL": database_url, "CLIPGRES_REDIS_URL": redis_url}
    up = Up(folder / "failing", folder / "failing.log", "0", "fail", **given)
    assert up.process.wait(WAIT_S) == 1
    assert up.text().endswith("ZeroDivisionError: division by zero\n")


def test_a_port_in_use_is_said_before_anything_starts(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        up = Up(folder / "other home", folder / "other.log", str(port), "serve")
        assert up.process.wait(WAIT_S) == 1
    assert up.text() == f"Conflict: port {port} is in use by another program: choose another with --port\n"
    assert not (folder / "other home" / "postgres").exists()
