"""One `clipgres up` with the gallery imported from a loopback site, shared by the tests of this folder."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from clipgres.settings import Settings
from demo.site import GallerySite, gallery_site
from tests.conftest import private_folder

ROOT = Path(__file__).parents[2]
READY_WITHIN_S = 120


@dataclass(frozen=True)
class Running:
    """A stack that is up: where its page is, and the environment that makes commands find it."""

    url: str
    pid: int
    log: Path
    environment: dict[str, str]
    site: GallerySite
    added: dict[str, Any]
    listed: dict[str, int]

    @property
    def settings(self) -> Settings:
        """Settings that name its home, and so its servers."""
        return Settings(home=Path(self.environment["CLIPGRES_HOME"]))

    def run(self, *arguments: str, input: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        """Run a clipgres command to its end."""
        command = [sys.executable, "-m", "clipgres.cli", *arguments]
        return subprocess.run(
            command, check=False, env=self.environment, cwd=ROOT, input=input, capture_output=True, timeout=300
        )

    def json(self, *arguments: str) -> Any:
        """Run a command with --json and return its document."""
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout)


def start(environment: dict[str, str], log: Path) -> tuple[subprocess.Popen[bytes], str]:
    """Start `clipgres up` and wait for its address."""
    command = [sys.executable, "-m", "clipgres.cli", "up", "--port", "0"]
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, env=environment, cwd=ROOT, stderr=stderr, start_new_session=True)
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        if ready := re.search(r"clipgres is ready: (\S+)", log.read_text()):
            return process, ready[1]
        time.sleep(0.1)
    stop(process)
    raise AssertionError(f"clipgres up did not get ready:\n{log.read_text()}")


def stop(process: subprocess.Popen[bytes]) -> tuple[int, list[psutil.Process]]:
    """Ask the stack to end; returns its exit code and the processes it left."""
    children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.send_signal(signal.SIGTERM)
    code = process.wait(timeout=120)
    _, left = psutil.wait_procs(children, timeout=1)
    return code, left


@pytest.fixture(scope="package")
def running() -> Iterator[Running]:
    """The stack with the gallery in it; its home has a space in its name."""
    with private_folder() as folder, gallery_site() as site:
        log = folder / "up.log"
        environment = {
            **os.environ,
            "CLIPGRES_HOME": str(folder / "my home"),
            "CLIPGRES_MODEL": "tiny-clip",
            "CLIPGRES_FETCH_ALLOW": "127.0.0.0/8",
            "CLIPGRES_FETCH_PER_HOST": "16",
            "CLIPGRES_RETRY_BASE_S": "0.2",
            "CLIPGRES_LEASE_S": "10",
        }
        process, url = start(environment, log)
        try:
            listed = site.write_list(folder / "list.tsv")
            up = Running(url, process.pid, log, environment, site, {}, listed)
            added = up.json("add", str(folder / "list.tsv"), "--wait")
            yield Running(url, process.pid, log, environment, site, added, listed)
        finally:
            code, left = stop(process)
        assert (code, left) == (0, [])
