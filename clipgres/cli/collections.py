"""`clipgres collections`: make, list, rename, move and delete collections."""

from __future__ import annotations

from dataclasses import asdict

import click

from clipgres import collections as store
from clipgres.cli.output import print_json, stdout, table
from clipgres.cli.tools import Tools
from clipgres.database import transaction
from clipgres.index import IndexState
from clipgres.statistics import all_statistics, collection_statistics
from clipgres.wording import count, size


@click.group()
def collections() -> None:
    """Make, list, rename and delete collections.

    A collection is one model, one table of vectors and one index; its name is an alias that can be moved.
    """


@collections.command()
@click.argument("name")
@click.pass_obj
def create(tools: Tools, name: str) -> None:
    """Make an empty collection for the model that CLIPGRES_MODEL names."""
    with transaction(tools.engine) as connection:
        made = store.create(connection, name, tools.encoders.default_space())
    click.echo(f"Made {made.name}: {made.space.describe()}. Fill it: clipgres add FILE --collection {made.name}")


@collections.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def list_(tools: Tools, as_json: bool) -> None:
    """List the collections with their counts, sizes and indexes."""
    with transaction(tools.engine) as connection:
        found = all_statistics(connection)
    if as_json:
        print_json([asdict(one) for one in found])
    elif not found:
        click.echo("No collection yet: `clipgres add FILE` makes one named default.")
    else:
        columns = ["name", "items", "waiting", "failed", "model", "dimension", "vectors", "index"]
        rows = [
            (
                one.name,
                count(one.items),
                count(one.pending + one.leased),
                count(one.failed),
                one.model,
                one.dimension,
                size(one.table_bytes),
                _index(one.index),
            )
            for one in found
        ]
        stdout().print(table(columns, rows, right=["items", "waiting", "failed", "dimension", "vectors"]))


@collections.command()
@click.argument("name", default="default")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def stats(tools: Tools, name: str, as_json: bool) -> None:
    """Show one collection in numbers."""
    with transaction(tools.engine) as connection:
        found = collection_statistics(connection, store.find(connection, name))
    if as_json:
        print_json(asdict(found))
        return
    rows = [
        ("model", f"{found.model}, revision {found.revision}"),
        ("dimension", found.dimension),
        ("items", count(found.items)),
        ("jobs", f"{count(found.ok)} ok, {count(found.failed)} failed, {count(found.pending + found.leased)} waiting"),
        ("vectors", size(found.table_bytes)),
        ("index", _index(found.index)),
        ("made", f"{found.created_at:%Y-%m-%d %H:%M}"),
    ]
    stdout().print(table(["", found.name], rows))


@collections.command()
@click.argument("name")
@click.argument("collection")
@click.pass_obj
def alias(tools: Tools, name: str, collection: str) -> None:
    """Let NAME mean the collection that COLLECTION names now; both names work, searches move at once."""
    with transaction(tools.engine) as connection:
        store.set_alias(connection, name, store.find(connection, collection))
    click.echo(f"{name} and {collection} are the same collection now.")


@collections.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def delete(tools: Tools, name: str, yes: bool) -> None:
    """Delete a collection with its vectors and jobs, and the images that no other collection has."""
    with transaction(tools.engine) as connection:
        found = collection_statistics(connection, store.find(connection, name))
    if not yes:
        click.confirm(f"Delete {name} with its {count(found.items)} items for good?", abort=True, err=True)
    with transaction(tools.engine) as connection:
        store.delete(connection, name)
    click.echo(f"Deleted {name}.")


def _index(index: IndexState) -> str:
    if index.is_valid:
        return f"hnsw, {size(index.bytes)}"
    if index.is_building:
        return "being built"
    return "invalid: run clipgres doctor" if index.is_there else "none: exact search"
