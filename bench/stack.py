"""Stack: the gallery from `add` to searchable, searches over HTTP, and the memory of the whole tree of processes."""

from __future__ import annotations

import re
import statistics
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from http.client import HTTPConnection
from json import dumps
from pathlib import Path
from urllib.parse import urlsplit

import click
import psutil
from rich.console import Console
from rich.table import Table

from clipgres import collections
from clipgres.batches import progress
from clipgres.cli.tools import Tools
from clipgres.database import transaction
from clipgres.destination import destination
from clipgres.enqueue import enqueue
from clipgres.lists import open_list
from clipgres.servers.stack import Stack, run_stack
from clipgres.settings import Settings
from demo.site import GallerySite, gallery_site

POLL_S = 0.1
PSS = re.compile(r"^Pss:\s+(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True)
class Figures:
    """Seconds, milliseconds a search (median, 95th percentile), and megabytes before and after."""

    idle_mb: float
    searchable_s: float
    new_ms: tuple[float, float]
    repeated_ms: tuple[float, float]
    used_mb: float


@click.command()
@click.option("--searches", default=300, show_default=True, type=click.IntRange(10))
def main(searches: int) -> None:
    """Stack: `clipgres up` with tiny-clip, the gallery imported and searched over HTTP."""
    with tempfile.TemporaryDirectory(prefix="clipgres-bench-", dir="/tmp") as folder, gallery_site() as site:
        Path(folder).chmod(0o711)
        home = Path(folder) / "home"
        settings = Settings(
            home=home, model="tiny-clip", fetch_allow="127.0.0.0/8", fetch_per_host=16, retry_base_s=0.5
        )
        run_stack(settings, 0, on_ready=lambda stack: show(measure(stack, site, searches)), stay=False)


def measure(stack: Stack, site: GallerySite, searches: int) -> Figures:
    """Import, search and weigh a stack that is ready."""
    idle_mb = tree_mb()
    searchable_s = seconds_to_searchable(stack, site)
    texts = [caption for picture in site.pictures for caption in picture.captions][:searches]
    new_ms, repeated_ms = search_all(stack.url, texts), search_all(stack.url, texts)
    return Figures(idle_mb, searchable_s, new_ms, repeated_ms, tree_mb())


def seconds_to_searchable(stack: Stack, site: GallerySite) -> float:
    """Add the gallery's list and wait until each of its links came to its end."""
    path = stack.settings.home / "list.tsv"
    site.write_list(path)
    tools = Tools(stack.settings)
    started = time.perf_counter()
    target = destination(tools.engine, collections.DEFAULT, tools.encoders)
    limit = stack.settings.caption_max_chars
    batch = enqueue(tools.engine, target, open_list(path, caption_max_chars=limit)).batch
    while True:
        with transaction(tools.engine) as connection:
            if progress(connection, batch).ok == len(site.pictures):
                return time.perf_counter() - started
        time.sleep(POLL_S)


def search_all(url: str, texts: Iterable[str]) -> tuple[float, float]:
    """Search each text over one connection; the median and the 95th percentile in milliseconds."""
    connection = HTTPConnection(urlsplit(url).netloc, timeout=60)
    took = []
    for text in ["warm up", *texts]:
        started = time.perf_counter()
        body = dumps({"text": text, "top_k": 20})
        connection.request("POST", "/api/search", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        assert response.status == 200, response.read()
        response.read()
        took.append((time.perf_counter() - started) * 1_000)
    connection.close()
    return statistics.median(took[1:]), statistics.quantiles(took[1:], n=20)[-1]


def tree_mb() -> float:
    """The memory of this process and all its children in megabytes, shared pages counted once (PSS)."""
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return sum(_pss_kb(process.pid) for process in processes) / 1_024


def _pss_kb(pid: int) -> int:
    found = PSS.search(Path(f"/proc/{pid}/smaps_rollup").read_text("ascii"))
    return int(found[1]) if found else 0


def show(figures: Figures) -> None:
    """Print the figures beside their goals."""
    table = Table("what", "measured", "goal", title="clipgres up, tiny-clip, 1,000 pictures of the gallery")
    table.add_row("memory idle, this program included", f"{figures.idle_mb:,.0f} MB", "under 1,500 MB")
    table.add_row("from add to searchable", f"{figures.searchable_s:.1f} s", "under 60 s")
    for name, (median, high) in (("new text", figures.new_ms), ("repeated text", figures.repeated_ms)):
        table.add_row(f"search over HTTP, {name}", f"p50 {median:.1f} ms, p95 {high:.1f} ms", "p50 under 25 ms")
    table.add_row("memory after that", f"{figures.used_mb:,.0f} MB", "")
    Console().print(table)
