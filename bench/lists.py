"""Lists: a million lines into a durable database, killed and taken up again, and every form a list may have."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, text

from bench.database import scratch_database
from bench.enqueue import SPACE
from bench.listing import FORMS, PACKS, Expected, expected, write
from clipgres import collections
from clipgres.database import create_engine, transaction
from clipgres.enqueue import enqueue
from clipgres.lists import open_list
from clipgres.prepared import CHUNK_ROWS
from clipgres.wording import count, size

POLL_S = 0.02
LONGEST_CHUNK_S = 0.5
BOMB_PIECE_BYTES = 10_000_000

# What the tables hold of one batch; its images and captions are of no other, since each list has URLs of its own.
ROWS_SQL = text("""
    SELECT b.lines, b.accepted, b.merged, b.refused,
           (SELECT count(*) FROM clipgres.batch_job WHERE batch_id = b.id) AS batch_jobs,
           (SELECT count(*) FROM clipgres.job WHERE collection_id = b.collection_id) AS jobs,
           (SELECT count(*) FROM clipgres.batch_job bj JOIN clipgres.image im ON im.id = bj.image_id
            WHERE bj.batch_id = b.id) AS images,
           (SELECT count(*) FROM clipgres.batch_job bj JOIN clipgres.caption c USING (image_id)
            WHERE bj.batch_id = b.id) AS captions
    FROM clipgres.batch b
    JOIN clipgres.alias a USING (collection_id)
    WHERE a.name = :name
""")
LINES_SQL = text("""
    SELECT b.lines FROM clipgres.batch b JOIN clipgres.alias a USING (collection_id) WHERE a.name = :name
""")
SIZE_SQL = text("SELECT pg_database_size(current_database())")


@dataclass(frozen=True, slots=True)
class Run:
    """One run of `clipgres add`: how long it took, and the most memory it had."""

    took_s: float
    peak_bytes: int


@click.command()
@click.option(
    "--lines", default=100_000, show_default=True, type=click.IntRange(1_000), help="Lines of the large list."
)
@click.option("--kills", default=5, show_default=True, type=click.IntRange(0), help="Imports that are killed.")
@click.option("--bomb", default=100, show_default=True, type=click.IntRange(10), help="MB that a bomb unpacks to.")
@click.option("--seed", default=1, show_default=True)
def main(lines: int, kills: int, bomb: int, seed: int) -> None:
    """Lists: a large one imported, smaller ones killed and resumed, then each form, and packed lists that are bombs."""
    console = Console(width=140)
    with tempfile.TemporaryDirectory(prefix="clipgres-bench-") as folder, scratch_database({}) as url:
        bench = Lists(create_engine(url), url, Path(folder), random.Random(seed))
        console.print(bench.whole(lines))
        console.print(bench.drill(max(lines // 5, 50_000), kills))
        console.print(bench.forms(max(lines // 10, 20_000)))
        console.print(bench.bombs(bomb))
        bench.engine.dispose()


def finished(process: subprocess.Popen[bytes]) -> Run:
    """Wait for a run that was just started."""
    started = time.perf_counter()
    peak_bytes = 0
    while process.poll() is None:
        # What the system tells at the end counts this process too, as the memory the new one began as.
        peak_bytes = max(peak_bytes, highest_memory(process.pid))
        time.sleep(POLL_S)
    assert process.returncode == 0, f"clipgres add ended with {process.returncode}"
    return Run(time.perf_counter() - started, peak_bytes)


def highest_memory(pid: int) -> int:
    """The most memory a process has had since its program began."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) * 1_024 if found else 0


class Lists:
    """Imports lists, each into a collection of its own in one database whose writes are durable."""

    def __init__(self, engine: Engine, url: str, folder: Path, pick: random.Random) -> None:
        self.engine, self._url, self._folder, self._pick = engine, url, folder, pick
        self._made = 0

    def whole(self, lines: int) -> Table:
        """One large list by the command, undisturbed."""
        name, path = self._list("tsv", lines)
        run = finished(self._start(name, path))
        table = Table("lines", "list", "took", "speed", "peak memory", "database", "counts", title="One list")
        with transaction(self.engine) as connection:
            grown = connection.execute(SIZE_SQL).scalar_one()
        speed = f"{lines / run.took_s:,.0f} lines/s"
        counts = self._check(name, expected(lines))
        listed, memory = size(path.stat().st_size), size(run.peak_bytes)
        table.add_row(count(lines), listed, f"{run.took_s:.1f} s", speed, memory, size(grown), counts)
        path.unlink()
        return table

    def drill(self, lines: int, kills: int) -> Table:
        """Kill an import at a random line, start it again, and see whether every row is there once."""
        table = Table("kill -9 after", "of lines", "again took", "counts", "rows", title="Killed and taken up again")
        for _ in range(kills):
            name, path = self._list("tsv", lines)
            at = self._kill(name, path, self._pick.randrange(lines))
            run = finished(self._start(name, path))
            counts = self._check(name, expected(lines))
            rows = ", ".join(f"{count(found)} {what}" for what, found in self._rows(name).items() if what[-1] == "s")
            table.add_row(count(at), count(lines), f"{run.took_s:.1f} s", counts, rows)
            path.unlink()
        return table

    def forms(self, lines: int) -> Table:
        """The same lines in every form, by the function that the command calls."""
        table = Table("form", "size", "lines", "read", "read and written", "counts", title="Every form")
        for form in FORMS:
            name, path = self._list(form, lines)
            opened = open_list(path, caption_max_chars=10_000)
            started = time.perf_counter()
            read = sum(1 for _ in opened.read(0))
            read_s = time.perf_counter() - started
            with transaction(self.engine) as connection:
                collection = collections.find(connection, name)
            started = time.perf_counter()
            enqueue(self.engine, collection, opened)
            took_s = time.perf_counter() - started
            speeds = (f"{read / read_s:,.0f} lines/s", f"{lines / took_s:,.0f} lines/s")
            counts = self._check(name, expected(lines), has_header=form == "csv")
            table.add_row(form, size(path.stat().st_size), count(lines), *speeds, counts)
            path.unlink()
        return table

    def bombs(self, megabytes: int) -> Table:
        """One line of nothing that is far larger than the file it is packed in, read by a dry run."""
        table = Table("packed with", "size", "unpacked", "took", "peak memory", title="Bombs: each one refused line")
        for packing, pack in PACKS.items():
            path = self._folder / "bomb"
            path.write_bytes(pack(bytes(BOMB_PIECE_BYTES)) * (megabytes * 1_000_000 // BOMB_PIECE_BYTES))
            run = finished(self._command("add", str(path), "--dry-run"))
            sizes = (size(path.stat().st_size), size(megabytes * 1_000_000))
            table.add_row(packing, *sizes, f"{run.took_s:.1f} s", size(run.peak_bytes))
        return table

    def _list(self, form: str, lines: int) -> tuple[str, Path]:
        self._made += 1
        name = f"list{self._made}"
        with transaction(self.engine) as connection:
            collections.create(connection, name, SPACE)
        return name, write(self._folder / f"{name}.{form}", form, lines, seed=self._made)

    def _start(self, name: str, path: Path) -> subprocess.Popen[bytes]:
        return self._command("add", str(path), "--collection", name, "--json")

    def _command(self, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "clipgres.cli", *arguments]
        environment = {**os.environ, "CLIPGRES_DATABASE_URL": self._url, "CLIPGRES_HOME": str(self._folder)}
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def _kill(self, name: str, path: Path, line: int) -> int:
        """Kill an import somewhere in the chunk that holds the line; returns the lines that were counted by then."""
        process = self._start(name, path)
        while process.poll() is None and self._lines(name) < max(0, line - CHUNK_ROWS):
            time.sleep(POLL_S)
        time.sleep(self._pick.uniform(0, LONGEST_CHUNK_S))
        process.send_signal(signal.SIGKILL)
        process.wait()
        return max(0, self._lines(name))

    def _lines(self, name: str) -> int:
        """The lines that are counted; -1 before the import has begun."""
        with transaction(self.engine) as connection:
            lines: int | None = connection.execute(LINES_SQL, {"name": name}).scalar_one_or_none()
        return -1 if lines is None else lines

    def _rows(self, name: str) -> dict[str, int]:
        with transaction(self.engine) as connection:
            return dict(connection.execute(ROWS_SQL, {"name": name}).mappings().one())

    def _check(self, name: str, wanted: Expected, *, has_header: bool = False) -> str:
        """Whether one batch has exactly the counts and rows that the list holds."""
        found = self._rows(name)
        must = {
            "lines": wanted.lines + has_header,
            "accepted": wanted.accepted,
            "merged": wanted.merged,
            "refused": wanted.refused,
            "batch_jobs": wanted.accepted,
            "jobs": wanted.accepted,
            "images": wanted.accepted,
            "captions": wanted.captions,
        }
        wrong = {what: (found[what], must[what]) for what in must if found[what] != must[what]}
        return f"WRONG: {wrong}" if wrong else "exact"
