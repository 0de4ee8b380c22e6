"""The supervisor, on small real processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from signal import Signals
from typing import Any

import psutil
import pytest

from clipgres.errors import SetupError
from clipgres.servers import child as child_module
from clipgres.servers.child import Child, RunningChild
from clipgres.servers.supervisor import Supervisor

needs_setpriv = pytest.mark.skipif(shutil.which("setpriv") is None, reason="no setpriv here: Linux's util-linux has it")


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Child]:
    """Make a child that runs a shell script, ready once it has made the file `$READY`."""

    def make_child(script: str, name: str = "sample", **options: Any) -> Child:
        mark = tmp_path / f"{name}.ready"
        return Child(
            name=name,
            command=("sh", "-c", script),
            log=tmp_path / f"{name}.log",
            environment={**os.environ, "READY": str(mark), "TMP": str(tmp_path)},
            before_start=lambda: mark.unlink(missing_ok=True),
            ready=mark.exists,
            **options,
        )

    return make_child


@pytest.fixture
def reports() -> list[str]:
    return []


@pytest.fixture
def supervisor(reports: list[str]) -> Supervisor:
    return Supervisor(reports.append, back_off_s=0.01)


def pid_in(path: Path, timeout_s: float = 60) -> int:
    """The process id that a script writes, once it has."""
    deadline = time.monotonic() + timeout_s
    while not (path.exists() and path.read_text().strip()):
        assert time.monotonic() < deadline, f"{path} was not written"
        time.sleep(0.02)
    return int(path.read_text())


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def gone(pid: int, timeout_s: float = 30) -> bool:
    deadline = time.monotonic() + timeout_s
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not is_alive(pid)


def signal_soon(number: Signals, after_s: float = 0.3) -> None:
    threading.Timer(after_s, os.kill, (os.getpid(), number)).start()


def test_children_stop_in_reverse_order(make: Callable[..., Child], supervisor: Supervisor, tmp_path: Path) -> None:
    script = 'trap "echo {0} >> $TMP/order; exit" TERM; touch "$READY"; while :; do sleep 0.05; done'
    with supervisor:
        supervisor.start(make(script.format("first"), "first"))
        supervisor.start(make(script.format("second"), "second"))
    assert (tmp_path / "order").read_text().split() == ["second", "first"]


def test_a_child_that_dies_is_started_again_and_that_is_said(
    make: Callable[..., Child], supervisor: Supervisor, reports: list[str], tmp_path: Path
) -> None:
    child = make('echo $$ > "$TMP/pid"; touch "$READY"; exec sleep 60')
    with supervisor:
        supervisor.start(child)
        first = pid_in(tmp_path / "pid")
        os.kill(first, signal.SIGKILL)
        supervisor.run(until=lambda: pid_in(tmp_path / "pid") != first)
    assert reports == [f"sample stopped (killed by SIGKILL): starting it again in 0.01 s; log: {child.log}"]


def test_the_back_off_doubles(make: Callable[..., Child], supervisor: Supervisor, reports: list[str]) -> None:
    with supervisor:
        supervisor.start(make('touch "$READY"; sleep 0.3; exit 3'))
        supervisor.run(until=lambda: len(reports) == 3)
    assert [line.split("again in ")[1].split(";")[0] for line in reports] == ["0.01 s", "0.02 s", "0.04 s"]
    assert "exit code 3" in reports[0]


def test_a_child_that_never_gets_ready_stops_the_tree_with_its_last_words(
    make: Callable[..., Child], supervisor: Supervisor, tmp_path: Path
) -> None:
    with pytest.raises(SetupError, match=r"sample stopped 5 times .*exit code 7(.|\n)*no such thing"), supervisor:
        supervisor.start(make('echo $$ > "$TMP/pid"; touch "$READY"; exec sleep 60', "earlier"))
        supervisor.start(make("echo no such thing; exit 7"))
    assert gone(pid_in(tmp_path / "pid"))


def test_a_child_that_takes_too_long_to_get_ready_is_an_error(
    make: Callable[..., Child], supervisor: Supervisor
) -> None:
    with pytest.raises(SetupError, match="sample is not ready after 1 s"), supervisor:
        supervisor.start(make("exec sleep 60", ready_timeout_s=0.6))


@pytest.mark.parametrize("number", [Signals.SIGINT, Signals.SIGTERM, Signals.SIGHUP])
def test_a_signal_ends_the_run_without_an_error(
    make: Callable[..., Child], supervisor: Supervisor, tmp_path: Path, number: Signals
) -> None:
    before = signal.getsignal(number)
    with supervisor:
        supervisor.start(make('echo $$ > "$TMP/pid"; touch "$READY"; exec sleep 60'))
        signal_soon(number)
        supervisor.run()
    assert gone(pid_in(tmp_path / "pid"))
    assert signal.getsignal(number) == before


def test_a_second_signal_hurries(make: Callable[..., Child], supervisor: Supervisor) -> None:
    with supervisor:
        supervisor.start(make('trap "" TERM; touch "$READY"; while :; do sleep 0.1; done', grace_s=60))
        signal_soon(Signals.SIGTERM)
        signal_soon(Signals.SIGTERM, after_s=0.6)
        started = time.monotonic()
        supervisor.run()
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("launcher", ["", "setsid "], ids=["in its group", "in a session of its own"])
def test_what_a_child_started_ends_with_it(
    make: Callable[..., Child], supervisor: Supervisor, tmp_path: Path, launcher: str
) -> None:
    script = f"""{launcher} sh -c 'trap "" TERM; echo $$ > "$TMP/pid"; touch "$READY"; sleep 60; sleep 60' & wait"""
    with supervisor:
        supervisor.start(make(script))
    assert gone(pid_in(tmp_path / "pid"))


def test_ctrl_c_in_the_terminal_reaches_the_supervisor_alone(make: Callable[..., Child]) -> None:
    started: list[RunningChild] = []
    watched = Supervisor(lambda _line: None, started.extend)
    with watched:
        watched.start(make('touch "$READY"; exec sleep 60'))
        assert os.getsid(started[0].pid) == started[0].pid != os.getsid(0)


@needs_setpriv
def test_a_killed_supervisor_leaves_nothing_behind(tmp_path: Path) -> None:
    program = f"""
from pathlib import Path; from clipgres.servers.child import Child; from clipgres.servers.supervisor import *
mark, log = Path({str(tmp_path / "pid")!r}), Path({str(tmp_path / "log")!r})
with Supervisor(print) as supervisor:
    supervisor.start(Child("sample", ("sh", "-c", f"echo $$ > '{{mark}}'; exec sleep 60"), log, mark.exists))
    supervisor.run()
"""
    process = subprocess.Popen([sys.executable, "-c", program])
    pid = pid_in(tmp_path / "pid")
    process.kill()
    process.wait()
    assert gone(pid)


def test_a_log_that_has_grown_is_moved_aside_while_it_is_written(
    make: Callable[..., Child], supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_module, "LOG_MAX_BYTES", 1_000)
    child = make('touch "$READY"; while :; do echo one more line of the log; done')
    aside = child.log.with_name("sample.log.1")
    with supervisor:
        supervisor.start(child)
        supervisor.run(until=aside.exists)
        size = child.log.stat().st_size
        supervisor.run(until=lambda: child.log.stat().st_size != size)
    assert child.log.read_bytes()[-4:] == b"log\n"
    assert b"\0" not in child.log.read_bytes()
