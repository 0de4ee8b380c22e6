"""`clipgres status`: what waits, what goes on, what is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import click

from clipgres import batches
from clipgres.backlog import backlog
from clipgres.cli.output import pace, print_json, reasons_table, stdout, table
from clipgres.cli.tools import Tools
from clipgres.database import transaction
from clipgres.standing import backlog_lines, workers_line
from clipgres.statistics import CollectionStatistics, all_statistics
from clipgres.wording import count, duration, many

SHOWN_BATCHES = 10


@click.command()
@click.argument("batch", type=int, required=False)
@click.option("--refused", is_flag=True, help="With BATCH: the lines that were refused, and why.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def status(tools: Tools, batch: int | None, refused: bool, as_json: bool) -> None:
    """Show how things stand, or how far BATCH is.

    Workers, collections and the latest imports; or one import, by the number that `clipgres add` gave it.

    \b
    clipgres status
    clipgres status 3 --refused
    """
    if refused and batch is None:
        raise click.UsageError("--refused needs the number of a batch")
    if batch is None:
        _show_all(tools, as_json)
    elif refused:
        _show_refused(tools, batch, as_json)
    else:
        _show_batch(tools, batch, as_json)


def _show_all(tools: Tools, as_json: bool) -> None:
    with transaction(tools.engine) as connection:
        collections = all_statistics(connection)
        recent = batches.recent(connection, SHOWN_BATCHES)
        now = backlog(connection)
    alive = tools.workers()
    if as_json:
        numbers = {
            "backlog": now.to_dict(),
            "collections": [asdict(one) for one in collections],
            "batches": [asdict(one) for one in recent],
            "workers": None if alive is None else [asdict(worker) for worker in alive],
        }
        print_json(numbers)
        return
    click.echo(workers_line(alive))
    if not collections:
        click.echo("No pictures yet: `clipgres add list.tsv --wait` adds some.")
        return
    click.echo("\n".join(backlog_lines(now)))
    console = stdout()
    console.print()
    console.print(_collections_table(collections))
    for one in collections:
        if one.captions_waiting:
            console.print(f"{one.name}: captions of {many(one.captions_waiting, 'picture')} wait for their vectors")
    console.print()
    console.print(_batches_table(recent))


def _collections_table(collections: list[CollectionStatistics]) -> object:
    columns = ["collection", "searchable", "waiting", "under way", "failed", "model"]
    rows = [
        (one.name, count(one.items), count(one.pending), count(one.leased), count(one.failed), one.model)
        for one in collections
    ]
    return table(columns, rows, right=columns[1:5])


def _batches_table(recent: Sequence[batches.BatchProgress]) -> object:
    columns = ["batch", "from", "started", "pictures", "ok", "failed", "left", ""]
    rows = [
        (
            one.id,
            one.source,
            f"{one.started_at:%Y-%m-%d %H:%M}",
            count(one.total),
            count(one.ok),
            count(one.failed),
            count(one.left),
            _how_it_goes(one),
        )
        for one in recent
    ]
    return table(columns, rows, right=["batch", "pictures", "ok", "failed", "left"])


def _how_it_goes(one: batches.BatchProgress) -> str:
    if one.is_done:
        return "done"
    if one.finished_at is None:
        return "being read; if that broke off, run the same `clipgres add` again"
    if one.is_paused:
        return "paused: `clipgres resume` lets it go on"
    if one.is_held:
        return "waits for the network"
    if one.waiting == one.left:
        what = "waits for hosts that are left alone" if one.is_put_off else "will be tried again"
        return f"{what}, the first in {duration(max(one.first_due_in_s or 0, 0))}"
    return f"{duration(one.eta_s)} left" if one.eta_s else "waits"


def _show_batch(tools: Tools, batch: int, as_json: bool) -> None:
    with transaction(tools.engine) as connection:
        one = batches.progress(connection, batch)
    if as_json:
        print_json(asdict(one) | {"is_done": one.is_done, "eta_s": one.eta_s})
        return
    ignored = f"{count(one.ignored)} ignored, " if one.ignored else ""
    rows = [
        ("collection", one.collection),
        ("from", one.source),
        (
            "lines",
            f"{count(one.lines)}: {count(one.accepted)} accepted, {count(one.merged)} merged, "
            f"{count(one.refused)} refused",
        ),
        (
            "pictures",
            f"{count(one.total)}: {count(one.ok)} ok, {count(one.failed)} failed, {ignored}{count(one.left)} left",
        ),
        ("state", _how_it_goes(one)),
    ]
    if not one.is_done:
        rows.append(("pace", pace(one.rate) if one.rate else "nothing ended in the last minute"))
    stdout().print(table(["batch", str(one.id)], rows))
    if one.failed_by_reason:
        stdout().print()
        stdout().print(reasons_table(one.failed_by_reason))


def _show_refused(tools: Tools, batch: int, as_json: bool) -> None:
    with transaction(tools.engine) as connection:
        lines = batches.refusals(connection, batch)
    if as_json:
        print_json([asdict(line) for line in lines])
    else:
        rows = [(count(line.line), line.reason, line.excerpt) for line in lines]
        stdout().print(table(["line", "why", "begins with"], rows, right=["line"]))
