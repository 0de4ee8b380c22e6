"""`clipgres pause` and `clipgres resume`: leave collections alone for a while."""

from __future__ import annotations

import click
from sqlalchemy import Connection

from clipgres import collections, pauses
from clipgres.cli.output import note
from clipgres.cli.tools import Tools
from clipgres.collections import Collection
from clipgres.database import transaction
from clipgres.wording import many


@click.command()
@click.option("--collection", help="Only this one; all of them if not given.")
@click.pass_obj
def pause(tools: Tools, collection: str | None) -> None:
    """Stop working on collections until they are resumed.

    The workers stop within seconds, giving back what they have not begun. Lists are still taken, and what is there is
    still found. `clipgres status` shows what is paused.
    """
    with transaction(tools.engine) as connection:
        newly = pauses.pause(connection, _named(connection, collection))
    click.echo(f"Paused {many(newly, 'collection')}." if newly else "Nothing to pause.")
    if newly:
        note(f"Go on: clipgres resume{f' --collection {collection}' if collection else ''}")


@click.command()
@click.option("--collection", help="Only this one; all that are paused if not given.")
@click.pass_obj
def resume(tools: Tools, collection: str | None) -> None:
    """Go on with collections that were paused."""
    with transaction(tools.engine) as connection:
        resumed = pauses.resume(connection, _named(connection, collection))
    click.echo(f"Resumed {many(resumed, 'collection')}." if resumed else "Nothing is paused.")


def _named(connection: Connection, name: str | None) -> Collection | None:
    return collections.find(connection, name) if name else None
