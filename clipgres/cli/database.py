"""`clipgres migrate` and `clipgres psql`."""

from __future__ import annotations

import os
import shutil

import click

from clipgres.cli.tools import Tools
from clipgres.database import libpq_url, sqlalchemy_url
from clipgres.endpoints import database_url
from clipgres.migrations import upgrade
from clipgres.rights import READER, READER_DEFAULTS
from clipgres.servers.postgres import psql_program


@click.command()
@click.pass_obj
def migrate(tools: Tools) -> None:
    """Bring a database to this program's schema.

    `clipgres up` does so by itself; with a database of your own (CLIPGRES_DATABASE_URL) run it once, and again
    after each upgrade of clipgres. Needs PostgreSQL 15 and pgvector 0.8.4, or later.
    """
    revision = upgrade(database_url(tools.settings))
    click.echo(f"The database is at revision {revision}.")


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--reader", is_flag=True, help="With the rights and settings of one who may only read.")
@click.option("--print-url", is_flag=True, help="Print the database's address instead, for a program of yours.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def psql(tools: Tools, reader: bool, print_url: bool, arguments: tuple[str, ...]) -> None:
    """Open psql on the database.

    ARGUMENTS go to psql as they are.

    \b
    clipgres psql -c "SELECT status, reason, count(*) FROM clipgres.job GROUP BY 1, 2"
    clipgres psql -c "SELECT caption, url FROM collections.\\"default\\" LIMIT 3"
    clipgres psql --reader -c "CALL clip_embed('two dogs')"
    """
    address = database_url(tools.settings)
    url = libpq_url(as_reader(address) if reader else address)
    if print_url:
        click.echo(url)
        return
    program = shutil.which("psql") or str(psql_program())
    os.execv(program, [program, url, *arguments])  # noqa: S606  psql takes over the terminal


def as_reader(address: str) -> str:
    """The same address, for sessions that are readers until they say otherwise."""
    url = sqlalchemy_url(address)
    given = url.query.get("options", "")
    asked = [given if isinstance(given, str) else given[-1]]
    asked += [f"-c {name}={value}" for name, value in {"role": READER, **READER_DEFAULTS}.items()]
    return url.update_query_dict({"options": " ".join(filter(None, asked))}).render_as_string(hide_password=False)
