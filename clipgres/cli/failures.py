"""`clipgres failures`, `clipgres retry` and `clipgres ignore`: what failed, why, once more, or no more."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import click

from clipgres import failures as store
from clipgres.cli.output import note, print_json, stdout, table
from clipgres.cli.tools import Tools
from clipgres.database import transaction
from clipgres.failures import (
    BatchFailures,
    FailedImage,
    FailureFilter,
    FailureGroup,
    Group,
    Grouping,
    HostFailures,
    parse_filter,
    reason_named,
)
from clipgres.reasons import Reason
from clipgres.wording import count, many, reasons_line

MAX_LIMIT = 100_000
GROUPINGS = [each.value for each in Grouping]
REASONS = [reason.value for reason in Reason]
Rows = list[Sequence[object]]


class _ReasonName(click.Choice[str]):
    """A reason of the closed list; another is answered with the nearest."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name itself, if it is one."""
        try:
            return reason_named(value).value
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _filtered(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say which failures are meant."""
    for option in (
        click.option("--batch", metavar="N", type=click.IntRange(min=1), help="Only of this import."),
        click.option("--host", help="Only of this host."),
        click.option("--reason", type=_ReasonName(REASONS), metavar="REASON", help="Only for this reason."),
        click.option("--collection", help="Only of this collection."),
    ):
        command = option(command)
    return command


@click.command()
@_filtered
@click.option("--by", type=click.Choice(GROUPINGS), help="Count by this; by reason unless --reason or --host is given.")
@click.option("--ignored", is_flag=True, help="Those that are ignored, instead of the others.")
@click.option("--limit", type=click.IntRange(1, MAX_LIMIT), default=20, show_default=True, help="Lines at most.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def failures(tools: Tools, /, by: str | None, limit: int, as_json: bool, **given: Any) -> None:
    """Show what failed, and why.

    By reason, each with an example and what to do; or picture by picture with --reason or --host.

    \b
    clipgres failures
    clipgres failures --by host
    clipgres failures --reason server_error
    clipgres failures --host example.org --batch 3 --json
    """
    chosen = _chosen(given)
    grouping = Grouping(by) if by else None if chosen.reason or chosen.host else Grouping.REASON
    found: Sequence[Group | FailedImage]
    with transaction(tools.engine) as connection:
        totals = store.totals(connection, chosen)
        if grouping:
            found = store.grouped(connection, chosen, grouping, limit=limit)
        else:
            found = store.samples(connection, chosen, limit=limit)
    if as_json:
        print_json([asdict(one) for one in found])
        return
    if found:
        stdout().print(table(*_table(found), right=["pictures", "batch", "tries"]))
    else:
        click.echo("Nothing is ignored." if chosen.ignored else "Nothing failed.")
    _tell_more(chosen, totals, len(found) if grouping is None else None)


def _tell_more(chosen: FailureFilter, totals: store.Totals, shown: int | None) -> None:
    """What the table leaves out, and what can be done."""
    all_of_them = totals.ignored if chosen.ignored else totals.failed
    if shown and shown < all_of_them:
        note(f"The latest {count(shown)} of {count(all_of_them)}; --limit shows more.")
    if totals.ignored and not chosen.ignored:
        note(f"{many(totals.ignored, 'picture')} ignored: --ignored shows them.")
    if all_of_them:
        options = _options(chosen) or "--reason REASON, --host HOST or --batch N"
        note(f"Try again: clipgres retry {options}" + ("" if chosen.ignored else "; clipgres ignore takes the same."))


def _table(found: Sequence[Group | FailedImage]) -> tuple[list[str], Rows]:
    """The columns and rows of what was found, which is all of one kind."""
    rows: Rows = []
    columns: list[str] = []
    for one in found:
        if isinstance(one, FailureGroup):
            columns = ["reason", "pictures", "what it means, and what to do"]
            more = [one.gloss, one.advice, one.urls[0]]
            rows += [(one.reason, count(one.images), more[0]), *(("", "", line) for line in more[1:])]
        elif isinstance(one, HostFailures):
            columns = ["host", "pictures", "reasons"]
            alone = f"; left alone until {one.paused_until:%H:%M}" if one.paused_until else ""
            rows.append((one.host, count(one.images), reasons_line(one.reasons) + alone))
        elif isinstance(one, BatchFailures):
            columns = ["batch", "pictures", "from", "reasons"]
            rows.append((one.batch, count(one.images), one.source, reasons_line(one.reasons)))
        else:
            columns = ["reason", "tries", "picture, and what the last try said"]
            rows += [(one.reason, one.attempts, one.url), ("", "", f"{_when(one)}: {one.words}")]
    return columns, rows


def _when(one: FailedImage) -> str:
    status = f", HTTP {one.http_status}" if one.http_status and f"{one.http_status}" not in one.words else ""
    return f"{one.failed_at:%Y-%m-%d %H:%M}{status}"


@click.command()
@_filtered
@click.option("--ignored", is_flag=True, help="Take back what is ignored, and nothing else.")
@click.pass_obj
def retry(tools: Tools, /, **given: Any) -> None:
    """Try failed pictures again.

    Those that wait for their next try are tried at once. Without an option, everything that failed and is not ignored.

    \b
    clipgres retry --reason server_error
    clipgres retry --batch 3 --host example.org
    """
    with transaction(tools.engine) as connection:
        due = store.retry(connection, _chosen(given))
    click.echo(f"{many(due, 'picture')} will be tried again." if due else "Nothing to try again.")


@click.command(short_help="Leave failed pictures out of counts and lists.")
@_filtered
@click.pass_obj
def ignore(tools: Tools, /, **given: Any) -> None:
    """Ignore failed pictures: leave them out of counts, lists and retries.

    Say which: any of the options, together if you like. Nothing is deleted, and `retry --ignored` takes them back.

    \b
    clipgres ignore --reason not_found
    clipgres ignore --host example.org --reason forbidden
    """
    chosen = _chosen(given)
    if not chosen.is_narrowed:
        raise click.UsageError("say what to ignore: --reason, --host, --batch or --collection")
    with transaction(tools.engine) as connection:
        ignored = store.ignore(connection, chosen)
    click.echo(f"{many(ignored, 'picture')} ignored." if ignored else "Nothing to ignore.")
    if ignored:
        note(f"Take them back: clipgres retry --ignored {_options(chosen)}")


def _chosen(given: dict[str, Any]) -> FailureFilter:
    return parse_filter({name: value for name, value in given.items() if value is not None})


def _options(chosen: FailureFilter) -> str:
    """The filter as it is typed."""
    pairs = chosen.given().items()
    return " ".join(f"--{name}" if value is True else f"--{name} {shlex.quote(str(value))}" for name, value in pairs)
