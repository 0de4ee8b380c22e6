"""Recall as a picture: by `ef_search` and kind of query, by filter, and over time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from clipgres.optional import optional
from clipgres.recall.measuring import Line, Report
from clipgres.recall.samples import Sample

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE_INCHES = (10, 4.2)


def plot_report(report: Report) -> Figure:
    """The measurement as a figure: to the left by `ef_search`, to the right as people search.

    Raises:
        SetupError: matplotlib is not installed.
    """
    pyplot = optional("matplotlib.pyplot", extra="notebook")
    figure: Figure
    figure, (left, right) = pyplot.subplots(1, 2, figsize=SIZE_INCHES, layout="constrained")
    pyplot.close(figure)
    figure.suptitle(f"Recall@{report.k} of {report.collection}, {report.items:,} items", parse_math=False)
    _draw_by_ef_search(left, report.by_ef_search)
    _draw_as_searched(right, [report.as_searched, *report.by_filter])
    return figure


def plot_history(samples: Sequence[Sample], name: str) -> Figure:
    """Recall over time, a line for each `ef_search`.

    Raises:
        SetupError: matplotlib is not installed.
    """
    pyplot = optional("matplotlib.pyplot", extra="notebook")
    figure: Figure
    figure, axis = pyplot.subplots(figsize=SIZE_INCHES, layout="constrained")
    pyplot.close(figure)
    figure.suptitle(f"Recall of {name} over time", parse_math=False)
    by_ef = sorted(samples, key=lambda sample: (sample.ef_search, sample.measured_at))
    for ef_search, group in groupby(by_ef, key=lambda sample: sample.ef_search):
        ours = list(group)
        axis.plot(
            [one.measured_at for one in ours], [one.recall for one in ours], marker="o", label=f"ef_search {ef_search}"
        )
    _finish(axis, "measured at", min(sample.recall for sample in samples))
    if len(moments := {sample.measured_at for sample in samples}) == 1:
        axis.set_xticks(list(moments), [f"{moment:%Y-%m-%d %H:%M}" for moment in moments])  # else it spans years
    figure.autofmt_xdate()
    return figure


def _draw_by_ef_search(axis: Axes, lines: Sequence[Line]) -> None:
    for kind in lines[0].kinds:
        scores = [(line.ef_search or 0, line.kinds[kind]) for line in lines]
        [drawn] = axis.plot([ef for ef, _ in scores], [one.recall for _, one in scores], marker="o", label=kind)
        worst = [one.worst for _, one in scores]
        label = f"{kind}, worst query"
        axis.plot([ef for ef, _ in scores], worst, marker=".", linestyle=":", color=drawn.get_color(), label=label)
    axis.set_xscale("log")
    ticks = [line.ef_search or 0 for line in lines]
    axis.set_xticks(ticks, [f"{ef}\n{line.overall.p50_ms:.1f} ms" for ef, line in zip(ticks, lines, strict=True)])
    axis.minorticks_off()
    axis.set_title("The index alone", fontsize=10)
    _finish(axis, "ef_search and the middle time of a query", min(line.overall.worst for line in lines))


def _draw_as_searched(axis: Axes, lines: Sequence[Line]) -> None:
    labels = [line.name for line in lines]
    places = range(len(lines))
    bars = axis.barh(places, [line.overall.recall for line in lines])
    axis.bar_label(bars, [f"{line.overall.p50_ms:.1f} ms" for line in lines], label_type="center", color="white")
    axis.plot([line.overall.worst for line in lines], places, "k|", markersize=14)
    axis.set_yticks(places, labels, parse_math=False)
    axis.invert_yaxis()
    axis.set_xlim(0, 1.02)
    axis.set_xlabel("recall")
    axis.set_title("As people search; | is the worst query", fontsize=10)


def _finish(axis: Axes, label: str, least: float) -> None:
    axis.set_ylim(max(0.0, least - 0.1), 1.01)
    axis.set_ylabel("recall")
    axis.set_xlabel(label)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
