"""Decoding: pictures a second in child processes, as a worker decodes, beside threads of the process itself."""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from io import BytesIO

import click
from PIL import Image
from rich.console import Console
from rich.table import Table

from bench.photos import photo
from bench.stages import Cost, cores, metered
from clipgres.decoding.decode import decode, thumbnail
from clipgres.decoding.pool import Decoders
from clipgres.processor_config import read_preprocessing
from clipgres.settings import Settings

# Each with how many of it one round decodes.
KINDS = {
    ("JPEG", 160, 120): 600,
    ("JPEG", 640, 480): 300,
    ("JPEG", 1280, 960): 200,
    ("JPEG", 4000, 3000): 40,
    ("PNG", 640, 480): 200,
    ("WEBP", 640, 480): 200,
    ("AVIF", 640, 480): 150,
}
DISTINCT = 8
THREADS, PROCESSES = "threads", "processes"
PREPROCESSING = read_preprocessing({}, 224, "bench")

Kind = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Round:
    """What decoding so many pictures took in either way."""

    pictures: int
    costs: dict[str, Cost]

    def per_second(self, way: str) -> float:
        """Pictures a second."""
        return self.pictures / self.costs[way].seconds

    def cpu_ms(self, way: str) -> float:
        """CPU milliseconds a picture, of this process and its children."""
        return self.costs[way].cpu_seconds / self.pictures * 1000


@click.command()
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the table.")
def main(rounds: int, as_json: bool) -> None:
    """Decoding in child processes, beside threads."""
    settings = Settings()
    results = {}
    with Decoders(settings, processes=cores()) as decoders:
        for kind in KINDS:
            results[kind] = measure(kind, rounds, settings, decoders)
    if as_json:
        click.echo(json.dumps([as_object(kind, each) for kind, each in results.items()], indent=2))
    else:
        show(results)


def measure(kind: Kind, rounds: int, settings: Settings, decoders: Decoders) -> list[Round]:
    """Decode the same pictures in both ways, one after the other, in turn."""

    def in_thread(body: bytes) -> None:
        decoded = decode(body, settings)
        hashlib.sha256(body).digest()
        thumbnail(decoded.image)
        PREPROCESSING.prepare(decoded.image)

    def in_process(body: bytes) -> None:
        decoders.picture(body, PREPROCESSING, thumbnail=True)

    ways: dict[str, Callable[[bytes], None]] = {THREADS: in_thread, PROCESSES: in_process}
    bodies = [encoded(kind, number) for number in range(DISTINCT)]
    work = [bodies[number % DISTINCT] for number in range(KINDS[kind])]
    with ThreadPoolExecutor(2 * cores()) as pool:
        for way in ways.values():
            list(pool.map(way, bodies * 2))
        return [_round(pool, dict(reversed(ways.items())) if number % 2 else ways, work) for number in range(rounds)]


def _round(pool: ThreadPoolExecutor, ways: dict[str, Callable[[bytes], None]], work: Sequence[bytes]) -> Round:
    costs = {}
    for name, way in ways.items():
        _, costs[name] = metered(partial(_all, pool, way, work))
    return Round(len(work), costs)


def _all(pool: ThreadPoolExecutor, way: Callable[[bytes], None], work: Sequence[bytes]) -> None:
    list(pool.map(way, work))


def encoded(kind: Kind, number: int) -> bytes:
    """A photo of this format and size."""
    form, width, height = kind
    stream = BytesIO()
    with Image.open(BytesIO(photo(number))) as picture:
        picture.resize((width, height)).save(stream, form, quality=85)
    return stream.getvalue()


def as_object(kind: Kind, rounds: Sequence[Round]) -> dict[str, object]:
    """All figures of one kind of picture."""

    def figures(each: Round, way: str) -> dict[str, float]:
        return {"per_second": round(each.per_second(way), 1), "cpu_ms": round(each.cpu_ms(way), 2)}

    return {
        "format": kind[0],
        "width": kind[1],
        "height": kind[2],
        "cores": cores(),
        **{way: [figures(each, way) for each in rounds] for way in (THREADS, PROCESSES)},
        "ratio": round(_ratio(rounds), 3),
    }


def _ratio(rounds: Sequence[Round]) -> float:
    return statistics.median(each.per_second(PROCESSES) / each.per_second(THREADS) for each in rounds)


def show(results: dict[Kind, list[Round]]) -> None:
    """Print the table: medians of the rounds."""
    count = len(next(iter(results.values())))
    title = f"Decode, hash, thumbnail and the model's square, {cores()} cores, median of {count} rounds"
    columns = [f"{what}\n{way}" for what in ("images/s", "CPU ms") for way in (THREADS, PROCESSES)]
    table = Table("picture", *columns, "processes\n/ threads", title=title)
    for (form, width, height), rounds in results.items():
        speeds = [statistics.median(each.per_second(way) for each in rounds) for way in (THREADS, PROCESSES)]
        costs = [statistics.median(each.cpu_ms(way) for each in rounds) for way in (THREADS, PROCESSES)]
        cells = [f"{speed:.0f}" for speed in speeds] + [f"{cost:.2f}" for cost in costs]
        table.add_row(f"{form} {width} x {height}", *cells, f"{_ratio(rounds):.2f}")
    Console().print(table)
