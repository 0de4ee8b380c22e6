"""Duplicates: how long it takes to find them, at once and as pictures come, and what folding costs a search."""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, text

from bench.database import scratch_database
from clipgres import collections
from clipgres.collections import Collection
from clipgres.database import create_engine, driver_connection, search_engine, transaction
from clipgres.duplicates import Counts, find_duplicates, has_changed
from clipgres.duplicates.folding import groups_of
from clipgres.filters import compile_filter
from clipgres.finding import find, wanted_of
from clipgres.index import IndexOf, build_index
from clipgres.models import Space
from clipgres.plans import Estimates
from clipgres.query import QueryVector
from clipgres.request import Fold, Mode, parse_request
from clipgres.settings import Settings

SPACE = Space(model="bench", revision="0" * 40, preprocessing="none", dimension=512)
Floats = NDArray[np.float32]
Longs = NDArray[np.int64]

# Of a hundred pictures so many are near copies, and so many files that are there already; one file is given by 1 %.
NEAR, SAME, PLACEHOLDERS = 8, 4, 1
ADDED = 1_000
QUERIES = 30

IMAGE_COPY = """
    COPY clipgres.image (url, url_key, host, state, bytes, width, height, sha256, phash) FROM STDIN (FORMAT BINARY)
"""
IMAGE_TYPES = ("text", "bytea", "text", "text", "int8", "int4", "int4", "bytea", "int8")
IDS_SQL = text("SELECT id FROM clipgres.image WHERE id > :after ORDER BY id")
JOBS_SQL = text("""
    INSERT INTO clipgres.job (collection_id, image_id, key, status)
    SELECT :collection, id, id::text, 'ok' FROM clipgres.image WHERE id > :after
""")
FOLLOWING_SQL = text("SELECT count(*) FROM clipgres.duplicate_look WHERE leader_id <> image_id")


@click.command()
@click.option("--images", default=100_000, show_default=True, type=click.IntRange(1_000))
def main(images: int) -> None:
    """Duplicates among pictures of which 13 % are copies: found at once, found as more come, folded in searches."""
    console = Console(width=120)
    with scratch_database() as url:
        engine = create_engine(url)
        with transaction(engine) as connection:
            collection = collections.create(connection, "default", SPACE)
        copies = fill(engine, collection, images, seed=0)
        console.print(finding(engine, url, collection, images, copies))
        build_index(engine, IndexOf.items(collection))
        searching = search_engine(url, Settings(), "bench")
        console.print(folding(searching, collection))
        searching.dispose()
        engine.dispose()


def fill(engine: Engine, collection: Collection, images: int, *, seed: int) -> int:
    """Write so many pictures of hosts, with vectors in clusters; returns how many are near copies."""
    chance = np.random.default_rng(seed)
    kinds = chance.integers(0, 100, images)
    first = kinds >= NEAR + SAME + PLACEHOLDERS
    first[0] = True
    originals = np.flatnonzero(first)
    of = originals[
        np.minimum(chance.integers(0, len(originals), images), np.searchsorted(originals, np.arange(images)))
    ]
    of[first] = originals
    is_near = ~first & (kinds < NEAR)
    of[kinds == NEAR] = 0
    hashes = _hashes(chance, images)[of]
    for bit in range(64):
        hashes[is_near & (chance.random(images) < 2 / 64)] ^= np.int64(-(2**63) if bit == 63 else 1 << bit)
    with transaction(engine) as connection:
        after = connection.execute(text("SELECT coalesce(max(id), 0) FROM clipgres.image")).scalar_one()
        cursor = driver_connection(connection).cursor()
        with cursor.copy(IMAGE_COPY) as copy:
            copy.set_types(IMAGE_TYPES)
            for n in range(images):
                name = f"{seed}/{n}"
                file = name if first[n] or is_near[n] else f"{seed}/{of[n]}"
                digests = [hashlib.sha256(each.encode()).digest() for each in (name, file)]
                host = f"host-{n % 997}.org"
                row = (f"http://{host}/{name}", digests[0], host, "ok", 50_000, 640, 480, digests[1], int(hashes[n]))
                copy.write_row(row)
        connection.execute(JOBS_SQL, {"collection": collection.id, "after": after})
        ids = connection.execute(IDS_SQL, {"after": after}).scalars().all()
        items = f"COPY {collection.item_table} (key, image_id, embedding) FROM STDIN (FORMAT BINARY)"
        with cursor.copy(items) as copy:
            copy.set_types(("text", "int8", "halfvec"))
            for id_, vector in zip(ids, _vectors(chance, of, is_near, seed), strict=True):
                copy.write_row((str(id_), id_, HalfVector(vector)))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))
    return int(is_near.sum())


def _hashes(chance: np.random.Generator, images: int) -> Longs:
    """Difference hashes of pictures that are smooth at large and rough in detail, as photographs are."""
    coarse = chance.normal(size=(images, 3, 3)).astype(np.float32)
    fine = np.repeat(np.repeat(coarse, 3, axis=1), 3, axis=2)[:, :8]
    cells = fine + 0.6 * chance.normal(size=(images, 8, 9)).astype(np.float32)
    bits = np.packbits((cells[:, :, :-1] > cells[:, :, 1:]).reshape(images, 64), axis=1)
    return bits.view(">i8").ravel().astype(np.int64)


def _vectors(
    chance: np.random.Generator, of: NDArray[np.intp], is_near: NDArray[np.bool_], seed: int
) -> Iterator[Floats]:
    """The vector of each picture: that of what it is a copy of, a near copy's a little beside it."""
    centres = chance.normal(size=(500, SPACE.dimension)).astype(np.float32)
    for n, original in enumerate(of.tolist()):
        own = np.random.default_rng((seed, original))
        vector = centres[original % 500] + 1.2 * own.normal(size=SPACE.dimension).astype(np.float32)
        if is_near[n]:
            vector = vector + 0.2 * np.random.default_rng((seed, n, 1)).normal(size=SPACE.dimension).astype(np.float32)
        yield vector / np.linalg.norm(vector)


def finding(engine: Engine, url: str, collection: Collection, images: int, copies: int) -> Table:
    """Find all, find what is new among them, and find nothing; each in a process of its own."""
    table = Table("", "seconds", "looked at", "bytes groups", "near groups", "peak memory")
    table.title = f"{images:,} pictures, {copies:,} of them near copies"

    def row(name: str) -> None:
        with ProcessPoolExecutor(1, get_context("spawn")) as alone:
            found, seconds, peak = alone.submit(_find, url, collection).result()
        counts = [f"{found.groups.get(kind, 0):,}" for kind in ("bytes", "near")]
        table.add_row(name, f"{seconds:.1f}", f"{found.looked:,}", *counts, f"{peak:,.0f} MB")

    row("all")
    with transaction(engine) as connection:
        following = connection.execute(FOLLOWING_SQL).scalar_one()
    fill(engine, collection, ADDED, seed=1)
    row(f"{ADDED:,} more")
    row("nothing new")
    with transaction(engine) as connection:
        looked = timed(lambda: has_changed(connection, collection))
    table.caption = f"{following:,} follow another at first. To see that nothing is new takes {looked:.2f} s."
    return table


def _find(url: str, collection: Collection) -> tuple[Counts, float, float]:
    """Find the duplicates; returns what, in how many seconds, and the most memory that this process had."""
    engine = create_engine(url)
    began = time.perf_counter()
    found = find_duplicates(engine, collection)
    seconds = time.perf_counter() - began
    engine.dispose()
    assert found is not None
    return found, seconds, peak_mb()


def peak_mb() -> float:
    """The most memory that this process has had; what the parent had, `getrusage` would count in."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def folding(engine: Engine, collection: Collection) -> Table:
    """Searches that fold and that do not, in turn, each for a picture that has copies or has none."""
    table = Table("24 pictures", "fold none", "fold near", "ratio", "folded", title="Searches, median ms")
    with transaction(engine) as connection:
        rows = connection.execute(
            text(f"SELECT id, embedding FROM {collection.item_table} ORDER BY md5(id::text) LIMIT :n"), {"n": QUERIES}
        ).all()
        groups_of(connection, collection, Fold.NEAR, [rows[0].id])
    estimates = Estimates()
    for mode in (Mode.INDEX, Mode.EXACT):
        took: dict[Fold, list[float]] = {Fold.NONE: [], Fold.NEAR: []}
        folded = 0
        for query in rows:
            vector = QueryVector(vector=query.embedding.to_numpy().astype(np.float32))
            for fold, times in took.items():
                request = parse_request({"text": "-", "top_k": 24, "mode": mode, "fold": fold})
                wanted = wanted_of(request, vector, collection, compile_filter({}), Settings())
                began = time.perf_counter()
                found = find(engine, wanted, request, estimates)
                times.append(1000 * (time.perf_counter() - began))
                folded += found.folding.folded if found.folding else 0
        none, near = (statistics.median(took[fold]) for fold in took)
        table.add_row(f"mode {mode}", f"{none:.1f}", f"{near:.1f}", f"{near / none:.2f}", f"{folded:,}")
    return table


def timed(work: Callable[[], Any]) -> float:
    """How many seconds it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
