"""Ingest: images a second from links to searchable rows, beside what the stages' own CPU time allows on these cores."""

from __future__ import annotations

import json
import platform
import statistics
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
import psutil
from rich.console import Console
from rich.table import Table

from bench.database import scratch_database
from bench.photos import ENDS, PictureSite, picture_site
from bench.stages import Cost, Pipeline, cores
from clipgres.database import create_engine
from clipgres.decoding.pool import Decoders
from clipgres.encoder import LazyEncoder
from clipgres.errors import ClipgresError
from clipgres.fetching import Fetcher
from clipgres.fetching.addresses import AddressPolicy
from clipgres.model_files import TINY
from clipgres.settings import Settings
from worker.breaker import Breaker
from worker.network import Network
from worker.tools import Tools

FULL = "vit-b-32"
GOAL = 0.75
WARM_UP_PICTURES = 64


@dataclass(frozen=True, slots=True)
class Round:
    """One measurement of so many pictures: each stage alone, and all of them together."""

    pictures: int
    alone: dict[str, Cost]
    together: Cost

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds a picture of all stages, each alone."""
        return sum(cost.cpu_seconds for cost in self.alone.values()) / self.pictures * 1000

    @property
    def allowed(self) -> float:
        """Pictures a second if the cores did nothing else and never waited."""
        return cores() * 1000 / self.cpu_ms

    @property
    def ratio(self) -> float:
        """The speed together as a share of what is allowed."""
        return self.pictures / self.together.seconds / self.allowed


@click.command()
@click.option("--pictures", default=512, show_default=True, type=click.IntRange(16), help="Live ones in each round.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@click.option("--model", default=FULL, show_default=True, type=click.Choice([FULL, TINY]))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the table.")
def main(pictures: int, rounds: int, model: str, as_json: bool) -> None:
    """Ingest: links to searchable rows, beside each stage alone."""
    try:
        with picture_site() as site, pipeline(model) as line:
            measure(site, line, "warm-up", WARM_UP_PICTURES)
            results = [measure(site, line, f"round-{number}", pictures) for number in range(rounds)]
    except ClipgresError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps(as_object(model, results), indent=2))
    else:
        show(model, results)


@contextmanager
def pipeline(model: str) -> Iterator[Pipeline]:
    """Everything that the worker's pipeline needs, in its own settings but for the model and the network."""
    with tempfile.TemporaryDirectory(prefix="clipgres-bench-") as temporary, scratch_database() as url:
        folder = Path(temporary)
        settings = Settings(home=folder, model=_model(model, folder), fetch_allow="127.0.0.0/8")
        engine = create_engine(url, pool_size=8)
        with Fetcher(settings) as fetcher, Decoders(settings) as decoders:
            network = Network(AddressPolicy.from_setting(settings.fetch_allow).allowed)
            tools = Tools(
                engine=engine,
                fetch=fetcher.fetch,
                decoders=decoders,
                network=network,
                breaker=Breaker(engine, network, settings),
                settings=settings,
            )
            yield Pipeline(LazyEncoder(settings).load(), tools, folder)
        engine.dispose()


def _model(name: str, folder: Path) -> str:
    """A full-size model with random weights is as slow as a trained one; made here, since it is 600 MB."""
    if name == TINY:
        return TINY
    # In a process of its own: torch must be loaded here as the worker loads it, with the encoder.
    maker = get_context("spawn").Process(target=_make_model, args=(folder / FULL,))
    maker.start()
    maker.join()
    if maker.exitcode:
        raise ClipgresError(f"no model could be made in {folder}: see the error above")
    return str(folder / FULL)


def _make_model(folder: Path) -> None:
    import_module("transformers.utils.logging").disable_progress_bar()
    import_module("tests.models").write_full_size_clip(folder)


def measure(site: PictureSite, line: Pipeline, name: str, pictures: int) -> Round:
    """Measure each stage and the whole, on rows of their own.

    Raises:
        ClipgresError: jobs did not end as they must: what was measured was something else.
    """
    alone = line.alone(f"{name}-alone", list(site.rows(f"{name}-alone", pictures)))
    rows = site.rows(name, pictures)
    ends, together = line.together(name, list(rows))
    expected = Counter(ENDS[kind] for kind in rows.values())
    if ends != expected:
        hint = "; pending ones were put off, since this machine was too busy with other work" if ends["pending"] else ""
        raise ClipgresError(f"the jobs ended as {dict(ends)}, not as {dict(expected)}{hint}")
    return Round(pictures, alone, together)


def as_object(model: str, rounds: Sequence[Round]) -> dict[str, Any]:
    """All figures, of each round."""
    return {
        "model": model,
        "cores": cores(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "machine": platform.machine(),
        "rounds": [
            {
                "pictures": each.pictures,
                "alone": {name: _figures(cost, each.pictures) for name, cost in each.alone.items()},
                "together": _figures(each.together, each.pictures),
                "cpu_ms": round(each.cpu_ms, 2),
                "allowed_per_second": round(each.allowed, 1),
                "ratio": round(each.ratio, 3),
            }
            for each in rounds
        ],
        "ratio": round(statistics.median(each.ratio for each in rounds), 3),
        "goal": GOAL,
    }


def _figures(cost: Cost, pictures: int) -> dict[str, float]:
    return {
        "per_second": round(pictures / cost.seconds, 1),
        "cpu_ms": round(cost.cpu_seconds / pictures * 1000, 2),
        "cores_busy": round(cost.cpu_seconds / cost.seconds, 2),
        "cores_busy_elsewhere": round(cost.others_cpu_seconds / cost.seconds, 2),
    }


def show(model: str, rounds: Sequence[Round]) -> None:
    """Print the table: the median of the rounds, and the range of what counts."""
    count = rounds[0].pictures
    title = f"{model}, {count:,} pictures and three dead links in ten rows, {cores()} cores, median of {len(rounds)}"
    table = Table("stage", "images/s", "CPU ms an image", "cores busy", "elsewhere", title=title)
    for name in rounds[0].alone:
        table.add_row(f"{name} alone", *_medians([each.alone[name] for each in rounds], count))
    allowed, cpu_ms = (statistics.median(getattr(each, name) for each in rounds) for name in ("allowed", "cpu_ms"))
    table.add_row("their CPU time allows", f"{allowed:.1f}", f"{cpu_ms:.2f}", f"{cores():.2f}", "")
    table.add_section()
    table.add_row("end to end", *_medians([each.together for each in rounds], count))
    ratios = [each.ratio for each in rounds]
    Console().print(table)
    Console().print(
        f"end to end / allowed: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}), goal {GOAL}"
    )


def _medians(costs: Sequence[Cost], pictures: int) -> list[str]:
    figures = [_figures(cost, pictures) for cost in costs]
    median = {name: statistics.median(figure[name] for figure in figures) for name in figures[0]}
    return [f"{median.pop('per_second'):.1f}", *(f"{value:.2f}" for value in median.values())]
