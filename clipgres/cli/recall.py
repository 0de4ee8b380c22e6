"""`clipgres recall`: what the index finds of what an exact search finds, on one's own data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.progress import track

from clipgres import collections
from clipgres.cli.output import note, print_json, stderr, stdout, table
from clipgres.cli.tools import Tools
from clipgres.database import transaction
from clipgres.errors import NotFound, NotPermitted
from clipgres.optional import optional
from clipgres.recall.measuring import EF_SEARCH, Line, Measure, Report, Score, measure
from clipgres.recall.plot import plot_history, plot_report
from clipgres.recall.queries import Query
from clipgres.recall.samples import Sample, history, keep
from clipgres.strict_json import parse_json
from clipgres.wording import count

BAR_CELLS = 20
HISTORY_ROWS = 200
EF_SEARCH_MAX = 1_000


class EfSearch(click.ParamType[tuple[int, ...]]):
    """Numbers with commas between them, such as 40,100,400."""

    name = "ef"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Return the numbers, each once and in order."""
        if isinstance(value, tuple):
            return value
        parts = str(value).split(",")
        if not all(part.strip().isdecimal() and 1 <= int(part) <= EF_SEARCH_MAX for part in parts):
            self.fail(f"{value} should be numbers from 1 to {EF_SEARCH_MAX}, such as 40,100,400", param, ctx)
        return tuple(sorted({int(part) for part in parts}))


@click.command()
@click.option("--collection", default="default", show_default=True, help="Whose index to measure.")
@click.option("-k", "k", default=10, show_default=True, type=click.IntRange(1, 1_000), help="Recall of how many hits.")
@click.option(
    "--queries", default=100, show_default=True, type=click.IntRange(1, 10_000), help="Of each kind, at most."
)
@click.option("--ef", default=EF_SEARCH, type=EfSearch(), metavar="40,100,...", help="The values of hnsw.ef_search.")
@click.option("--where", metavar="JSON", help="A filter to measure with, in place of those taken from the data.")
@click.option("--history", "past", is_flag=True, help="List what was measured before.")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Write a picture of it, recall.png.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def recall(tools: Tools, /, *, collection: str, past: bool, plot: Path | None, as_json: bool, **options: Any) -> None:
    """Measure how good the index is on this data.

    Recall is the share of the truly nearest that a search finds; the truth is an exact search. Items of the
    collection, its captions and texts that were searched before are the queries. What comes out is kept: --history
    shows it over time. Nothing else is written.

    \b
    clipgres recall --collection photos --plot recall.png
    clipgres recall -k 20 --where '{"host": "example.org"}'
    """
    if plot:
        optional("matplotlib", extra="notebook")  # before minutes of measuring
    if past:
        _show_history(tools, collection, plot, as_json)
        return
    wanted = _wanted(**options)
    with transaction(tools.searcher.engine) as connection:
        found = collections.find(connection, collection)
    report = measure(tools.searcher.engine, found, wanted, tools.settings, _with_a_bar)
    try:
        keep(tools.engine, report)
    except NotPermitted as error:
        note(f"This measurement is not kept: {error}")
    if plot:
        plot_report(report).savefig(plot)
        note(f"Wrote {plot}")
    if as_json:
        print_json(asdict(report))
    else:
        _show(report)


def _wanted(*, k: int, queries: int, ef: Sequence[int], where: str | None) -> Measure:
    if min(ef) < k:
        raise click.UsageError(f"--ef {min(ef)} is less than -k {k}: the index then has no {k} rows to give")
    condition = None if where is None else parse_json(where, "--where", "filter")
    return Measure(k=k, queries=queries, ef_search=ef, filter=condition)


def _with_a_bar(queries: Sequence[Query], title: str) -> Iterable[Query]:
    console = stderr()
    shown = title.replace("[", r"\[")
    return track(queries, shown, console=console, transient=True, disable=not console.is_terminal)


def _show(report: Report) -> None:
    where = f' in namespace "{report.namespace}"' if report.namespace else ""
    click.echo(f"Recall@{report.k} of {report.collection}, {count(report.items)} items{where}")
    columns = ["", "queries", "count", "recall", "worst", "perfect", "p50 ms", "", "found by"]
    lines = [*report.by_ef_search, report.as_searched, *report.by_filter]
    rows = [row for line in lines for row in _rows(line)]
    stdout().print(table(columns, rows, right=["count", "recall", "worst", "perfect", "p50 ms"]))
    note(f"An exact search takes {report.exact_p50_ms:.1f} ms.")
    missing = [kind for kind in ("captions", "searches") if kind not in report.as_searched.kinds]
    if missing:
        note(f"There are no {' and no '.join(missing)} to measure with yet: texts are harder for an index than items.")


def _rows(line: Line) -> Iterator[tuple[object, ...]]:
    name = line.name if line.ef_search else f"as searched, {line.name}"
    by = ", ".join(line.methods)
    yield (name, "all", *_numbers(line.overall), bar(line.overall.recall), by)
    if not line.filter:
        for kind, score in line.kinds.items():
            yield ("", kind, *_numbers(score), bar(score.recall), "")


def _numbers(score: Score) -> tuple[str, ...]:
    return (
        count(score.queries),
        _down(score.recall),
        f"{score.worst:.2f}",
        f"{int(100 * score.perfect)} %",
        f"{score.p50_ms:.1f}",
    )


def _down(share: float) -> str:
    """A share in three digits, rounded down: 1.000 is said of nothing less."""
    return f"{math.floor(1000 * share) / 1000:.3f}"


def bar(share: float) -> str:
    """A share as a bar of twenty cells, full only when the share is."""
    full = int(share * BAR_CELLS)
    return "█" * full + "░" * (BAR_CELLS - full)


def _show_history(tools: Tools, name: str, plot: Path | None, as_json: bool) -> None:
    with transaction(tools.searcher.engine) as connection:
        samples = history(connection, collections.find(connection, name), HISTORY_ROWS)
    if as_json:
        print_json([asdict(sample) for sample in samples])
        return
    if not samples:
        raise NotFound(f'nothing was measured of collection "{name}" yet: `clipgres recall` does')
    if plot:
        plot_history(samples, name).savefig(plot)
        note(f"Wrote {plot}")
    columns = ["measured at", "ef_search", "k", "items", "queries", "recall", "worst", "p50 ms", ""]
    stdout().print(table(columns, map(_past, samples), right=columns[1:-1]))


def _past(sample: Sample) -> tuple[object, ...]:
    detail = sample.detail
    return (
        f"{sample.measured_at:%Y-%m-%d %H:%M}",
        sample.ef_search,
        detail.get("k", ""),
        count(detail["items"]) if "items" in detail else "",
        count(sample.queries),
        _down(sample.recall),
        f"{sample.worst:.2f}",
        f"{detail['p50_ms']:.1f}" if "p50_ms" in detail else "",
        bar(sample.recall),
    )
