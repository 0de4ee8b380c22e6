"""`clipgres failures` and `clipgres retry`: what failed, why, and once more."""

from __future__ import annotations

from dataclasses import asdict

import click
from sqlalchemy import Connection

from clipgres import collections
from clipgres import failures as store
from clipgres.cli.output import note, print_json, stdout, table
from clipgres.cli.tools import Tools
from clipgres.collections import Collection
from clipgres.database import transaction
from clipgres.reasons import Reason
from clipgres.wording import count, many

REASONS = click.Choice([reason.value for reason in Reason])


@click.command()
@click.option("--collection", help="Only of this collection.")
@click.option("--reason", type=REASONS, metavar="REASON", help="Only for this reason: show single pictures.")
@click.option("--host", help="Only of this host: show single pictures.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def failures(tools: Tools, collection: str | None, reason: str | None, host: str | None, as_json: bool) -> None:
    """Show what failed, and why.

    By reason, each with an example; or picture by picture with --reason or --host.

    \b
    clipgres failures
    clipgres failures --reason server_error
    clipgres failures --host example.org --json
    """
    rows: list[tuple[object, ...]]
    with transaction(tools.engine) as connection:
        where = _collection(connection, collection)
        if reason or host:
            chosen = Reason.stored_as(reason) if reason else None
            images = store.samples(connection, where, reason=chosen, host=host)
            rows = [(one.reason, one.http_status or "", one.attempts, one.url) for one in images]
            found, columns = [asdict(one) for one in images], ["reason", "http", "attempts", "url"]
        else:
            groups = store.by_reason(connection, where)
            rows = [(one.reason, count(one.images), one.gloss, one.urls[0]) for one in groups]
            found, columns = [asdict(one) for one in groups], ["reason", "pictures", "what it means", "for example"]
    if as_json:
        print_json(found)
    elif not rows:
        click.echo("Nothing failed.")
    else:
        stdout().print(table(columns, rows, right=["pictures", "http", "attempts"]))
        note("Try again: clipgres retry --reason REASON, or --host HOST")


@click.command()
@click.option("--collection", help="Only in this collection.")
@click.option("--reason", type=REASONS, metavar="REASON", help="Only what failed for this reason.")
@click.option("--host", help="Only pictures of this host.")
@click.option("--batch", type=int, help="Only pictures of this batch.")
@click.pass_obj
def retry(tools: Tools, collection: str | None, reason: str | None, host: str | None, batch: int | None) -> None:
    """Try failed pictures again.

    Those that wait for their next try are tried at once. Without an option, everything that failed.

    \b
    clipgres retry --reason server_error
    clipgres retry --batch 3
    """
    chosen = Reason.stored_as(reason) if reason else None
    with transaction(tools.engine) as connection:
        where = _collection(connection, collection)
        due = store.retry(connection, collection=where, reason=chosen, host=host, batch=batch)
    click.echo(f"{many(due, 'picture')} will be tried again." if due else "Nothing to try again.")


def _collection(connection: Connection, name: str | None) -> Collection | None:
    return collections.find(connection, name) if name else None
