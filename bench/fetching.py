"""Fetching: pictures a second by the safe fetcher, decoded, beside what a plain download and decode gives."""

from __future__ import annotations

import json
import platform
import statistics
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BytesIO

import click
import requests
import urllib3
from PIL import Image
from rich.console import Console
from rich.table import Table

from bench.photos import DISTINCT, PictureSite, picture_site
from bench.stages import Cost, cores, metered
from clipgres.decoding.pool import Decoders
from clipgres.fetching import Fetcher
from clipgres.processor_config import read_preprocessing
from clipgres.settings import Settings

PREPROCESSING = read_preprocessing({}, 224, "bench")

PLAIN, SAFE, CARELESS = "requests + Pillow", "clipgres", "urllib3 + our decoders"
BARE, OURS = "urllib3, not decoded", "clipgres, not decoded"
NEW_HOSTS, NEW_HOSTS_CARELESS = "clipgres, each on a new host", "the same without robots.txt"
# What is compared with what, and how much of its speed must be left.
RATIOS: dict[str, tuple[str, str, float | None]] = {
    "safe fetching and decoding of plain": (SAFE, PLAIN, 0.85),
    "with robots.txt and address checks of without": (SAFE, CARELESS, 0.90),
    "the same, not decoded": (OURS, BARE, None),
    "with robots.txt of without, when no host comes twice": (NEW_HOSTS, NEW_HOSTS_CARELESS, None),
}

Get = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Figures:
    """What so many pictures cost in each way, once a round; CPU time is that of every process, the web's as well."""

    pictures: int
    costs: Mapping[str, Sequence[Cost]]

    def per_second(self, way: str) -> list[float]:
        """Pictures a second."""
        return [self.pictures / cost.seconds for cost in self.costs[way]]

    def cpu_ms(self, way: str) -> list[float]:
        """CPU milliseconds a picture."""
        return [cost.cpu_seconds / self.pictures * 1000 for cost in self.costs[way]]

    def speed_ratios(self, ours: str, theirs: str) -> list[float]:
        """One in each round: both were measured within seconds of each other."""
        return [a / b for a, b in zip(self.per_second(ours), self.per_second(theirs), strict=True)]

    def cpu_ratio(self, ours: str, theirs: str) -> float:
        """Of the medians: what else runs on the machine changes it less than it does the speed."""
        return statistics.median(self.cpu_ms(ours)) / statistics.median(self.cpu_ms(theirs))


@click.command()
@click.option("--pictures", default=512, show_default=True, type=click.IntRange(16), help="In each round.")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1))
@click.option("--threads", default=32, show_default=True, type=click.IntRange(1, 512))
@click.option("--latency-ms", default=0.0, show_default=True, type=click.FloatRange(0), help="Of the server.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the table.")
def main(pictures: int, rounds: int, threads: int, latency_ms: float, as_json: bool) -> None:
    """Fetching: the safe fetcher with decoding, beside a plain download."""
    costs: dict[str, list[Cost]] = {}
    with picture_site(latency_ms / 1000) as site, ways_to_get(site, threads) as ways:
        for turn in range(rounds + 1):
            for name, get in ways.items():
                cost = cost_of(get, urls(site, name, f"{turn}", pictures), threads)
                # The first round warms up: connections, decoder processes, what robots.txt says.
                costs.setdefault(name, []).extend([cost] if turn else [])
    figures = Figures(pictures, costs)
    if as_json:
        click.echo(json.dumps(as_object(figures, threads, latency_ms), indent=2))
    else:
        title = f"{pictures:,} JPEGs a round, {threads} threads, {cores()} cores, {latency_ms:g} ms of latency"
        show(figures, title)


@contextmanager
def ways_to_get(site: PictureSite, threads: int) -> Iterator[Mapping[str, Get]]:
    """Every way to get a picture, by its name."""
    settings = Settings(fetch_allow="127.0.0.0/8", fetch_threads=threads)
    careless = settings.model_copy(update={"fetch_robots": False})

    def resolve(host: str) -> list[str]:
        return [site.addresses[int(host.split(".")[1])].removeprefix("http://").split(":")[0]]

    with ExitStack() as stack:
        fetcher, new_hosts, new_hosts_careless = (
            stack.enter_context(Fetcher(each, resolve)) for each in (settings, settings, careless)
        )
        decoders = stack.enter_context(Decoders(settings))
        pools = urllib3.PoolManager(num_pools=2 * threads, maxsize=threads)
        stack.callback(pools.clear)
        local = threading.local()

        def plain(url: str) -> object:
            session = local.__dict__.setdefault("session", requests.Session())
            picture = Image.open(BytesIO(session.get(url, timeout=10).content))
            return picture.convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)

        yield {
            PLAIN: plain,
            SAFE: lambda url: decoders.picture(fetcher.fetch(url).body, PREPROCESSING),
            CARELESS: lambda url: decoders.picture(pools.request("GET", url).data, PREPROCESSING),
            BARE: lambda url: pools.request("GET", url).data,
            OURS: fetcher.fetch,
            NEW_HOSTS: new_hosts.fetch,
            NEW_HOSTS_CARELESS: new_hosts_careless.fetch,
        }


def urls(site: PictureSite, way: str, run: str, pictures: int) -> list[str]:
    """Links to pictures spread over the site's hosts, or each on a host that no other run names."""
    found = []
    for row in range(pictures):
        index = row % len(site.addresses)
        address = site.addresses[index]
        if way in (NEW_HOSTS, NEW_HOSTS_CARELESS):
            address = f"http://n{run}-{row}.{index}.test:{address.rpartition(':')[2]}"
        found.append(f"{address}/picture/{row % DISTINCT}.jpg?run={run}&row={row}")
    return found


def cost_of(get: Get, links: Sequence[str], threads: int) -> Cost:
    """What it takes to get them all."""
    with ThreadPoolExecutor(threads) as pool:
        return metered(lambda: list(pool.map(get, links)))[1]


def as_object(figures: Figures, threads: int, latency_ms: float) -> dict[str, object]:
    """All figures, of each round."""
    return {
        "pictures": figures.pictures,
        "threads": threads,
        "cores": cores(),
        "machine": platform.machine(),
        "latency_ms": latency_ms,
        "per_second": {way: [round(each, 1) for each in figures.per_second(way)] for way in figures.costs},
        "cpu_ms": {way: [round(each, 3) for each in figures.cpu_ms(way)] for way in figures.costs},
        "ratios": {
            name: {
                "speed": [round(each, 3) for each in figures.speed_ratios(ours, theirs)],
                "cpu": round(figures.cpu_ratio(ours, theirs), 3),
                "goal": goal,
            }
            for name, (ours, theirs, goal) in RATIOS.items()
        },
    }


def show(figures: Figures, title: str) -> None:
    """Print the speeds, and the ratios with their ranges."""
    table = Table("way", "pictures/s", "range", "CPU ms a picture", title=title)
    for way in figures.costs:
        speeds, cpu_ms = figures.per_second(way), statistics.median(figures.cpu_ms(way))
        table.add_row(
            way, f"{statistics.median(speeds):.0f}", f"{min(speeds):.0f} to {max(speeds):.0f}", f"{cpu_ms:.2f}"
        )
    Console().print(table)
    for name, (ours, theirs, goal) in RATIOS.items():
        each = figures.speed_ratios(ours, theirs)
        wish = f", goal {goal:.2f}" if goal else ""
        median, cpu = statistics.median(each), figures.cpu_ratio(ours, theirs)
        Console().print(
            f"{name}: {median:.2f} ({min(each):.2f} to {max(each):.2f}){wish}; CPU time {cpu:.2f}", soft_wrap=True
        )
