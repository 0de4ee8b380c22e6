"""Fuzzing: pictures with bent bytes through decoder processes, none of which may crash, hang or say what is unknown."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from bench.mutations import mutated
from bench.stages import cores
from clipgres.decoding.pool import Decoders
from clipgres.errors import ImageError
from clipgres.processor_config import read_preprocessing
from clipgres.reasons import Reason
from clipgres.settings import Settings

PREPROCESSING = read_preprocessing({}, 224, "bench")
PORTION = 1_000
CLOSED = {
    Reason.NOT_AN_IMAGE, Reason.TRUNCATED, Reason.BROKEN_IMAGE, Reason.TOO_MANY_PIXELS, Reason.TOO_SMALL,
    Reason.BAD_ASPECT,
}  # fmt: skip


@dataclass(slots=True)
class Findings:
    """How often each end was met; `trouble` is by what was said, with the numbers of those that led to it."""

    images: int = 0
    seconds: float = 0.0
    ends: Counter[str] = field(default_factory=Counter)
    trouble: dict[str, list[int]] = field(default_factory=dict)
    died: int = 0
    hung: int = 0
    short_of_memory: int = 0
    unknown: int = 0
    peak_mb: float = 0.0

    def note(self, number: int, end: str | Exception) -> None:
        """Count one more."""
        self.images += 1
        if isinstance(end, ImageError) and end.reason in CLOSED:
            end = end.reason.value
        if isinstance(end, str):
            self.ends[end] += 1
            return
        said = str(end) if isinstance(end, ImageError) else repr(end)
        is_decoders = isinstance(end, ImageError) and end.reason is Reason.DECODER_FAILED
        if not is_decoders:
            self.unknown += 1
        elif "longer than" in said:
            self.hung += 1
        elif "not enough memory" in said:
            self.short_of_memory += 1
        else:
            self.died += 1
        self.trouble.setdefault(said, []).append(number)

    @property
    def is_clean(self) -> bool:
        """Whether nothing crashed, hung or was unknown."""
        return not (self.died or self.hung or self.unknown)


@click.command()
@click.option("--images", default=20_000, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=1, show_default=True, help="Another one gives other pictures.")
@click.option("--keep", type=click.Path(file_okay=False, path_type=Path), help="Write what made trouble here.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the table.")
def main(images: int, seed: int, keep: Path | None, as_json: bool) -> None:
    """Fuzzing: pictures with bent bytes through decoder processes."""
    with Decoders(Settings(), processes=cores()) as decoders:
        found = fuzz(decoders, seed, images)
    if keep:
        keep.mkdir(parents=True, exist_ok=True)
        for number in (each for numbers in found.trouble.values() for each in numbers):
            (keep / f"{seed}-{number}").write_bytes(mutated(seed, number)[1])
    if as_json:
        click.echo(json.dumps(asdict(found), indent=2))
    else:
        show(found, seed)
    if not found.is_clean:
        raise SystemExit(1)


def fuzz(decoders: Decoders, seed: int, images: int) -> Findings:
    """Decode so many mutations and count how they end."""
    found = Findings()
    started = time.monotonic()
    with ThreadPoolExecutor(2 * cores()) as pool:
        for first in range(0, images, PORTION):
            numbers = range(first, min(first + PORTION, images))
            for number, end in zip(numbers, pool.map(lambda each: _end(decoders, seed, each), numbers), strict=True):
                found.note(number, end)
            found.peak_mb = max([found.peak_mb, *_peaks_mb(decoders)])
    found.seconds = time.monotonic() - started
    return found


def _end(decoders: Decoders, seed: int, number: int) -> str | Exception:
    try:
        picture = decoders.picture(mutated(seed, number)[1], PREPROCESSING, thumbnail=True)
    except Exception as error:
        return error
    return "decoded" if picture.pixels.shape == (224, 224, 3) else "a square that is none"


def _peaks_mb(decoders: Decoders) -> Iterator[float]:
    """The most memory that each decoder of now has used."""
    for pid in decoders.pids():
        with suppress(FileNotFoundError, ProcessLookupError):
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            yield from (int(line.split()[1]) / 1_000 for line in lines if line.startswith("VmHWM"))


def show(found: Findings, seed: int) -> None:
    """Print how many ended how, and what must not have been."""
    speed = found.images / found.seconds
    table = Table("end", "images", title=f"{found.images:,} mutated pictures, seed {seed}, {speed:,.0f} images/s")
    for name, count in found.ends.most_common():
        table.add_row(name, f"{count:,}")
    table.add_section()
    table.add_row("decoders that died", f"{found.died:,}")
    table.add_row("decoders that hung", f"{found.hung:,}")
    table.add_row("outside the closed list", f"{found.unknown:,}")
    table.add_row("short of memory", f"{found.short_of_memory:,}")
    Console().print(table)
    Console().print(f"most memory of a decoder: {found.peak_mb:,.0f} MB")
    for said, numbers in found.trouble.items():
        Console().print(f"{said}: {numbers}")
