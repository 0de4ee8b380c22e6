"""`clipgres duplicates`: pictures that are there more than once, and files that only say that there is no picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import click

from clipgres import duplicates as store
from clipgres import placeholders as files
from clipgres.cli.output import note, print_json, stderr, stdout, table
from clipgres.cli.search import Score
from clipgres.cli.tools import Tools
from clipgres.collections import DEFAULT, Collection, find
from clipgres.database import transaction
from clipgres.duplicates import Group, Rule
from clipgres.duplicates.hashes import MOST_BITS
from clipgres.errors import Conflict
from clipgres.placeholders import SUSPECT_URLS, Suspect
from clipgres.schema import DuplicateKind
from clipgres.wording import count, many, size

in_collection = click.option("--collection", default=DEFAULT, show_default=True, help="Of which collection.")
in_namespace = click.option("--namespace", default="", help="The part of the collection that the keys are in.")
as_document = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
at_most = click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="How many to show.")


@click.group(short_help="Find what is there more than once, and decide.")
def duplicates() -> None:
    """Find pictures that are there more than once, and decide on them.

    Three kinds, each with groups of its own: url, different addresses that lead to the same one; bytes, the same file;
    near, pictures that look the same. Nothing is deleted: a search shows one of a group when it is asked to.

    \b
    clipgres duplicates find
    clipgres duplicates list --kind near
    clipgres search "a dog" --fold near
    clipgres duplicates split 17 42          these two are not the same
    clipgres duplicates join 17 99           but these two are
    clipgres duplicates placeholders
    """


@duplicates.command(name="find")
@in_collection
@click.option(
    "--near-bits",
    "bits",
    type=click.IntRange(0, MOST_BITS),
    metavar="COUNT",
    help=f"How many of the 64 bits of a picture's hash may differ, up to {MOST_BITS}; {Rule().bits} at first.",
)
@click.option(
    "--near-score",
    "score",
    type=Score(),
    metavar="95%",
    help=f"How similar two pictures must be at least; {Rule().score:.0%} at first.",
)
@as_document
@click.pass_obj
def find_command(tools: Tools, collection: str, bits: int | None, score: float | None, as_json: bool) -> None:
    """Bring the groups up to date.

    New pictures are compared with all. A worker does it too, once a collection's pictures are all in. The bits and the
    score are remembered; with others everything is compared anew. It may be broken off: it goes on where it was.

    \b
    clipgres duplicates find
    clipgres duplicates find --near-bits 8 --near-score 97%
    """
    where = _collection(tools, collection)
    with stderr().status("Looking for duplicates") as status:
        found = store.find_duplicates(
            tools.engine,
            where,
            bits=bits,
            score=score,
            on_look=lambda looked: status.update(f"Looking for duplicates: {many(looked, 'picture')}"),
        )
    if found is None:
        raise Conflict(f"{collection}: another session is finding its duplicates at this moment; wait for it")
    if as_json:
        print_json(asdict(found))
        return
    rows = [(kind, count(found.groups.get(kind, 0)), count(found.images.get(kind, 0))) for kind in DuplicateKind]
    stdout().print(table(["kind", "groups", "pictures in them"], rows, right=["groups", "pictures in them"]))
    note(f"Looked at {many(found.looked, 'new picture')}. See them: clipgres duplicates list")


@duplicates.command(name="list", short_help="Show the groups, the largest first.")
@in_collection
@click.option("--kind", type=click.Choice([kind.value for kind in DuplicateKind]), help="Only this kind.")
@at_most
@as_document
@click.pass_obj
def list_command(tools: Tools, collection: str, kind: str | None, limit: int, as_json: bool) -> None:
    """Show the groups, the largest first, with a few of their pictures.

    A group of pictures that look the same because they are the same file stands under bytes alone.

    \b
    clipgres duplicates list
    clipgres duplicates list --kind near --limit 100 --json
    """
    where = _collection(tools, collection)
    with transaction(tools.engine) as connection:
        kinds = [DuplicateKind(kind)] if kind else list(DuplicateKind)
        groups = [group for each in kinds for group in store.list_groups(connection, where, each, limit=limit)]
    if as_json:
        print_json([asdict(group) for group in groups])
    elif not groups:
        click.echo("No duplicates are known. `clipgres duplicates find` looks for them.")
    else:
        columns = ["kind", "pictures", "files", "size", "keys", "for example"]
        stdout().print(table(columns, [_group_row(group) for group in groups], right=["pictures", "files", "size"]))


@duplicates.command()
@click.argument("key")
@click.argument("other")
@in_collection
@in_namespace
@click.pass_obj
def split(tools: Tools, key: str, other: str, collection: str, namespace: str) -> None:
    """Say that two pictures are not the same.

    They are never in one group of the kind near again, in no collection, until `join` says otherwise.

    \b
    clipgres duplicates split 17 42
    """
    where = _collection(tools, collection)
    store.decide(tools.engine, where, key, other, is_duplicate=False, namespace=namespace)
    click.echo(f"{key} and {other} are kept apart from now on.")


@duplicates.command()
@click.argument("key")
@click.argument("other")
@in_collection
@in_namespace
@click.pass_obj
def join(tools: Tools, key: str, other: str, collection: str, namespace: str) -> None:
    """Say that two pictures are the same.

    Their groups of the kind near are one from now on, in every collection, until `split` says otherwise.

    \b
    clipgres duplicates join 17 99
    """
    where = _collection(tools, collection)
    store.decide(tools.engine, where, key, other, is_duplicate=True, namespace=namespace)
    click.echo(f"{key} and {other} are in one group from now on.")


@duplicates.command(short_help="Show files that many addresses give.")
@click.option(
    "--urls", default=SUSPECT_URLS, show_default=True, type=click.IntRange(2), help="How many addresses give the file."
)
@at_most
@as_document
@click.pass_obj
def placeholders(tools: Tools, urls: int, limit: int, as_json: bool) -> None:
    """Show files that many addresses give: some say only that there is no picture.

    Look at the example, then decide with `placeholder`.

    \b
    clipgres duplicates placeholders
    clipgres duplicates placeholder 9f86d081...
    """
    with transaction(tools.engine) as connection:
        found = files.suspects(connection, least=urls, limit=limit)
    if as_json:
        print_json([asdict(one) for one in found])
    elif not found:
        click.echo(f"No file is given by {urls} addresses or more.")
    else:
        columns = ["addresses", "hosts", "it is", "sha-256", "for example", "captions"]
        stdout().print(table(columns, [_suspect_row(one) for one in found], right=["addresses"]))
        note("Look at one, then decide: clipgres duplicates placeholder SHA-256, with --no if it is a picture.")


@duplicates.command(short_help="Say that a file only says there is none.")
@click.argument("name", metavar="KEY|SHA256")
@click.option("--no", "is_picture", is_flag=True, help="It is a picture: those that failed for it come back.")
@click.option("--note", "why", metavar="TEXT", help="Kept with the decision.")
@in_collection
@in_namespace
@click.pass_obj
def placeholder(tools: Tools, name: str, is_picture: bool, why: str | None, collection: str, namespace: str) -> None:
    """Say that a file is a placeholder, named by the key of one that has it or by its SHA-256.

    All pictures with these bytes fail for the reason placeholder and leave their collections, now and whenever more
    come. `--no` undoes it.

    \b
    clipgres duplicates placeholder 17 --note "grey camera"
    clipgres duplicates placeholder 17 --no
    """
    where = _collection(tools, collection)
    with transaction(tools.engine) as connection:
        sha256 = files.bytes_of(connection, where, name, namespace)
    changed = files.decide(tools.engine, sha256, is_placeholder=not is_picture, note=why)
    if is_picture:
        click.echo(f"It is a picture: {many(changed, 'address')} will be embedded again.")
    else:
        click.echo(f"It is a placeholder: {many(changed, 'picture')} left the collections.")
        note(f"Undo: clipgres duplicates placeholder {sha256.hex()} --no")


def _collection(tools: Tools, name: str) -> Collection:
    with transaction(tools.engine) as connection:
        return find(connection, name)


def _group_row(group: Group) -> tuple[object, ...]:
    keys = ", ".join(example["key"] for example in group.examples)
    more = ", ..." if group.pictures > len(group.examples) else ""
    return (group.kind, count(group.pictures), count(group.files), size(group.bytes), keys + more, _example(group))


def _example(group: Group) -> str:
    first: Mapping[str, Any] = group.examples[0] if group.examples else {}
    return first.get("caption") or first.get("url") or ""


def _suspect_row(one: Suspect) -> tuple[object, ...]:
    known = {None: "undecided", True: "a placeholder", False: "a picture"}[one.is_placeholder]
    more = f" and {one.hosts - len(one.largest_hosts)} more" if one.hosts > len(one.largest_hosts) else ""
    return (count(one.urls), ", ".join(one.largest_hosts) + more, known, one.sha256, one.url, "; ".join(one.captions))
