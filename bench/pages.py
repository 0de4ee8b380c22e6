"""Pages: what the first costs beside a search without pages, what the second and the later ones cost, what is kept."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np
from redis import Redis
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine

from bench.database import scratch_database, wait
from bench.search import Vectors, clustered, fill
from clipgres.answer import Answer
from clipgres.collections import Collection
from clipgres.database import create_engine, search_engine
from clipgres.decoding.pool import Decoders
from clipgres.encoders import Encoders
from clipgres.fetching import Fetcher
from clipgres.filters import compile_filter
from clipgres.finding import wanted_of
from clipgres.pages.ranking import RANKED_ROWS, scan
from clipgres.query import QueryVector
from clipgres.request import SearchRequest, parse_request
from clipgres.search import Searcher
from clipgres.servers.child import RunningChild
from clipgres.servers.redis import embedded_redis_url, prepare_redis, redis_child
from clipgres.settings import Settings

PAGES = 50
WARM_UP = 3
RANKED_QUERIES = 8
WITHOUT, FIRST, SECOND, LATER, TWENTIETH = "a search without pages", "page 1", "page 2", "pages 3 to 50", "page 20"


class Prepared(Encoders):
    """Hands out an encoder that has the vectors of the queries, which are texts of their numbers."""

    def __init__(self, vectors: Vectors) -> None:
        self._vectors = vectors

    def of(self, _space: object) -> Any:
        """Itself."""
        return self

    def text(self, texts: Sequence[str]) -> Vectors:
        """The vectors of these queries."""
        return self._vectors[[int(each.split()[-1]) for each in texts]]

    def cut(self, texts: Sequence[str]) -> list[bool]:
        """None is too long."""
        return [False for _ in texts]


@click.command()
@click.option("--rows", default=20_000, show_default=True, type=click.IntRange(2_000))
@click.option("--dimension", default=512, show_default=True, type=click.IntRange(2, 4_000))
@click.option("--queries", default=30, show_default=True, type=click.IntRange(5))
def main(rows: int, dimension: int, queries: int) -> None:
    """Pages: the first, the second, and the later ones, of 20 hits."""
    everything = clustered(rows + queries + WARM_UP, dimension)
    with scratch_database() as url, scratch_redis() as redis:
        settings = Settings()
        writing = create_engine(url)
        collection = fill(writing, everything[:rows])
        writing.dispose()
        engine = search_engine(url, settings, "clipgres bench")
        encoders = Prepared(everything[rows:])
        fetcher = Fetcher(settings)
        decoders = Decoders(settings, processes=1)
        paged, unpaged = (Searcher(engine, encoders, fetcher, decoders, settings, kept) for kept in (redis, None))
        times = measure(paged, unpaged, queries)
        sizes = [
            statistics.median(redis.strlen(key) for key in redis.keys(f"clipgres:pages:{kind}:*"))
            for kind in ("search", "ranking")
        ]
        by_index = list(rankings(engine, collection, everything[rows:]))
        fetcher.close()
        engine.dispose()
    show(times, f"{rows:,} rows of {dimension} dimensions, pages of 20, {queries} queries")
    click.echo(f"kept a search: {sizes[0]:,.0f} bytes; and from its second page on: {sizes[1]:,.0f} bytes")
    for line in by_index:
        click.echo(line)


@contextmanager
def scratch_redis() -> Iterator[Redis]:
    """A client of an empty Redis with the product's own parameters, which is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="clipgres-bench-", dir="/tmp") as folder:
        Path(folder).chmod(0o711)
        settings = Settings(home=Path(folder))
        prepare_redis(settings)
        server = RunningChild(redis_child(settings))
        try:
            wait(server)
            with Redis.from_url(embedded_redis_url(settings)) as client:
                yield client
        finally:
            server.stop()


def measure(paged: Searcher, unpaged: Searcher, queries: int) -> dict[str, list[float]]:
    """Ask every query with and without pages, in turn, then turn its pages; the seconds by what took them."""
    times: dict[str, list[float]] = defaultdict(list)
    for number in range(-WARM_UP, queries):
        request = parse_request({"text": f"query {number % queries}"})
        for searcher in (paged, unpaged):
            searcher.search(request)  # so that both have the text's vector in memory
        pages, without = pages_of(paged, unpaged, request, paged_first=number % 2 == 0)
        if number >= 0:
            times[WITHOUT].append(without)
            times[FIRST].append(pages[0])
            times[SECOND].append(pages[1])
            times[LATER] += pages[2:]
            times[TWENTIETH].append(pages[19])
    return times


def pages_of(
    paged: Searcher, unpaged: Searcher, request: SearchRequest, *, paged_first: bool
) -> tuple[list[float], float]:
    """How long each page took, and the search without pages."""
    without = 0.0 if paged_first else timed(unpaged, request)[1]
    answer, took = timed(paged, request)
    without = without or timed(unpaged, request)[1]
    pages = [took]
    while len(pages) < PAGES:
        answer, took = timed(paged, parse_request({"cursor": answer.next}))
        pages.append(took)
    return pages, without


def timed(searcher: Searcher, request: SearchRequest) -> tuple[Answer, float]:
    """The answer, and how long it took."""
    started_at = time.perf_counter()
    answer = searcher.search(request)
    return answer, time.perf_counter() - started_at


def rankings(engine: Engine, collection: Collection, queries: Vectors) -> Iterator[str]:
    """What the ranking of all pages takes by exact search and by the index, and how much of it the index finds."""
    for name, condition in {"no filter": {}, "a filter of 10 %": {"in_10": True}}.items():
        taken: dict[bool, list[float]] = {False: [], True: []}
        shares = []
        for query in queries[:RANKED_QUERIES]:
            request = parse_request({"text": "-", "filter": condition, "top_k": RANKED_ROWS})
            wanted = wanted_of(request, QueryVector(vector=query), collection, compile_filter(condition), Settings())
            found = {}
            for by_index, times in taken.items():
                started_at = time.perf_counter()
                found[by_index] = scan(engine, wanted, by_index=by_index)["id"]
                times.append(time.perf_counter() - started_at)
            shares.append(np.isin(found[False], found[True]).mean())
        exact, index = (statistics.median(times) * 1000 for times in taken.values())
        share = statistics.mean(shares)
        yield f"the ranking of all pages, {name}: exact {exact:.0f} ms; index {index:.0f} ms, {share:.0%} of its rows"


def show(times: Mapping[str, Sequence[float]], title: str) -> None:
    """Print the table."""
    first = statistics.median(times[FIRST])
    table = Table("what", "p50 ms", "p95 ms", "to page 1", title=title)
    for name, taken in times.items():
        p50, p95 = statistics.median(taken), statistics.quantiles(taken, n=20)[-1]
        table.add_row(name, f"{p50 * 1000:.2f}", f"{p95 * 1000:.2f}", f"{p50 / first:.2f}")
    Console().print(table)
