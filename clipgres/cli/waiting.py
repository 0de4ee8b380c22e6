"""Waiting for a batch: its progress bar, what holds it up, and how it ended."""

from __future__ import annotations

import time

import click
from rich.progress import BarColumn, Progress, TextColumn

from clipgres import batches
from clipgres.cli.output import note, pace, reasons_table, stderr, stdout
from clipgres.cli.tools import Tools
from clipgres.database import transaction
from clipgres.errors import Unavailable
from clipgres.wording import count, duration, many

POLL_S = 0.5
LONGEST_POLL_S = 10.0
STANDSTILL_S = 10


def wait(tools: Tools, batch: int) -> batches.BatchProgress:
    """Show how the batch goes on until nothing of it is left.

    Raises:
        Unavailable: all that is left waits for a network that is not there, or for hosts that are left alone for long.
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
            trouble = _pause(now) or (_trouble(tools) if is_still else None)
            bar.update(task, total=now.total, completed=now.total - now.left, note=trouble or _note(now))
            if trouble != said and not bar.console.is_terminal:
                note(trouble or "It goes on.")
                said = trouble
            if now.is_done:
                return now
            _refuse_standstill(now)
            time.sleep(pause_s)


def _refuse_standstill(now: batches.BatchProgress) -> None:
    """End the wait for what will not move for long."""
    waiting = f"{many(now.left, 'picture')} of batch {now.id}"
    if now.is_held:
        raise Unavailable(
            f"{waiting} wait for the network: nothing out there answers; they go on by themselves when it is back"
        )
    if now.is_put_off:
        raise Unavailable(
            f"{waiting} wait for hosts that fail or asked for time, {_dues(now)}; so far {count(now.ok)} searchable, "
            f"{count(now.failed)} failed. They go on by themselves: `clipgres status {now.id}` follows them, "
            f"`clipgres retry --batch {now.id}` tries at once"
        )


def _dues(now: batches.BatchProgress) -> str:
    """When those that wait are due."""
    first, last = duration(now.first_due_in_s or 0), duration(now.last_due_in_s or 0)
    return f"due in {first}" if first == last else f"the first due in {first}, the last in {last}"


def _note(now: batches.BatchProgress) -> str:
    parts = [
        f"{count(now.total - now.left)} of {count(now.total)}",
        f"{count(now.failed)} failed" if now.failed else "",
        pace(now.rate) if now.rate else "",
    ]
    if now.left and now.left == now.waiting:
        soon = max(now.first_due_in_s or 0, 0)
        parts.append(f"{count(now.waiting)} will be tried again" + (f", the first in {duration(soon)}" if soon else ""))
    elif now.eta_s:
        parts.append(f"{duration(now.eta_s)} left")
    return ", ".join(part for part in parts if part)


def _pause(now: batches.BatchProgress) -> str | None:
    if not now.is_paused:
        return None
    return f"the collection {now.collection} is paused: `clipgres resume --collection {now.collection}` lets it go on"


def _trouble(tools: Tools) -> str | None:
    """Why nothing moves, where the workers tell."""
    alive = tools.workers()
    if alive is None:
        return "the queue does not answer"
    if not alive:
        return "no worker is alive: start one with `clipgres up`"
    return next((worker.trouble for worker in alive if worker.trouble), None)


def show(progress: batches.BatchProgress) -> None:
    """Say how the batch ended."""
    click.echo(f"{many(progress.ok, 'picture')} searchable, {count(progress.failed)} failed.")
    if progress.failed_by_reason:
        stdout().print(reasons_table(progress.failed_by_reason))
