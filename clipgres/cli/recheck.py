"""`clipgres recheck`: look at links again now."""

from __future__ import annotations

import click

from clipgres import collections, rechecks
from clipgres.cli.output import stderr
from clipgres.cli.tools import Tools
from clipgres.database import transaction
from clipgres.errors import BadRequest
from clipgres.reasons import Reason
from clipgres.wording import many


@click.command()
@click.option("--collection", help="Only links of this collection.")
@click.option("--host", help="Only links to this host.")
@click.option(
    "--reason",
    type=click.Choice([reason.value for reason in Reason]),
    metavar="REASON",
    help="Only links that are dead for this reason.",
)
@click.option("--dead", is_flag=True, help="Only dead links.")
@click.pass_obj
def recheck(tools: Tools, collection: str | None, host: str | None, reason: str | None, dead: bool) -> None:
    """Look at links again now.

    Workers look at every link from time to time by themselves: CLIPGRES_RECHECK_DAYS says how soon at first. This makes
    links due at once; without an option, all of them. A picture that changed is embedded anew, one that is gone stays
    searchable with its thumbnail, and one that is back is tried again. `clipgres collections stats` shows how they
    stand.

    \b
    clipgres recheck --dead
    clipgres recheck --host example.org
    clipgres recheck --collection photos --reason server_error
    """
    if not tools.settings.recheck_days:
        raise BadRequest("CLIPGRES_RECHECK_DAYS is 0, so that no worker looks at links again: give it a number of days")
    chosen = Reason.stored_as(reason) if reason else None
    with transaction(tools.engine) as connection:
        where = collections.find(connection, collection) if collection else None
    due = 0
    with stderr().status("Looking for links") as status:
        for made in rechecks.make_due(tools.engine, collection=where, host=host, reason=chosen, is_dead=dead):
            due += made
            status.update(f"{many(due, 'link')} so far")
    click.echo(f"{many(due, 'link')} will be looked at again." if due else "No such link to look at again.")
