"""`clipgres up`: everything on this machine, until Ctrl-C."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

import click

from clipgres.cli.tools import Tools
from clipgres.collections import list_all
from clipgres.counts import count_items
from clipgres.database import transaction
from clipgres.errors import ClipgresError
from clipgres.servers.stack import Stack, run_stack, say
from clipgres.settings import PREFIX
from webapp.security import require_token


@click.command()
@click.option(
    "--port",
    default=8000,
    show_default=True,
    type=click.IntRange(0, 65_535),
    help="Port of the web page; 0: a free one.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; beyond loopback CLIPGRES_ADMIN_TOKEN must be set.",
)
@click.pass_obj
def up(tools: Tools, port: int, host: str) -> None:
    """Start everything on this machine; Ctrl-C stops it.

    That is PostgreSQL, Redis, a worker and the web page.

    The embedded servers keep their data in CLIPGRES_HOME and listen on private Unix sockets only. Where
    CLIPGRES_DATABASE_URL or CLIPGRES_REDIS_URL is set, that server is used instead. What dies is started again.
    """
    require_token(tools.settings, host)
    sys.exit(run_stack(tools.settings, port=port, host=host, on_ready=_say_what_next))


def _say_what_next(stack: Stack) -> None:
    """The next step of someone who has no pictures yet, and the way to stop."""
    with suppress(ClipgresError), transaction(Tools(stack.settings).engine) as connection:
        if not any(count_items(connection, collection).items for collection in list_all(connection)):
            same = f", with the same {PREFIX}* variables" if any(name.startswith(PREFIX) for name in os.environ) else ""
            say(f"there are no pictures yet: add some at {stack.url}/add, or in another terminal{same}:")
            say("  clipgres add list.tsv --wait")
    say("Ctrl-C stops everything")
