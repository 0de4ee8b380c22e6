"""`clipgres searches`: what was saved by `clipgres search --save NAME`."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from clipgres import saved
from clipgres.cli.output import print_json, stdout, table
from clipgres.cli.tools import Tools


@click.group()
def searches() -> None:
    """Look after the saved searches.

    \b
    clipgres search "a dog" --min-percentile 99% --save dogs
    clipgres searches list
    clipgres search --saved dogs
    clipgres searches delete dogs
    """


@searches.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def list_command(tools: Tools, as_json: bool) -> None:
    """List the saved searches with what they ask for.

    \b
    clipgres searches list
    clipgres searches list --json
    """
    found = saved.list_saved(tools.engine)
    if as_json:
        print_json([asdict(each) for each in found])
    elif not found:
        click.echo('Nothing is saved: `clipgres search "a dog" --save dogs` saves a search.')
    else:
        rows = [(each.name, json.dumps(each.request, ensure_ascii=False)) for each in found]
        stdout().print(table(["name", "search"], rows))


@searches.command()
@click.argument("name")
@click.pass_obj
def show(tools: Tools, name: str) -> None:
    """Print one saved search as JSON, in the fields that `POST /api/search` takes.

    \b
    clipgres searches show dogs
    """
    print_json(saved.load(tools.engine, name).model_dump(mode="json", exclude_defaults=True))


@searches.command()
@click.argument("name")
@click.pass_obj
def delete(tools: Tools, name: str) -> None:
    """Forget one saved search.

    \b
    clipgres searches delete dogs
    """
    saved.delete_saved(tools.engine, name)
    click.echo(f"Deleted {name}.")
