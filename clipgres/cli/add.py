"""`clipgres add`: take a list, and wait for its pictures if asked to."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict

import click
from rich.progress import BarColumn, Progress, TextColumn

from clipgres import batches, collections
from clipgres.cli.output import note, pace, print_json, reasons_table, stderr, stdout
from clipgres.cli.tools import Tools
from clipgres.collections import Collection
from clipgres.database import transaction
from clipgres.destination import destination
from clipgres.enqueue import Added, enqueue
from clipgres.errors import Unavailable
from clipgres.lists import FORMATS, OpenedList, RefusedLine, open_list, open_rows
from clipgres.wording import count, duration, many

POLL_S = 0.5
LONGEST_POLL_S = 10.0
SHOWN_REFUSALS = 20
STANDSTILL_S = 10
INTERRUPTED = 130  # what a shell says of a program that Ctrl-C ended


@click.command()
@click.argument("source", metavar="FILE|URL|-")
@click.option("--collection", default=collections.DEFAULT, show_default=True, help="Where to; made if it is new.")
@click.option(
    "--format", "format_", type=click.Choice(FORMATS), default="auto", show_default=True, help="What the list is."
)
@click.option("--caption", multiple=True, help="For a URL: what it shows; may be given again.")
@click.option("--wait", is_flag=True, help="Stay, with a progress bar, until every picture came to its end.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def add(
    tools: Tools, source: str, collection: str, format_: str, caption: tuple[str, ...], wait: bool, as_json: bool
) -> None:
    """Add pictures: a list, or one address.

    FILE is a list: TSV as Conceptual Captions has it (caption TAB url, no header), or CSV, JSONL or Parquet with
    named columns (url, caption, key, namespace; any other becomes metadata), gzip or not. - reads standard input,
    and a URL adds that one picture. A bad line is refused with its number and reason, and the rest goes on. Run it
    again after a break, and it goes on where it stopped.

    \b
    clipgres add list.tsv --wait
    zcat part-*.gz | clipgres add - --collection cc3m
    clipgres add https://example.org/dog.jpg --caption "a dog on a beach"
    """
    opened = _opened(tools, source, format_, caption)
    target = destination(
        tools.engine,
        collection,
        tools.encoders,
        on_made=lambda made: note(f"Made the collection {made.name}: {made.space.describe()}"),
    )
    with _interruption("Broken off. The same command goes on where it stopped."):
        added = _take(tools, target, opened, as_json)
    progress = None
    if wait:
        with _interruption(f"The workers go on without you. Follow it: clipgres status {added.batch}"):
            progress = _wait(tools, added.batch)
    if as_json:
        print_json(asdict(progress or added))
    elif progress:
        _show(progress)
    elif added.accepted or added.merged:
        note(f"Follow it: clipgres status {added.batch}")


@contextmanager
def _interruption(advice: str) -> Iterator[None]:
    """After Ctrl-C, say what becomes of the work."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo(f"\n{advice}", err=True)
        sys.exit(INTERRUPTED)


def _opened(tools: Tools, source: str, format_: str, captions: tuple[str, ...]) -> OpenedList:
    limit = tools.settings.caption_max_chars
    if "://" in source:
        return open_rows([{"url": source, "captions": list(captions)}], source, caption_max_chars=limit)
    if captions:
        raise click.UsageError("--caption goes with a URL; a list has captions of its own")
    if source == "-" and sys.stdin is None:
        raise click.UsageError("standard input is closed: send the list there, or name a file")
    return open_list(source, format_, caption_max_chars=limit)


def _take(tools: Tools, target: Collection, opened: OpenedList, as_json: bool) -> Added:
    refused = _Refusals()
    with stderr().status("Reading ...") as status:
        on_progress: Callable[[Added], None] = lambda added: status.update(f"Reading ... {many(added.lines, 'line')}")  # noqa: E731
        added = enqueue(tools.engine, target, opened, on_progress=on_progress, on_refused=refused)
    if added.resumed_at:
        note(f"Went on after line {count(added.resumed_at)} of the same list.")
    counts = f"{count(added.accepted)} accepted, {count(added.merged)} merged, {count(added.refused)} refused"
    click.echo(f"Batch {added.batch}: {counts}.", err=as_json)
    if added.refused > SHOWN_REFUSALS:
        note(f"More refused lines: clipgres status {added.batch} --refused")
    if not added.lines:
        note("The list is empty.")
    elif added.refused and not (added.accepted or added.merged):
        note("Not one line was taken. `clipgres add --help` says what a list looks like.")
    return added


class _Refusals:
    """Prints the first refused lines as they come."""

    def __init__(self) -> None:
        self._shown = 0

    def __call__(self, refused: RefusedLine) -> None:
        self._shown += 1
        if self._shown <= SHOWN_REFUSALS:
            note(f"Line {count(refused.line)} refused: {refused.reason}: {refused.excerpt}")


def _wait(tools: Tools, batch: int) -> batches.BatchProgress:
    """Show how the batch goes on until nothing of it is left.

    Raises:
        Unavailable: all that is left waits for a network that is not there.
    """
    columns = (BarColumn(20), TextColumn("{task.fields[note]}", markup=False))
    with Progress(*columns, console=stderr()) as bar:
        task = bar.add_task("", total=None, note="")
        started, said = time.monotonic(), None
        while True:
            asked = time.monotonic()
            with transaction(tools.engine) as connection:
                now = batches.progress(connection, batch)
            # Counting millions takes the database a second, which the import needs more.
            pause_s = min(max(POLL_S, 10 * (time.monotonic() - asked)), LONGEST_POLL_S)
            is_still = now.rate == 0 and time.monotonic() - started > STANDSTILL_S
            trouble = _trouble(tools) if is_still else None
            bar.update(task, total=now.total, completed=now.total - now.left, note=trouble or _note(now))
            if trouble != said and not bar.console.is_terminal:
                note(trouble or "It goes on.")
                said = trouble
            if now.is_done:
                return now
            if now.is_held:
                raise Unavailable(
                    f"{many(now.left, 'picture')} of batch {batch} wait for the network: nothing out there answers; "
                    "they go on by themselves when it is back"
                )
            time.sleep(pause_s)


def _note(now: batches.BatchProgress) -> str:
    parts = [
        f"{count(now.total - now.left)} of {count(now.total)}",
        f"{count(now.failed)} failed" if now.failed else "",
        pace(now.rate) if now.rate else "",
    ]
    if now.left and now.left == now.waiting:
        parts.append(f"{count(now.waiting)} will be tried again")
    elif now.eta_s:
        parts.append(f"{duration(now.eta_s)} left")
    return ", ".join(part for part in parts if part)


def _trouble(tools: Tools) -> str | None:
    """Why nothing moves, where the workers tell."""
    alive = tools.workers()
    if alive is None:
        return "the queue does not answer"
    if not alive:
        return "no worker is alive: start one with `clipgres up`"
    return next((worker.trouble for worker in alive if worker.trouble), None)


def _show(progress: batches.BatchProgress) -> None:
    click.echo(f"{many(progress.ok, 'picture')} searchable, {count(progress.failed)} failed.")
    if progress.failed_by_reason:
        stdout().print(reasons_table(progress.failed_by_reason))
