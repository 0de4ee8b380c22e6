"""`clipgres collections`: make, list, rename, move and delete collections."""

from __future__ import annotations

from dataclasses import asdict

import click
from sqlalchemy import Connection

from clipgres import collections as store
from clipgres.cli.output import print_json, stdout, table
from clipgres.cli.tools import Tools
from clipgres.collections import Collection
from clipgres.database import transaction
from clipgres.errors import Conflict
from clipgres.index import IndexState
from clipgres.links import LinkStatistics, link_statistics
from clipgres.statistics import all_statistics, collection_statistics
from clipgres.wording import count, many, size


@click.group()
def collections() -> None:
    """Make, list, move and delete collections.

    A collection is one model, one table of vectors and one index; its name is an alias that can be moved.
    """


@collections.command()
@click.argument("name")
@click.pass_obj
def create(tools: Tools, name: str) -> None:
    """Make an empty one for the model of CLIPGRES_MODEL."""
    with transaction(tools.engine) as connection:
        made = store.create(connection, name, tools.encoders.default_space())
    click.echo(f"Made {made.name}: {made.space.describe()}. Fill it: clipgres add FILE --collection {made.name}")


@collections.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def list_(tools: Tools, as_json: bool) -> None:
    """List them with counts, sizes and indexes."""
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
    """Show one in numbers: its pictures, its vectors, and how its links stand."""
    with transaction(tools.engine) as connection:
        collection = store.find(connection, name)
        found, links = collection_statistics(connection, collection), link_statistics(connection, collection)
    if as_json:
        print_json(asdict(found) | {"links": asdict(links)})
        return
    rows = [
        ("model", f"{found.model}, revision {found.revision}"),
        ("dimension", found.dimension),
        ("items", count(found.items)),
        ("jobs", f"{count(found.ok)} ok, {count(found.failed)} failed, {count(found.pending + found.leased)} waiting"),
        ("links", _links(links)),
        ("looked at again", _looks(links)),
        ("vectors", size(found.table_bytes)),
        ("index", _index(found.index)),
        ("captions", f"{many(found.captions, 'vector')}, {many(found.captions_waiting, 'picture')} waiting"),
        ("their index", _index(found.caption_index)),
        ("made", f"{found.created_at:%Y-%m-%d %H:%M}"),
    ]
    stdout().print(table(["", found.name], rows))


@collections.command()
@click.argument("name")
@click.argument("collection")
@click.pass_obj
def alias(tools: Tools, name: str, collection: str) -> None:
    """Give a collection one more name, or move a name.

    NAME means from now on the collection that COLLECTION names; both names work, and searches move at once.

    \b
    CLIPGRES_MODEL=/models/clip-large clipgres collections create photos-2
    clipgres add list.tsv --collection photos-2 --wait
    clipgres collections alias photos-1 photos
    clipgres collections alias photos photos-2
    """
    with transaction(tools.engine) as connection:
        target = store.find(connection, collection)
        by_name = {known.name: known for known in store.list_all(connection)}
        if name in by_name and by_name[name].id != target.id and _names(connection, by_name[name]) == [name]:
            raise Conflict(
                f"{name} is the only name of what it names now; give that another first, such as: "
                f"clipgres collections alias {name}-old {name}"
            )
        store.set_alias(connection, name, target)
    click.echo(f"{name} and {collection} are the same collection now.")


@collections.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def delete(tools: Tools, name: str, yes: bool) -> None:
    """Delete a collection for good.

    All its names, vectors and jobs go, and the images that no other collection has. It asks first.
    """
    with transaction(tools.engine) as connection:
        collection = store.find(connection, name)
        items, names = collection_statistics(connection, collection).items, _names(connection, collection)
    if not yes:
        click.confirm(f"Delete {', '.join(names)} with {many(items, 'item')} for good?", abort=True, err=True)
    with transaction(tools.engine) as connection:
        store.delete(connection, name)
    click.echo(f"Deleted {', '.join(names)}.")


def _names(connection: Connection, collection: Collection) -> list[str]:
    """All names of a collection."""
    return [known.name for known in store.list_all(connection) if known.id == collection.id]


def _links(links: LinkStatistics) -> str:
    reasons = ", ".join(f"{count(images)} {reason}" for reason, images in links.dead_by_reason.items())
    dead = f"{count(links.dead)} dead" + (f" ({reasons})" if reasons else "")
    return f"{count(links.alive)} alive, {dead}, {count(links.moved)} moved, {count(links.changed)} changed this month"


def _looks(links: LinkStatistics) -> str:
    following = f", the next {links.next_due:%Y-%m-%d %H:%M}" if links.next_due else ""
    return f"{count(links.due)} due now{following}"


def _index(index: IndexState) -> str:
    if index.is_valid:
        return f"hnsw, {size(index.bytes)}"
    if index.is_building:
        return "being built"
    return "invalid: run clipgres doctor" if index.is_there else "none: exact search"
