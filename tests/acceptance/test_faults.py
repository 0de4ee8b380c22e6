"""What happens in the middle of an import and loses nothing: a flushed queue, a killed worker, a dead network."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from redis import Redis
from sqlalchemy import Engine

from clipgres.batches import BatchProgress, progress
from clipgres.database import create_engine, transaction
from clipgres.endpoints import database_url, redis_url
from tests.acceptance.conftest import Running
from tests.ingest import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
LINES = 700


@pytest.fixture
def stack_engine(running: Running) -> Iterator[Engine]:
    """An engine on the stack's own database."""
    engine = create_engine(database_url(running.settings), name="acceptance")
    yield engine
    engine.dispose()


def add(running: Running, path: Path, collection: str) -> int:
    """Add some of the gallery's list to a new collection, under addresses of its own; returns the batch."""
    running.site.write_list(path)
    rows = [line.split("\t") for line in path.read_text("utf-8").splitlines()[:LINES]]
    own = [f"{caption}\t{url}{'&' if '?' in url else '?'}{collection}\n" for caption, url in rows]
    path.write_text("".join(own), "utf-8")
    return int(running.json("add", str(path), "--collection", collection)["batch"])


def look(engine: Engine, batch: int) -> BatchProgress:
    """How far a batch is."""
    with transaction(engine) as connection:
        return progress(connection, batch)


def check_ends(path: Path, done: BatchProgress) -> None:
    """Every URL of a list came to the end that its address promises."""
    urls = {line.split("\t")[1] for line in path.read_text("utf-8").splitlines()}
    dead = {url for url in urls if "?row=" in url}
    assert (done.total, done.ok, done.failed) == (len(urls), len(urls - dead), len(dead))
    assert set(done.failed_by_reason) == {"not_found", "not_an_image", "truncated", "connection_refused"}


def test_a_flushed_queue_needs_no_restart(running: Running, stack_engine: Engine, tmp_path: Path) -> None:
    said = running.log.read_text()
    lists = [tmp_path / "first.tsv", tmp_path / "second.tsv"]
    batches = [add(running, path, f"flushed-{path.stem}") for path in lists]
    assert wait_until(lambda: any(look(stack_engine, batch).ok for batch in batches))
    with Redis.from_url(redis_url(running.settings)) as redis:
        redis.flushall()
    assert any(look(stack_engine, batch).left for batch in batches)
    for path, batch in zip(lists, batches, strict=True):
        assert wait_until(lambda batch=batch: look(stack_engine, batch).is_done, 180)
        check_ends(path, look(stack_engine, batch))
    assert running.log.read_text() == said


def test_the_work_of_a_killed_worker_ends(running: Running, stack_engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "list.tsv"
    batch = add(running, path, "killed-worker")
    assert wait_until(lambda: look(stack_engine, batch).ok > 0)
    [worker] = [child for child in psutil.Process(running.pid).children() if "worker.app" in " ".join(child.cmdline())]
    worker.kill()
    assert look(stack_engine, batch).left > 0
    assert wait_until(lambda: look(stack_engine, batch).is_done, 240)
    check_ends(path, look(stack_engine, batch))
    assert "worker stopped (killed by SIGKILL): starting it again" in running.log.read_text()


def test_hosts_that_cannot_be_reached_are_not_dead(running: Running, stack_engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "unreachable.tsv"
    path.write_text("".join(f"a picture\thttp://host-{number}.invalid/a.jpg\n" for number in range(2_000)))
    done = running.run("add", str(path), "--collection", "unreachable", "--wait")
    assert done.returncode == 1
    assert "2,000 pictures of batch" in done.stderr.decode() and "wait for the network" in done.stderr.decode()
    [batch] = re.findall(r"Batch (\d+): 2,000 accepted, 0 merged, 0 refused", done.stdout.decode())
    found = look(stack_engine, int(batch))
    assert (found.pending + found.leased, found.ok, found.failed) == (2_000, 0, 0)
    assert running.run("collections", "delete", "unreachable", "--yes").returncode == 0
