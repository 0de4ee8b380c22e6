"""`make demo` where nobody looks: it shows what it can, and ends by itself."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.acceptance.conftest import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def run_to_its_end(command: list[str], home: Path, log: Path) -> tuple[int, set[psutil.Process]]:
    """Run a program without a terminal; its exit code, and every process that it ever had."""
    family: set[psutil.Process] = set()
    with log.open("wb") as output:
        process = psutil.Popen(
            command,
            env={**os.environ, "CLIPGRES_HOME": str(home)},
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        while process.poll() is None:
            with suppress(psutil.NoSuchProcess):
                family.update(process.children(recursive=True))
            time.sleep(0.1)
    return process.returncode, family


def test_the_demo_without_a_terminal_ends_by_itself_and_leaves_nothing(short_tmp: Path) -> None:
    log = short_tmp / "log"
    command = [sys.executable, "-m", "demo", "--port", "0", "--site-port", "0"]
    code, family = run_to_its_end(command, short_tmp / "my demo", log)
    shown = log.read_text()
    assert code == 0, shown
    assert len(family) > 5
    assert psutil.wait_procs(list(family), timeout=1)[1] == []
    assert "$ clipgres search 'a dog' -k 4" in shown and " %" in shown
    assert shown.rstrip().endswith("Run it in a terminal to keep it.")
