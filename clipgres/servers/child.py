"""One child process: how to start it, how to tell that it is ready, how to stop it and all it started."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from signal import Signals

import psutil

from clipgres.servers.account import Account, launched_as

LOG_MAX_BYTES = 10_000_000
HURRIED_GRACE_S = 1


@dataclass(frozen=True)
class Child:
    """A program to keep running; `stop_signals` are sent one after the other, `grace_s` apart, before SIGKILL.

    `before_start` runs ahead of each start, so also of a restart; without an account it runs as this user.
    """

    name: str
    command: tuple[str, ...]
    log: Path
    ready: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    account: Account | None = None
    before_start: Callable[[], None] = lambda: None
    ready_timeout_s: float = 60
    stop_signals: tuple[Signals, ...] = (Signals.SIGTERM,)
    grace_s: float = 10


class RunningChild:
    """A child that was started, in a session of its own so that Ctrl-C in a terminal does not reach it."""

    def __init__(self, child: Child) -> None:
        self.child = child
        child.before_start()
        trim_log(child.log)
        self.started_at = time.monotonic()
        with child.log.open("ab") as log:
            self.process = subprocess.Popen(
                launched_as(child.account, child.command, child.stop_signals[0]),
                env=dict(child.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process id, which is also that of its group."""
        return self.process.pid

    def exit_code(self) -> int | None:
        """How it ended, or None while it runs."""
        return self.process.poll()

    def is_ready(self) -> bool:
        """Whether it runs and answers."""
        return self.exit_code() is None and self.child.ready()

    def stop(self, hurry: Callable[[], bool] = lambda: False) -> None:
        """End it and everything it started, waiting for a graceful end unless `hurry` turns true."""
        offspring = descendants(self.pid)
        for number in self.child.stop_signals:
            self._signal_and_wait(number, self.child.grace_s, hurry)
        if hurry():
            self._signal_and_wait(self.child.stop_signals[-1], HURRIED_GRACE_S, lambda: False)
        kill_all([*offspring, *descendants(self.pid)])
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, Signals.SIGKILL)
        self.process.wait()

    def _signal_and_wait(self, number: Signals, seconds: float, hurry: Callable[[], bool]) -> None:
        if not hurry():
            self.process.send_signal(number)
        deadline = time.monotonic() + seconds
        while self.exit_code() is None and time.monotonic() < deadline and not hurry():
            time.sleep(0.02)


def describe_exit(code: int | None) -> str:
    """An exit code in words: `exit code 1`, or `killed by SIGKILL`."""
    return f"killed by {Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"


def kill_all(processes: list[psutil.Process]) -> None:
    """Send SIGKILL to those that are still there."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def descendants(pid: int) -> list[psutil.Process]:
    """Everything a process started, directly or not, that is still there; psutil guards against reused ids."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def trim_log(log: Path) -> None:
    """Move a log that has grown too long aside and empty it in place: a writer in append mode goes on at its start."""
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > LOG_MAX_BYTES:
            log.with_name(f"{log.name}.1").write_bytes(log.read_bytes())
            os.truncate(log, 0)


def last_lines(log: Path, count: int = 5) -> list[str]:
    """The end of a log, for an error message."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 8_192))
            return file.read().decode(errors="replace").splitlines()[-count:]
    except FileNotFoundError:
        return []
