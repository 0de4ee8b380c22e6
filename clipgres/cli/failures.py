"""`clipgres failures` and `clipgres retry`: what failed, why, and once more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import click
from sqlalchemy import Connection

from clipgres import collections
from clipgres import failures as store
from clipgres.cli.output import note, print_json, stdout, table
from clipgres.cli.tools import Tools
from clipgres.collections import Collection
from clipgres.database import transaction
from clipgres.failures import FailedImage, FailureGroup, HostFailures
from clipgres.reasons import Reason
from clipgres.wording import count, many

REASONS = click.Choice([reason.value for reason in Reason])


@dataclass(frozen=True, slots=True)
class _Listing:
    """What is shown: as a table to people, as it was found to programs."""

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    found: Sequence[FailureGroup | HostFailures | FailedImage]


@click.command()
@click.option("--collection", help="Only of this collection.")
@click.option("--reason", type=REASONS, metavar="REASON", help="Only for this reason: show single pictures.")
@click.option("--host", help="Only of this host: show single pictures.")
@click.option("--by-host", is_flag=True, help="Count by host instead of by reason.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def failures(
    tools: Tools, collection: str | None, reason: str | None, host: str | None, by_host: bool, as_json: bool
) -> None:
    """Show what failed, and why.

    By reason, each with an example, or by host; or picture by picture with --reason or --host.

    \b
    clipgres failures
    clipgres failures --by-host
    clipgres failures --reason server_error
    clipgres failures --host example.org --json
    """
    if by_host and host:
        raise click.UsageError("--by-host counts all hosts; --host shows the pictures of one")
    chosen = Reason.stored_as(reason) if reason else None
    with transaction(tools.engine) as connection:
        where = _collection(connection, collection)
        if by_host:
            listing = _hosts(store.by_host(connection, where, reason=chosen))
        elif chosen or host:
            listing = _pictures(store.samples(connection, where, reason=chosen, host=host))
        else:
            listing = _reasons(store.by_reason(connection, where))
    if as_json:
        print_json([asdict(one) for one in listing.found])
    elif not listing.rows:
        click.echo("Nothing failed.")
    else:
        stdout().print(table(listing.columns, listing.rows, right=["pictures", "http", "attempts"]))
        note("Try again: clipgres retry --reason REASON, or --host HOST")


def _reasons(groups: Sequence[FailureGroup]) -> _Listing:
    rows = [(one.reason, count(one.images), one.gloss, one.urls[0]) for one in groups]
    return _Listing(["reason", "pictures", "what it means", "for example"], rows, groups)


def _hosts(hosts: Sequence[HostFailures]) -> _Listing:
    rows = [
        (one.host, count(one.images), ", ".join(f"{count(images)} {reason}" for reason, images in one.reasons.items()))
        for one in hosts
    ]
    return _Listing(["host", "pictures", "reasons"], rows, hosts)


def _pictures(images: Sequence[FailedImage]) -> _Listing:
    rows = [(one.reason, one.http_status or "", one.attempts, one.url) for one in images]
    return _Listing(["reason", "http", "attempts", "url"], rows, images)


@click.command()
@click.option("--collection", help="Only in this collection.")
@click.option("--reason", type=REASONS, metavar="REASON", help="Only what failed for this reason.")
@click.option("--host", help="Only pictures of this host.")
@click.option("--batch", type=int, help="Only pictures of this batch.")
@click.pass_obj
def retry(tools: Tools, collection: str | None, reason: str | None, host: str | None, batch: int | None) -> None:
    """Try failed pictures again.

    Those that wait for their next try are tried at once. Without an option, everything that failed.

    \b
    clipgres retry --reason server_error
    clipgres retry --batch 3
    """
    chosen = Reason.stored_as(reason) if reason else None
    with transaction(tools.engine) as connection:
        where = _collection(connection, collection)
        due = store.retry(connection, collection=where, reason=chosen, host=host, batch=batch)
    click.echo(f"{many(due, 'picture')} will be tried again." if due else "Nothing to try again.")


def _collection(connection: Connection, name: str | None) -> Collection | None:
    return collections.find(connection, name) if name else None
