"""Search: ours beside the bare pgvector statement, p50 of interleaved runs and recall against arithmetic."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import click
import numpy as np
import psycopg
from numpy.typing import NDArray
from pgvector import HalfVector
from pgvector.psycopg import register_vector
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, text

from bench.database import scratch_database
from clipgres import collections
from clipgres.collections import Collection
from clipgres.database import autocommit, driver_connection, libpq_url, search_engine, transaction
from clipgres.decoding.pool import Decoders
from clipgres.encoders import Encoders
from clipgres.fetching import Fetcher
from clipgres.models import Space
from clipgres.plans import Estimates
from clipgres.plans.costs import LEAST_CANDIDATES
from clipgres.plans.scans import driver_sql
from clipgres.plans.statements import INDEX_SQL
from clipgres.query import QueryVector
from clipgres.request import Criterion, SearchRequest
from clipgres.search import Searcher, search
from clipgres.settings import Settings

Vectors = NDArray[np.float32]
TOP_K = 10

IMAGES_SQL = text("""
    INSERT INTO clipgres.image (url, url_key, host, state, width, height)
    SELECT 'http://example.org/' || n, sha256(n::text::bytea), 'example.org', 'ok', 640, 480
    FROM generate_series(1, :rows) n
""")
CAPTIONS_SQL = text("""
    INSERT INTO clipgres.caption (image_id, text)
    SELECT id, 'a caption of ten words or so, number ' || n || ' of image ' || id
    FROM clipgres.image, generate_series(1, 2) n
""")
COPY_SQL = "COPY {items} (key, image_id, metadata, embedding) FROM STDIN"
BUILD_SQL = "CREATE INDEX {index} ON {items} USING hnsw (embedding halfvec_cosine_ops)"

BARE_SQL = "SELECT key FROM {items} ORDER BY embedding <=> %(query)s LIMIT 10"
BARE_EXACT_SQL = "SELECT key FROM {items} ORDER BY (embedding <=> %(query)s) + 0 LIMIT 10"


@dataclass
class Way:
    """One way to search, whose time is told as a multiple of another's; only every `step`-th row may be found."""

    name: str
    find: Callable[[Vectors], Sequence[str]]
    beside: str
    step: int = 1
    times: list[float] = field(default_factory=list)
    recalls: list[float] = field(default_factory=list)

    @property
    def p50_ms(self) -> float:
        """The median time, in milliseconds."""
        return statistics.median(self.times) * 1000


@click.command()
@click.option("--rows", default=20_000, show_default=True, type=click.IntRange(1_000))
@click.option("--dimension", default=512, show_default=True, type=click.IntRange(2, 4_000))
@click.option("--queries", default=100, show_default=True, type=click.IntRange(5))
def main(rows: int, dimension: int, queries: int) -> None:
    """Search: bare pgvector, ours, exact, and under filters."""
    everything = clustered(rows + queries, dimension)
    vectors, asked = everything[:rows], everything[rows:]
    with scratch_database() as url:
        engine = search_engine(url, Settings(), "clipgres bench")
        collection = fill(engine, vectors)
        with psycopg.connect(libpq_url(url), autocommit=True, prepare_threshold=0) as bare:
            register_vector(bare)
            bare.execute(f"SET hnsw.ef_search = {LEAST_CANDIDATES}")
            ways = [*bare_ways(bare, engine, collection), *our_ways(engine, collection)]
            measure(ways, vectors, asked)
        engine.dispose()
    show(ways, f"{rows:,} rows of {dimension} dimensions, the ten nearest, {queries} queries")


def clustered(count: int, dimension: int) -> Vectors:
    """Unit vectors around random centres, about 50 to each, as the table holds them."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(max(count // 50, 1), dimension)).astype(np.float32)
    noise = random.normal(size=(count, dimension)).astype(np.float32)
    vectors = centres[random.integers(0, len(centres), count)] + noise
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float16).astype(np.float32)


def fill(engine: Engine, vectors: Vectors, metadata: Sequence[dict[str, Any]] | None = None) -> Collection:
    """Make a collection of these vectors with images, captions, metadata and index."""
    space = Space(model="bench", revision="0" * 40, preprocessing="none", dimension=vectors.shape[1])
    with transaction(engine) as connection:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        collection = collections.create(connection, "default", space)
        connection.execute(IMAGES_SQL, {"rows": len(vectors)})
        connection.execute(CAPTIONS_SQL)
        copy_sql = COPY_SQL.format(items=collection.item_table)
        with driver_connection(connection).cursor().copy(copy_sql) as copy:
            for n, vector in enumerate(vectors):
                row = metadata[n] if metadata else {"in_1": n % 100 == 0, "in_10": n % 10 == 0, "n": n}
                copy.write_row((str(n), n + 1, json.dumps(row), HalfVector(vector).to_text()))
        names = {"index": collection.index_name, "items": collection.item_table}
        connection.execute(text("SET LOCAL maintenance_work_mem = '512MB'"))
        connection.execute(text(BUILD_SQL.format(**names)))
    with autocommit(engine) as connection:
        for statement in ("SET statement_timeout = 0", "VACUUM ANALYZE", "RESET statement_timeout"):
            connection.execute(text(statement))
    return collection


def bare_ways(bare: psycopg.Connection[Any], engine: Engine, collection: Collection) -> Iterable[Way]:
    """What someone would write by hand, prepared, on a connection of its own."""
    index, exact = (sql.format(items=collection.item_table) for sql in (BARE_SQL, BARE_EXACT_SQL))
    ours = driver_sql(
        INDEX_SQL[Criterion.IMAGE].format(
            items=collection.item_table, condition="true", candidates=LEAST_CANDIDATES, taken=TOP_K, limit=TOP_K
        )
    )

    def run(sql: str, query: Vectors) -> list[str]:
        return [row[0] for row in bare.execute(sql.encode(), {"query": HalfVector(query)})]

    def statement(query: Vectors) -> list[str]:
        rows = bare.execute(ours, {"query": HalfVector(query), "namespace": "", "left_out": []})
        return [row[2] for row in rows]

    yield Way("bare pgvector, index", partial(run, index), "bare pgvector, index")
    yield Way("our statement, with captions", statement, "bare pgvector, index")
    yield Way("bare pgvector, exact", partial(run, exact), "bare pgvector, exact")
    for percent in (1, 10):
        where = f"""WHERE metadata @> '{{"in_{percent}": true}}'"""
        filtered = exact.replace("ORDER BY", f"{where} ORDER BY")
        name = f"bare pgvector, exact on {percent} %"
        yield Way(name, partial(run, filtered), name, step=100 // percent)


def our_ways(engine: Engine, collection: Collection) -> Iterable[Way]:
    """The whole of `search`, as the page and the API call it."""
    ask = searching(engine, collection)

    yield Way("search", ask, "bare pgvector, index")
    yield Way("search, from the request on", asking(engine), "bare pgvector, index")
    yield Way("search, mode exact", partial(ask, mode="exact"), "bare pgvector, exact")
    for percent in (1, 10):
        condition = {f"in_{percent}": True}
        yield Way(
            f"search, filter of {percent} %",
            partial(ask, filter=condition),
            f"bare pgvector, exact on {percent} %",
            step=100 // percent,
        )


def searching(engine: Engine, collection: Collection) -> Callable[..., list[str]]:
    """The product's search by a vector and other fields of a request, and the keys it finds."""
    estimates, settings = Estimates(), Settings()

    def ask(query: Vectors, **fields: Any) -> list[str]:
        request = SearchRequest(text="-", top_k=TOP_K, **fields)
        answer = search(engine, request, QueryVector(vector=query), collection, settings, estimates)
        return [hit.key for hit in answer.hits]

    return ask


def asking(engine: Engine) -> Callable[..., list[str]]:
    """The same from the request on: its vector is read, its collection found, its scores are held against others."""
    settings = Settings()
    searcher = Searcher(engine, Encoders(settings), Fetcher(settings), Decoders(settings, processes=1), settings)

    def ask(query: Vectors, **fields: Any) -> list[str]:
        answer = searcher.search(SearchRequest(vector=tuple(query.tolist()), top_k=TOP_K, **fields))
        return [hit.key for hit in answer.hits]

    return ask


def measure(ways: Sequence[Way], vectors: Vectors, asked: Vectors) -> None:
    """Ask every query of every way in turn, after a round that only warms up.

    Each is asked twice, and the second counts: the first pays for what the way before it put out of the caches.
    """
    rounds = [(query, np.argsort(-(vectors @ query))) for query in [*asked[:5], *asked]]
    for round_, (query, ranked) in enumerate(rounds):
        for way in ways:
            way.find(query)
            started = time.perf_counter()
            found = way.find(query)
            took = time.perf_counter() - started
            if round_ >= 5:
                best = ranked[ranked % way.step == 0][:TOP_K]
                way.times.append(took)
                way.recalls.append(len({str(n) for n in best} & set(found)) / TOP_K)


def show(ways: Sequence[Way], title: str) -> None:
    """Print the table."""
    medians = {way.name: way.p50_ms for way in ways}
    table = Table("way", "p50 ms", "ratio", "to", "recall@10", title=title)
    for way in ways:
        ratio = f"{way.p50_ms / medians[way.beside]:.2f}"
        table.add_row(way.name, f"{way.p50_ms:.2f}", ratio, way.beside, f"{statistics.mean(way.recalls):.3f}")
    Console().print(table)
