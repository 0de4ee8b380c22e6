"""One running stack a home: a locked file that says who runs, where, and which processes it started."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from clipgres.errors import Conflict
from clipgres.servers.child import RunningChild, descendants, kill_all

GRACE_S = 10
CLOCK_SLACK_S = 2


class HomeLock:
    """Held while a stack runs; the kernel lets go of it however the process ends."""

    def __init__(self, descriptor: int, url: str) -> None:
        self._descriptor = descriptor
        self._about: dict[str, Any] = {"pid": os.getpid(), "url": url, "started_at": time.time()}

    def record(self, children: list[RunningChild]) -> None:
        """Write down what runs, so that a later start can end what a killed one left behind."""
        running = [[child.pid, _created(child.pid), child.child.stop_signals[0]] for child in children]
        text = json.dumps({**self._about, "children": running}).encode()
        os.truncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text, 0)


@contextlib.contextmanager
def home_lock(path: Path, url: str) -> Iterator[HomeLock]:
    """Hold the home, after ending what an earlier stack left running on it.

    Raises:
        Conflict: a stack runs on it; the text says its process and address.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict(_who(_read(descriptor))) from error
        _end_leftovers(_read(descriptor).get("children", []))
        lock = HomeLock(descriptor, url)
        lock.record([])
        yield lock
        os.truncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _read(descriptor: int) -> dict[str, Any]:
    try:
        found = json.loads(os.pread(descriptor, 65_536, 0))
    except ValueError:  # empty, or read between two writes
        return {}
    return found if isinstance(found, dict) else {}


def _who(about: dict[str, Any]) -> str:
    where = f" (pid {about['pid']}, {about['url']})" if {"pid", "url"} <= about.keys() else ""
    return f"clipgres is already running on this home{where}"


def _created(pid: int) -> float | None:
    with contextlib.suppress(psutil.NoSuchProcess):
        return float(psutil.Process(pid).create_time())
    return None


def _end_leftovers(recorded: list[tuple[int, float | None, int]]) -> None:
    """Ask processes that are still the recorded ones to end, then kill them and what they started."""
    left = [(psutil.Process(pid), number) for pid, created, number in recorded if _is_still(pid, created)]
    offspring = [process for parent, _ in left for process in descendants(parent.pid)]
    for parent, number in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            parent.send_signal(number)
    processes = [*(parent for parent, _ in left), *offspring]
    _, alive = psutil.wait_procs(processes, timeout=GRACE_S)
    kill_all(alive)
    psutil.wait_procs(alive, timeout=GRACE_S)


def _is_still(pid: int, created: float | None) -> bool:
    """Whether the id is not another process's by now; the time a process began may move by a second with the clock."""
    found = _created(pid)
    return found is not None and created is not None and abs(found - created) < CLOCK_SLACK_S
