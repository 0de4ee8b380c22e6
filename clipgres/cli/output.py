"""Where results go: tables for people on stdout, notes on stderr, one JSON document for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from clipgres.plain_text import printable
from clipgres.reasons import Reason
from clipgres.wording import count


def stdout() -> Console:
    """The console of results; wide when it is not a terminal, so that a pipe gets whole lines."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=200)


def stderr() -> Console:
    """The console of progress and notes."""
    return Console(stderr=True, highlight=False)


def note(line: str) -> None:
    """Write one line of progress or advice on stderr, as it is: a terminal wraps it where it must."""
    stderr().print(line, style="dim", markup=False, soft_wrap=True)


def print_json(document: Any) -> None:
    """Print one JSON document and nothing else."""
    click.echo(json.dumps(document, ensure_ascii=False, indent=2, default=str))


def pace(rate: float) -> str:
    """Images a second: 146 pictures/s, 0.4 pictures/s."""
    return f"{rate:.0f} pictures/s" if rate >= 10 else f"{rate:.1f} pictures/s"


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()) -> Table:
    """Make a plain table; `right` names the columns of numbers."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(_printable(str(cell)) for cell in row))
    return made


def reasons_table(failed_by_reason: Mapping[Reason, int]) -> Table:
    """How many pictures failed for which reason, and what it means."""
    rows = [(reason, count(images), reason.gloss) for reason, images in failed_by_reason.items()]
    return table(["reason", "pictures", "what it means"], rows, right=["pictures"])


def _printable(cell: str) -> str:
    """Text of strangers goes to a terminal: no control character may move its cursor, no [tag] may style it."""
    return printable(cell).replace("[", r"\[")
