"""Faults of those who add lists: many at once, killed at any line, unheard, or pausing what they asked for."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from signal import SIGKILL
from typing import LiteralString

from sqlalchemy import text

from clipgres import pauses
from clipgres.collections import Collection
from clipgres.database import transaction
from clipgres.destination import destination
from clipgres.enqueue import Added
from tests.faults.ledger import WorkList
from tests.faults.scene import Broken, Fault, Scene

CLIENTS = 8
COPIES = 300
READ_SQL = text("""
    SELECT coalesce(max(lines), 0) FROM clipgres.batch WHERE collection_id = :collection AND finished IS NULL
""")
LEASED_SQL: LiteralString = "SELECT count(*) FROM clipgres.job WHERE collection_id = %s AND status = 'leased'"
ENDED_SQL: LiteralString = "SELECT count(*) FROM clipgres.job WHERE collection_id = %s AND status IN ('ok', 'failed')"
BATCHES_SQL = text("""
    SELECT id AS batch, lines, accepted, merged, refused FROM clipgres.batch
    WHERE collection_id = :collection AND finished IS NOT NULL
""")


def add_at_once(scene: Scene) -> None:
    """Eight clients add the same URLs at the same time."""
    site, name = scene.stack.site, f"{scene.name}-shared"
    ends = site.urls(scene.rng, name, 40)
    lists = []
    for number in range(CLIENTS):
        urls = scene.rng.sample(list(ends), len(ends))
        lists.append(scene.ledger.write(name, {url: ends[url] for url in urls}, name=f"-{number}"))
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(scene.ledger.add, lists))
    collection = scene.ledger.collections[name].id
    scene.wait(
        "URLs that eight clients added end",
        lambda: all(scene.watch.found.get((collection, url), ("",))[0] in ("ok", "failed") for url in ends),
        120,
    )
    twice = [url for url in ends if "/flaky/" not in url and site.asked[url.split(str(site.port))[1]] > 1]
    if twice:
        raise Broken(f"downloaded more than once: {twice[:5]}")


def kill_add(scene: Scene) -> float:
    """`clipgres add` is killed at some lines of a long list, then run again to its end."""
    wanted = _long_list(scene)
    collection = destination(scene.stack.engine, wanted.collection, scene.stack.encoders)
    command = ("add", str(wanted.path), "--collection", wanted.collection)
    for share in sorted(scene.rng.sample(range(80), scene.rng.randint(1, 3))):
        process = scene.stack.command(*command)
        while process.poll() is None and _lines_read(scene, collection) < wanted.lines * share // 100:
            time.sleep(0.01)
        scene.pause(0, 0.1)
        process.send_signal(SIGKILL)
        process.wait()
    killed_at = time.monotonic()
    # Unless the last kill came after the end: then the list would be added once more.
    if not _batches(scene, collection) and scene.stack.command(*command).wait():
        raise Broken(f"`clipgres add` failed; its log is {scene.stack.home.log('commands')}")
    [batch] = _batches(scene, collection)
    scene.ledger.note(wanted, collection, batch)
    counts = (batch.lines, batch.accepted, batch.merged, batch.refused)
    if counts != (wanted.lines, len(wanted.ends), wanted.lines - len(wanted.ends), 0):
        raise Broken(f"a list of {wanted.lines} lines and {len(wanted.ends)} URLs was counted {batch}")
    return killed_at


def add_unheard(scene: Scene) -> None:
    """A client dies right after its commit, and every worker that could have heard of it dies as well."""
    for worker in scene.stack.workers:
        scene.process(worker).send_signal(SIGKILL)
    name = f"{scene.name}-unheard"
    wanted = scene.ledger.write(name, scene.stack.site.urls(scene.rng, name, 30))
    scene.ledger.add(wanted)
    for worker in scene.stack.workers:
        scene.process(worker).send_signal(SIGKILL)


def pause_and_resume(scene: Scene) -> None:
    """A collection is paused in the middle of its work, and resumed."""
    [collection, *_] = scene.ledger.collections.values()
    with scene.stack.admin() as admin:

        def count(sql: LiteralString) -> object:
            return admin.execute(sql, [collection.id]).fetchone()

        with transaction(scene.stack.engine) as connection:
            pauses.pause(connection, collection)
        scene.wait("the jobs of a paused collection are given back", lambda: count(LEASED_SQL) == (0,), 60)
        before = count(ENDED_SQL)
        scene.pause(3, 6)
        if before != count(ENDED_SQL):
            raise Broken("a paused collection was worked on")
        with transaction(scene.stack.engine) as connection:
            pauses.resume(connection, collection)


def _long_list(scene: Scene) -> WorkList:
    name = f"{scene.name}-long"
    ends = scene.stack.site.urls(scene.rng, name, 100)
    return scene.ledger.write(name, ends, copies=COPIES)


def _lines_read(scene: Scene, collection: Collection) -> int:
    with transaction(scene.stack.engine) as connection:
        lines: int = connection.execute(READ_SQL, {"collection": collection.id}).scalar_one()
    return lines


def _batches(scene: Scene, collection: Collection) -> list[Added]:
    """The imports into a collection that came to their end."""
    with transaction(scene.stack.engine) as connection:
        return [Added(**row) for row in connection.execute(BATCHES_SQL, {"collection": collection.id}).mappings()]


FAULTS = (
    Fault("same-urls-at-once", add_at_once, is_alone=True),
    Fault("add-killed", kill_add, is_alone=True),
    Fault("add-unheard", add_unheard),
    Fault("paused", pause_and_resume, is_alone=True),
)
