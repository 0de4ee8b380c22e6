"""How results look to people: tables, counts, sizes and times, and one JSON document for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table


def stdout() -> Console:
    """The console of results; wide when it is not a terminal, so that a pipe gets whole lines."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=200)


def stderr() -> Console:
    """The console of progress and notes."""
    return Console(stderr=True, highlight=False)


def print_json(document: Any) -> None:
    """Print one JSON document and nothing else."""
    click.echo(json.dumps(document, ensure_ascii=False, indent=2, default=str))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()) -> Table:
    """Make a plain table; `right` names the columns of numbers."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(_printable(str(cell)) for cell in row))
    return made


def count(number: int) -> str:
    """15833 as people read it: 15,833."""
    return f"{number:,}"


def size(number: float) -> str:
    """Bytes as people read them: 4.2 MB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1_000:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1_000
    return f"{number:.1f} TB"


def duration(seconds: float) -> str:
    """Seconds as people read them: 8 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3_600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3_600} h {whole % 3_600 // 60} min"


def percent(score: float) -> str:
    """A cosine similarity as people read it: 0.314 is 31 %."""
    return f"{max(0, round(score * 100))} %"


def _printable(cell: str) -> str:
    """Text of strangers goes to a terminal: no control character may move its cursor, no [tag] may style it."""
    visible = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in cell)
    return visible.replace("[", r"\[")
