"""Hits as a figure: the query at the left, the pictures side by side, each with its similarity and caption."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

from PIL import Image

from clipgres.answer import Hit
from clipgres.decoding.decode import FORMATS
from clipgres.optional import optional
from clipgres.wording import standing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CELL_INCHES = 2.6
CAPTION_CHARS = 30
CAPTION_LINES = 3
QUERY_LINES = 8


@dataclass(frozen=True, slots=True)
class Asked:
    """What was searched for, as it is shown: words, and a picture if there is one."""

    words: str
    picture: bytes | None = None


def draw(
    hits: Sequence[Hit], pictures: Mapping[int, bytes], asked: Asked | None, *, columns: int, title: str
) -> Figure:
    """The figure; `pictures` are files by image id.

    Raises:
        SetupError: matplotlib is not installed.
    """
    pyplot = optional("matplotlib.pyplot", extra="notebook")
    columns = max(1, min(columns, len(hits)))
    rows = max(1, -(-len(hits) // columns))
    margin = 0 if asked is None else 1
    size = (CELL_INCHES * (columns + margin), CELL_INCHES * 1.3 * rows + 0.4)
    figure: Figure
    figure, axes = pyplot.subplots(rows, columns + margin, squeeze=False, figsize=size, layout="constrained")
    # Closed at once, so that a notebook shows what is returned, and shows it once.
    pyplot.close(figure)
    figure.suptitle(title if len(hits) else f"{title}\nnothing found".strip(), parse_math=False)
    for axis in axes.flat:
        axis.set_axis_off()
    if asked is not None:
        _draw_asked(axes[0, 0], asked)
    for axis, hit in zip(axes[:, margin:].flat, hits, strict=False):
        _draw_hit(axis, hit, pictures.get(hit.image_id or 0))
    return figure


def match(hit: Hit) -> str:
    """How well a hit matches: 31 %, above 99.8 % of the collection."""
    return f"{hit.percent} %" + ("" if hit.percentile is None else f", above {standing(hit.percentile)}")


def _draw_hit(axis: Axes, hit: Hit, webp: bytes | None) -> None:
    lines = textwrap.wrap(hit.caption or hit.key, CAPTION_CHARS, max_lines=CAPTION_LINES, placeholder="...")
    axis.set_title("\n".join([match(hit), *lines]), fontsize=8, parse_math=False)
    if webp is None:
        _write(axis, "no thumbnail")
    else:
        _show(axis, webp)


def _draw_asked(axis: Axes, asked: Asked) -> None:
    words = [line for part in asked.words.splitlines() for line in textwrap.wrap(part, CAPTION_CHARS)]
    shown = "\n".join(words[:QUERY_LINES])
    if asked.picture is None:
        axis.set_title("query", fontsize=8, fontweight="bold")
        _write(axis, shown)
    else:
        axis.set_title("\n".join(["query", *words[:CAPTION_LINES]]), fontsize=8, fontweight="bold", parse_math=False)
        _show(axis, asked.picture)


def _write(axis: Axes, words: str) -> None:
    axis.set_aspect("equal")  # a square, as most pictures are
    middle = {"ha": "center", "va": "center", "fontsize": 9}
    axis.text(0.5, 0.5, words, middle, transform=axis.transAxes, color="gray", parse_math=False)


def _show(axis: Axes, body: bytes) -> None:
    with Image.open(BytesIO(body), formats=FORMATS) as picture:
        axis.imshow(picture.convert("RGB"))
