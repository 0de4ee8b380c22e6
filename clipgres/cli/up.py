"""`clipgres up`: everything on this machine, until Ctrl-C."""

from __future__ import annotations

import sys

import click

from clipgres.cli.tools import Tools
from clipgres.servers.stack import run_stack
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
    """Start PostgreSQL, Redis, a worker and the web page; Ctrl-C stops them all.

    The embedded servers keep their data in CLIPGRES_HOME and listen on private Unix sockets only. Where
    CLIPGRES_DATABASE_URL or CLIPGRES_REDIS_URL is set, that server is used instead. What dies is started again.
    """
    require_token(tools.settings, host)
    sys.exit(run_stack(tools.settings, port=port, host=host))
