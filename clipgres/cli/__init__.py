"""The command line: `clipgres COMMAND`. Progress and notes go to stderr, results to stdout."""

from __future__ import annotations

import click

from clipgres.cli import (
    add,
    collections,
    database,
    doctor,
    duplicates,
    failures,
    pause,
    recall,
    recheck,
    search,
    searches,
    status,
    up,
)
from clipgres.cli.tools import Commands, Tools


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="clipgres", message="%(package)s %(version)s")
@click.pass_context
def main(context: click.Context) -> None:
    """Text-to-image and image-to-image search inside a PostgreSQL database.

    \b
    To begin with:
      clipgres up                      start everything here; leave it running
      clipgres add list.tsv --wait     caption TAB url; or named columns
      clipgres search "two dogs on a beach"
    then open http://127.0.0.1:8000.

    Settings are CLIPGRES_* variables or a clipgres.toml; docs/reference.md lists them.
    """
    context.obj = context.obj or Tools()


for command in (
    up.up,
    add.add,
    status.status,
    failures.failures,
    failures.retry,
    failures.ignore,
    recheck.recheck,
    pause.pause,
    pause.resume,
    search.search,
    searches.searches,
    recall.recall,
    collections.collections,
    duplicates.duplicates,
    doctor.doctor,
    database.psql,
    database.migrate,
):
    main.add_command(command)
