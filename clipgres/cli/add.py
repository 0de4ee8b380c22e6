"""`clipgres add`: take a list, and wait for its pictures if asked to."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from clipgres import collections
from clipgres.cli.output import note, print_json
from clipgres.cli.reading import Reading
from clipgres.cli.tools import Tools
from clipgres.cli.waiting import show, wait
from clipgres.collections import Collection
from clipgres.destination import destination
from clipgres.enqueue import KEPT_REFUSALS, Added, enqueue
from clipgres.lists import ENCODINGS, FORMATS, UTF_8, OpenedList, Report, open_list, open_rows
from clipgres.prepared import judge
from clipgres.wording import count, many

INTERRUPTED = 130  # what a shell says of a program that Ctrl-C ended


@click.command()
@click.argument("source", metavar="FILE|URL|-")
@click.option("--collection", default=collections.DEFAULT, show_default=True, help="Where to; made if it is new.")
@click.option(
    "--format", "format_", type=click.Choice(FORMATS), default="auto", show_default=True, help="What the list is."
)
@click.option(
    "--encoding", type=click.Choice(ENCODINGS), default=UTF_8, show_default=True, help="How its characters are written."
)
@click.option("--caption", multiple=True, help="For a URL: what it shows; may be given again.")
@click.option(
    "--refused",
    "report",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write every refused line there, as TSV with its number and reason.",
)
@click.option("--dry-run", is_flag=True, help="Only read the list and say which lines would be refused.")
@click.option("--wait", "waits", is_flag=True, help="Stay, with a progress bar, until every picture came to its end.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def add(
    tools: Tools, /, *, source: str, collection: str, dry_run: bool, waits: bool, as_json: bool, **how: Any
) -> None:
    """Add pictures: a list, or one address.

    FILE is a list: TSV as Conceptual Captions has it (caption TAB url, no header), or CSV, JSONL or Parquet with
    named columns (url, caption, key, namespace; any other becomes metadata), plain, gzip, zstd or bzip2. - reads
    standard input, and a URL adds that one picture. A bad line is refused with its number and reason, and the rest
    goes on. Run it again after a break, and it goes on where it stopped.

    \b
    clipgres add list.tsv --wait
    clipgres add list.csv.zst --dry-run --refused refused.tsv
    zcat part-*.gz | clipgres add - --collection cc3m
    clipgres add https://example.org/dog.jpg --caption "a dog on a beach"
    """
    if dry_run and waits:
        raise click.UsageError("--dry-run adds nothing that --wait could wait for")
    reading = _reading(tools, source, **how)
    if dry_run:
        with _interruption("Broken off. Nothing was written."):
            _judge(reading, as_json)
        return
    target = destination(
        tools.engine,
        collection,
        tools.encoders,
        on_made=lambda made: note(f"Made the collection {made.name}: {made.space.describe()}"),
    )
    with _interruption("Broken off. The same command goes on where it stopped."):
        added = _take(tools, target, reading, as_json)
    progress = None
    if waits:
        with _interruption(f"The workers go on without you. Follow it: clipgres status {added.batch}"):
            progress = wait(tools, added.batch)
    if as_json:
        print_json(asdict(progress or added))
    elif progress:
        show(progress)
    elif added.accepted or added.merged:
        note(f"Follow it: clipgres status {added.batch}")


@contextmanager
def _interruption(advice: str) -> Iterator[None]:
    """After Ctrl-C, say what becomes of the work."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo(f"\n{advice}", err=True)
        sys.exit(INTERRUPTED)


def _reading(
    tools: Tools, source: str, format_: str, encoding: str, caption: tuple[str, ...], report: Path | None
) -> Reading:
    opened = _opened(tools, source, format_, encoding, caption)
    if report is not None and _is_read_from(report, source):
        raise click.UsageError("--refused would overwrite the list itself")
    return Reading(opened, Report(report) if report is not None else None)


def _is_read_from(report: Path, source: str) -> bool:
    """Whether the report would be written into the list, which a shell may have opened as the standard input."""
    read = Path("/dev/stdin" if source == "-" else source)
    return report.exists() and read.exists() and report.samefile(read)


def _opened(tools: Tools, source: str, format_: str, encoding: str, captions: tuple[str, ...]) -> OpenedList:
    limit = tools.settings.caption_max_chars
    if "://" in source:
        return open_rows([{"url": source, "captions": list(captions)}], source, caption_max_chars=limit)
    if captions:
        raise click.UsageError("--caption goes with a URL; a list has captions of its own")
    if source == "-" and sys.stdin is None:
        raise click.UsageError("standard input is closed: send the list there, or name a file")
    return open_list(source, format_, caption_max_chars=limit, encoding=encoding)


def _judge(reading: Reading, as_json: bool) -> None:
    """Read the list to its end and say what would become of it."""
    with reading:
        reading.begin()
        judged = judge(
            reading.opened,
            on_progress=lambda now: reading.go_on(now.lines, now.refused),
            on_refused=reading.refuse,
        )
    if as_json:
        print_json(asdict(judged))
    else:
        click.echo(f"{many(judged.fit, 'row')} would be taken, {count(judged.refused)} refused. Nothing was written.")
    if reading.hides_refusals:
        note("More lines were refused: --refused FILE writes all of them.")
    reading.advise()


def _take(tools: Tools, target: Collection, reading: Reading, as_json: bool) -> Added:
    with reading:
        added = enqueue(
            tools.engine,
            target,
            reading.opened,
            on_opened=lambda before: reading.begin(before.lines),
            on_progress=lambda now: reading.go_on(now.lines, now.refused),
            on_refused=reading.refuse,
        )
    counts = f"{count(added.accepted)} accepted, {count(added.merged)} merged, {count(added.refused)} refused"
    click.echo(f"Batch {added.batch}: {counts}.", err=as_json)
    if reading.hides_refusals:
        kept = "" if added.refused <= KEPT_REFUSALS else f", the first {count(KEPT_REFUSALS)}"
        note(f"More refused lines{kept}: clipgres status {added.batch} --refused")
    reading.advise()
    if not added.lines:
        note("The list is empty.")
    elif added.refused and not (added.accepted or added.merged):
        note("Not one line was taken. `clipgres add --help` says what a list looks like.")
    return added
