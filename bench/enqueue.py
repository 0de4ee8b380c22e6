"""Enqueue: rows a second of a list, read alone and into the tables, and the memory that takes."""

from __future__ import annotations

import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine

from bench.database import scratch_database
from clipgres import collections
from clipgres.batches import progress
from clipgres.database import create_engine, transaction
from clipgres.enqueue import enqueue
from clipgres.lists import OpenedList, open_list
from clipgres.models import Space

SPACE = Space(model="bench", revision="0" * 40, preprocessing="none", dimension=512)
POLLS = 10


@click.command()
@click.option("--rows", default=20_000, show_default=True, type=click.IntRange(100))
@click.option("--list", "path", type=click.Path(exists=True, path_type=Path), help="A list of yours instead.")
def main(rows: int, path: Path | None) -> None:
    """Enqueue: a list read alone, added, and added again."""
    with tempfile.TemporaryDirectory(prefix="clipgres-bench-") as folder:
        if path is None:
            path = Path(folder) / "list.tsv"
            with path.open("w", encoding="utf-8") as stream:
                stream.writelines(lines(rows))
        with scratch_database() as url:
            engine = create_engine(url)
            show(measure(engine, open_list(path, caption_max_chars=10_000)))
            engine.dispose()


def lines(rows: int) -> Iterator[str]:
    """A list as people have them: one row in fifty says a URL again, one in a hundred is no row."""
    for number in range(rows):
        repeated = number - 7 if number % 50 == 49 else number
        host = f"images{repeated % 997}.example.org"
        url = f"https://{host}/photos/{repeated:08x}/a-dog-on-a-beach-{repeated}.jpg?size=640&v={repeated % 13}"
        yield "a line without an address\n" if number % 100 == 50 else f"a dog on a beach at dusk , {number}\t{url}\n"


def measure(engine: Engine, opened: OpenedList) -> list[tuple[str, str, str, str]]:
    """Time each step; the memory is this process's highest so far."""
    with transaction(engine) as connection:
        collection = collections.create(connection, "default", SPACE)
    results = []
    count, took = timed(lambda: sum(1 for _ in opened.read(0)))
    results.append(("read alone", f"{count / took:,.0f} rows/s", f"{took:.2f} s", peak()))
    for name in ("add", "add again"):
        added, took = timed(lambda: enqueue(engine, collection, opened))
        results.append((name, f"{count / took:,.0f} rows/s", f"{took:.2f} s", peak()))
    with transaction(engine) as connection:
        times = [timed(lambda: progress(connection, added.batch))[1] for _ in range(POLLS)]
    results.append(("progress of the batch", "", f"{statistics.median(times):.3f} s", peak()))
    return results


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What the work returns, and the seconds it took."""
    started = time.perf_counter()
    return work(), time.perf_counter() - started


def peak() -> str:
    """The highest memory of this process so far."""
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_000:.0f} MB"


def show(results: list[tuple[str, str, str, str]]) -> None:
    """Print the table."""
    table = Table("step", "speed", "took", "peak memory")
    for row in results:
        table.add_row(*row)
    Console().print(table)
