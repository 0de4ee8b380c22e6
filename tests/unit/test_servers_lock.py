"""The lock that keeps two stacks off one home, and ends what a killed one left."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from signal import SIGTERM

import psutil
import pytest

from clipgres.errors import Conflict
from clipgres.servers.child import Child, RunningChild
from clipgres.servers.lock import home_lock

URL = "http://127.0.0.1:8000"


@pytest.fixture
def stray() -> Iterator[subprocess.Popen[bytes]]:
    """A process that outlives the stack that started it."""
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def test_a_second_stack_is_told_who_runs(tmp_path: Path) -> None:
    with (
        home_lock(tmp_path / "lock", URL),
        pytest.raises(Conflict, match=rf"already running on this home \(pid {os.getpid()}, {URL}\)"),
        home_lock(tmp_path / "lock", "http://127.0.0.1:8001"),
    ):
        pass


def test_the_home_is_free_again_afterwards(tmp_path: Path) -> None:
    for _ in range(2):
        with home_lock(tmp_path / "lock", URL):
            pass
    assert (tmp_path / "lock").read_text() == ""


def test_running_children_are_written_down(tmp_path: Path) -> None:
    child = RunningChild(Child("sample", ("sleep", "60"), tmp_path / "log", ready=lambda: True))
    with home_lock(tmp_path / "lock", URL) as lock:
        lock.record([child])
        found = json.loads((tmp_path / "lock").read_text())
    child.stop()
    assert [(pid, number) for pid, _, number in found["children"]] == [(child.pid, SIGTERM)]


def test_what_a_killed_stack_left_is_ended(tmp_path: Path, stray: subprocess.Popen[bytes]) -> None:
    created = psutil.Process(stray.pid).create_time()
    (tmp_path / "lock").write_text(json.dumps({"pid": 1, "url": URL, "children": [[stray.pid, created, SIGTERM]]}))
    with home_lock(tmp_path / "lock", URL):
        assert stray.poll() is not None


def test_a_process_that_only_has_the_old_number_is_left_alone(tmp_path: Path, stray: subprocess.Popen[bytes]) -> None:
    created = psutil.Process(stray.pid).create_time() - 60
    (tmp_path / "lock").write_text(json.dumps({"pid": 1, "url": URL, "children": [[stray.pid, created, SIGTERM]]}))
    with home_lock(tmp_path / "lock", URL):
        assert stray.poll() is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}'])
def test_a_broken_lock_file_is_no_obstacle(tmp_path: Path, text: str) -> None:
    (tmp_path / "lock").write_text(text)
    with home_lock(tmp_path / "lock", URL):
        pass
