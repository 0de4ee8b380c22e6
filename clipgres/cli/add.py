"""`clipgres add`: take a list, and wait for its pictures if asked to."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from clipgres import batches, collections
from clipgres.cli.output import print_json, stderr, stdout, table
from clipgres.cli.tools import Tools
from clipgres.collections import Collection
from clipgres.database import transaction
from clipgres.enqueue import Added, enqueue
from clipgres.errors import NotFound, Unavailable
from clipgres.lists import FORMATS, OpenedList, RefusedLine, open_list, open_rows
from clipgres.wording import count, duration, many

POLL_S = 0.5
SHOWN_REFUSALS = 20
STANDSTILL_S = 10


@click.command()
@click.argument("source", metavar="FILE|URL|-")
@click.option("--collection", default=collections.DEFAULT, show_default=True, help="Where to; made if it is new.")
@click.option("--format", "format_", type=click.Choice(FORMATS), default="auto", show_default=True)
@click.option("--caption", multiple=True, help="For a URL: what it shows; may be given again.")
@click.option("--wait", is_flag=True, help="Stay, with a progress bar, until every picture came to its end.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def add(
    tools: Tools, source: str, collection: str, format_: str, caption: tuple[str, ...], wait: bool, as_json: bool
) -> None:
    """Add pictures by their addresses.

    FILE is a list: TSV as Conceptual Captions has it (caption TAB url, no header), CSV or JSONL with named columns
    (url, caption, key, namespace; any other becomes metadata), gzip or not. - reads standard input, and a URL adds
    that one picture. A bad line is refused with its number and reason, and the rest goes on. Run it again after a
    break, and it goes on where it stopped.

    \b
    clipgres add list.tsv --wait
    zcat part-*.gz | clipgres add - --collection cc3m
    clipgres add https://example.org/dog.jpg --caption "a dog on a beach"
    """
    opened = _opened(tools, source, format_, caption)
    target = _target(tools, collection)
    added = _take(tools, target, opened, as_json)
    progress = _wait(tools, added.batch) if wait else None
    if as_json:
        print_json(asdict(progress or added))
    elif progress:
        _show(progress)
    else:
        stderr().print(f"Follow it: clipgres status {added.batch}")


def _opened(tools: Tools, source: str, format_: str, captions: tuple[str, ...]) -> OpenedList:
    limit = tools.settings.caption_max_chars
    if "://" in source:
        return open_rows([{"url": source, "captions": list(captions)}], source, caption_max_chars=limit)
    if captions:
        raise click.UsageError("--caption goes with a URL; a list has captions of its own")
    return open_list(source, format_, caption_max_chars=limit)


def _target(tools: Tools, name: str) -> Collection:
    """The collection of that name, made with the model of the settings if there is none."""
    with transaction(tools.engine) as connection:
        try:
            return collections.find(connection, name)
        except NotFound:
            made = collections.create(connection, name, tools.encoders.default_space())
    stderr().print(f"Made the collection {name}: {made.space.describe()}")
    return made


def _take(tools: Tools, target: Collection, opened: OpenedList, as_json: bool) -> Added:
    refused = _Refusals()
    with stderr().status("Reading ...") as status:
        on_progress: Callable[[Added], None] = lambda added: status.update(f"Reading ... {many(added.lines, 'line')}")  # noqa: E731
        added = enqueue(tools.engine, target, opened, on_progress=on_progress, on_refused=refused)
    if added.resumed_at:
        stderr().print(f"Went on after line {count(added.resumed_at)} of the same list.")
    counts = f"{count(added.accepted)} accepted, {count(added.merged)} merged, {count(added.refused)} refused"
    console = stderr() if as_json else stdout()
    console.print(f"Batch {added.batch}: {counts}.")
    if added.refused > SHOWN_REFUSALS:
        stderr().print(f"All refused lines: clipgres status {added.batch} --refused")
    return added


class _Refusals:
    """Prints the first refused lines as they come."""

    def __init__(self) -> None:
        self._shown = 0

    def __call__(self, refused: RefusedLine) -> None:
        self._shown += 1
        if self._shown <= SHOWN_REFUSALS:
            stderr().print(f"line {refused.line} refused: {refused.reason}: {refused.excerpt}", markup=False)


def _wait(tools: Tools, batch: int) -> batches.BatchProgress:
    """Show how the batch goes on until nothing of it is left.

    Raises:
        Unavailable: all that is left waits for a network that is not there.
    """
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, console=stderr()) as bar:
        task = bar.add_task("", total=None, note="")
        started = time.monotonic()
        while True:
            with transaction(tools.engine) as connection:
                now = batches.progress(connection, batch)
            done = now.total - now.left
            bar.update(task, total=now.total, completed=done, note=_note(tools, now, time.monotonic() - started))
            if now.is_done:
                return now
            if now.is_held:
                raise Unavailable(
                    f"{many(now.left, 'picture')} of batch {batch} wait for the network: nothing out there answers; "
                    "they go on by themselves when it is back"
                )
            time.sleep(POLL_S)


def _note(tools: Tools, now: batches.BatchProgress, waited_s: float) -> str:
    if now.rate == 0 and waited_s > STANDSTILL_S and (trouble := _trouble(tools)):
        return trouble
    parts = [f"{count(now.failed)} failed" if now.failed else "", f"{now.rate:.0f} pictures/s" if now.rate else ""]
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
    stdout().print(f"{many(progress.ok, 'picture')} searchable, {count(progress.failed)} failed.")
    if progress.failed_by_reason:
        rows = [(reason, count(images), reason.gloss) for reason, images in progress.failed_by_reason.items()]
        stdout().print(table(["reason", "pictures", "what it means"], rows, right=["pictures"]))
