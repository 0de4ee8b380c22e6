"""Search under filters: ours beside the better of two statements written by hand, and beside plain pgvector."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import Any

import click
import numpy as np
import psycopg
from numpy.typing import NDArray
from pgvector import HalfVector
from pgvector.psycopg import register_vector
from rich.console import Console
from rich.table import Table

from bench.database import scratch_database
from bench.fitting import fit
from bench.search import TOP_K, Vectors, clustered, fill, searching
from clipgres.collections import Collection
from clipgres.database import libpq_url, search_engine
from clipgres.plans.costs import LEAST_CANDIDATES
from clipgres.settings import Settings

PERCENTS = (0.01, 0.1, 1, 5, 10, 50)
KINDS = ("random", "correlated", "anti-correlated")
ANCHORS = 6
WARM_UP = 3
ASKS = 3
GOOD_RECALL = 0.99
# The hand-written index scan is tried with each; what counts is the fastest that reaches the recall. The least is what
# the product starts at too: less does on data as kind as this, but nobody knows beforehand.
EF_SEARCHES = (LEAST_CANDIDATES, 400, 1_000)

# What a careful person writes by hand: the rows that match, or the ordered scan, and the rest joined after it.
BY_HAND_SQL = """
    WITH nearest AS MATERIALIZED ({scan})
    SELECT i.key, n.distance, i.metadata, im.url, im.host, im.width, im.height,
           ARRAY(SELECT c.text FROM clipgres.caption c WHERE c.image_id = i.image_id ORDER BY c.id) AS captions
    FROM nearest n
    JOIN {items} i ON i.id = n.id
    LEFT JOIN clipgres.image im ON im.id = i.image_id
    ORDER BY n.distance
"""
EXACT_SQL = """
    SELECT id, (embedding <=> %(query)s) + 0 AS distance FROM {items} WHERE metadata @? %(path)s::jsonpath
    ORDER BY distance LIMIT 10
"""
INDEX_SQL = """
    SELECT id, embedding <=> %(query)s AS distance FROM {items} WHERE (SELECT metadata @? %(path)s::jsonpath)
    ORDER BY embedding <=> %(query)s LIMIT 10
"""
SET_SQL = "SELECT set_config('hnsw.ef_search', %s, false), set_config('hnsw.iterative_scan', %s, false)"
PLAIN_SQL = "SELECT key FROM {items} WHERE metadata @? %(path)s::jsonpath ORDER BY embedding <=> %(query)s LIMIT 10"

# A query and the tag of a filter to the keys found and the milliseconds it took.
Find = Callable[[Vectors, str], tuple[Sequence[str], float]]


@dataclass
class Times:
    """What one way to search gave in one cell of the table."""

    ms: list[float] = field(default_factory=list)
    found: list[float] = field(default_factory=list)
    recalls: list[float] = field(default_factory=list)

    @property
    def p50(self) -> float:
        """The median time, in milliseconds."""
        return statistics.median(self.ms)

    @property
    def recall(self) -> float:
        """The mean recall."""
        return statistics.mean(self.recalls)

    def __str__(self) -> str:
        return f"{statistics.mean(self.found):.2f} / {self.recall:.3f} / {self.p50:.2f}"


@dataclass(frozen=True)
class Cell:
    """One kind of filter at one selectivity."""

    kind: str
    percent: float
    ways: dict[str, Times]

    @property
    def by_hand(self) -> str:
        """The faster of the hand-written ways, of those that find what is there."""
        names = ["exact", *(f"index {ef}" for ef in EF_SEARCHES)]
        return min((name for name in names if self.ways[name].recall >= GOOD_RECALL), key=lambda n: self.ways[n].p50)


@click.command()
@click.option("--rows", default=100_000, show_default=True, type=click.IntRange(10_000))
@click.option("--dimension", default=512, show_default=True, type=click.IntRange(2, 4_000))
@click.option("--queries", default=5, show_default=True, type=click.IntRange(2), help="of each of the six anchors")
@click.option("--derive", is_flag=True, help="Fit the constants of clipgres/plans/costs.py instead.")
def main(rows: int, dimension: int, queries: int, derive: bool) -> None:
    """Filters: rows and recall at six selectivities, random, with the query and against it."""
    everything = clustered(rows + ANCHORS, dimension)
    vectors, anchors = everything[:rows], everything[rows:]
    masks = {name: mask for anchor in range(ANCHORS) for name, mask in masks_of(vectors, anchors, anchor)}
    metadata: list[dict[str, Any]] = [{"tags": [], "n": n} for n in range(rows)]
    for name, mask in masks.items():
        for n in np.flatnonzero(mask):
            metadata[n]["tags"].append(name)
    with scratch_database() as url:
        engine = search_engine(url, Settings(), "clipgres bench")
        collection = fill(engine, vectors, metadata)
        if derive:
            with connected(url) as bare:
                fit(bare, collection, anchors, [name_of("random", percent, 0) for percent in PERCENTS])
        else:
            asked = [(anchor, query) for anchor in range(ANCHORS) for query in around(anchors[anchor], queries)]
            cells = []
            for kind, percent in product(KINDS, PERCENTS):
                engine.dispose()
                with connected(url) as bare:
                    ways = {"ours": ours(searching(engine, collection)), **by_hand(bare, collection)}
                    cells.append(measure(ways, kind, percent, vectors, masks, asked))
            show(cells, f"{rows:,} rows of {dimension} dimensions, the ten nearest, {len(asked)} queries a cell")
        engine.dispose()


@contextmanager
def connected(url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection that prepares each statement, and leaves to PostgreSQL which plans are kept.

    Each cell has connections of its own: the more a connection was asked, the fewer of its statements are planned anew.
    """
    with psycopg.connect(libpq_url(url), autocommit=True, prepare_threshold=0) as bare:
        register_vector(bare)
        yield bare


def masks_of(vectors: Vectors, anchors: Vectors, anchor: int) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """The rows of each filter: some by chance, those nearest to an anchor, those farthest from it."""
    order = np.argsort(-(vectors @ anchors[anchor]))
    orders = {"correlated": order, "anti-correlated": order[::-1]}
    if anchor == 0:
        orders["random"] = np.random.default_rng(1).permutation(len(vectors))
    for kind, ranked in orders.items():
        for percent in PERCENTS:
            mask = np.zeros(len(vectors), np.bool_)
            mask[ranked[: round(len(vectors) * percent / 100)]] = True
            yield name_of(kind, percent, anchor), mask


def name_of(kind: str, percent: float, anchor: int) -> str:
    """The tag in the metadata of the rows of a filter."""
    return f"{kind} {percent}" if kind == "random" else f"{kind} {percent} {anchor}"


def around(anchor: Vectors, count: int) -> Vectors:
    """Queries near an anchor."""
    noise = np.random.default_rng(2).normal(size=(count, len(anchor))).astype(np.float32)
    queries: Vectors = anchor + noise * 0.3 / np.sqrt(len(anchor))
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    return queries


def ours(ask: Callable[..., list[str]]) -> Find:
    """The product's search."""

    def find(query: Vectors, name: str) -> tuple[list[str], float]:
        started = time.perf_counter()
        keys = ask(query, filter={"tags": name})
        return keys, 1000 * (time.perf_counter() - started)

    return find


def by_hand(bare: psycopg.Connection[Any], collection: Collection) -> dict[str, Find]:
    """What someone would write, prepared, on a connection of its own; and what pgvector does by itself."""
    items = collection.item_table
    exact, index = (BY_HAND_SQL.format(scan=sql.format(items=items), items=items) for sql in (EXACT_SQL, INDEX_SQL))
    plain = PLAIN_SQL.format(items=items)

    def find(sql: str, ef_search: int, iterative: str, query: Vectors, name: str) -> tuple[list[str], float]:
        bare.execute(SET_SQL, (str(ef_search), iterative))
        parameters = {"query": HalfVector(query), "path": f'$."tags" ? (@ == "{name}")'}
        started = time.perf_counter()
        rows = bare.execute(sql.encode(), parameters).fetchall()
        return [row[0] for row in rows], 1000 * (time.perf_counter() - started)

    ways: dict[str, Find] = {"exact": partial(find, exact, 40, "off")}
    ways |= {f"index {ef}": partial(find, index, ef, "strict_order") for ef in EF_SEARCHES}
    return ways | {
        "defaults": partial(find, plain, 40, "off"),
        "relaxed": partial(find, plain, 40, "relaxed_order"),
        "strict": partial(find, plain, 40, "strict_order"),
    }


def measure(
    ways: Mapping[str, Find],
    kind: str,
    percent: float,
    vectors: Vectors,
    masks: Mapping[str, NDArray[np.bool_]],
    asked: Sequence[tuple[int, Vectors]],
) -> Cell:
    """Ask every query of every way in turn, after a round that only warms up.

    Each is asked three times, and the last counts: the others pay for what the way before it put out of the caches.
    """
    times = {name: Times() for name in ways}
    rounds = []
    for anchor, query in [*asked[:WARM_UP], *asked]:
        rows = np.flatnonzero(masks[name_of(kind, percent, anchor)])
        scores = vectors[rows] @ query.astype(np.float16).astype(np.float32)
        rounds.append((query, name_of(kind, percent, anchor), rows[np.argsort(-scores)[:TOP_K]]))
    for round_, (query, name, best) in enumerate(rounds):
        turn = round_ % len(ways)
        for way, find in [*ways.items()][turn:] + [*ways.items()][:turn]:
            *_, (keys, ms) = (find(query, name) for _ in range(ASKS))
            if round_ >= WARM_UP:
                times[way].ms.append(ms)
                times[way].found.append(len(keys) / len(best))
                times[way].recalls.append(len({str(n) for n in best} & set(keys)) / len(best))
    return Cell(kind, percent, times)


def show(cells: Sequence[Cell], title: str) -> None:
    """Print the table: rows found of those there are, recall and p50."""
    table = Table(title=title, caption="rows found / recall@10 / p50 in ms")
    for heading in ("filter", "%", "ours", "by hand, exact", "by hand, index", "ratio to", "the better"):
        table.add_column(heading)
    for heading in ("pgvector's defaults", "iterative, relaxed", "iterative, strict"):
        table.add_column(heading)
    for cell in cells:
        better = cell.by_hand
        index = min((name for name in cell.ways if name.startswith("index")), key=lambda n: (-cell.ways[n].recall, n))
        ratio = cell.ways["ours"].p50 / cell.ways[better].p50
        shown = [str(cell.ways[name]) for name in ("ours", "exact", index)]
        plain = [str(cell.ways[name]) for name in ("defaults", "relaxed", "strict")]
        table.add_row(cell.kind, f"{cell.percent}", *shown, f"{ratio:.2f}", better, *plain)
    Console(width=200).print(table)
