"""Hits as people use them in Python: a sequence, a data frame, a grid of pictures, a table in a notebook."""

from __future__ import annotations

import textwrap
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING, overload

from PIL import Image
from sqlalchemy import Engine

from clipgres.answer import Answer, Hit, Plan
from clipgres.database import transaction
from clipgres.items import thumbnails
from clipgres.optional import optional

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

HTML_HITS = 50
CELL_INCHES = 2.6
CAPTION_CHARS = 30
CAPTION_LINES = 3


class Hits(Sequence[Hit]):
    """The hits of one answer, best first; pictures are read from the database when they are shown."""

    def __init__(self, answer: Answer, engine: Engine) -> None:
        self.answer = answer
        self._engine = engine

    @overload
    def __getitem__(self, index: int) -> Hit: ...
    @overload
    def __getitem__(self, index: slice) -> Hits: ...
    def __getitem__(self, index: int | slice) -> Hit | Hits:
        """One hit, or a part of them that can be shown the same way."""
        if isinstance(index, slice):
            return Hits(replace(self.answer, hits=self.answer.hits[index]), self._engine)
        return self.answer.hits[index]

    def __len__(self) -> int:
        return len(self.answer.hits)

    def __repr__(self) -> str:
        return f"<{len(self)} hits in {self.answer.collection}, by {self.plan.method}>"

    @property
    def plan(self) -> Plan:
        """How they were found."""
        return self.answer.plan

    @property
    def hidden(self) -> int:
        """How many were found, but below `min_score`."""
        return self.answer.hidden

    def to_frame(self) -> DataFrame:
        """A pandas DataFrame, one row a hit.

        Raises:
            SetupError: pandas is not installed.
        """
        pandas = optional("pandas", extra="notebook")
        columns = list(Hit.__dataclass_fields__)
        frame: DataFrame = pandas.DataFrame([asdict(hit) for hit in self], columns=columns)
        return frame

    def plot(self, columns: int = 4, title: str = "") -> Figure:
        """A matplotlib figure of the pictures side by side, each with its similarity and caption.

        Raises:
            SetupError: matplotlib is not installed.
        """
        pyplot = optional("matplotlib.pyplot", extra="notebook")
        columns = max(1, min(columns, len(self)))
        rows = max(1, -(-len(self) // columns))
        size = (CELL_INCHES * columns, CELL_INCHES * 1.3 * rows + 0.4)
        figure: Figure
        figure, axes = pyplot.subplots(rows, columns, squeeze=False, figsize=size, layout="constrained")
        # Closed at once, so that a notebook shows what is returned, and shows it once.
        pyplot.close(figure)
        figure.suptitle(title if len(self) else f"{title}\nnothing found".strip(), parse_math=False)
        pictures = self._pictures(self)
        for axis in axes.flat:
            axis.set_axis_off()
        for axis, hit in zip(axes.flat, self, strict=False):
            _draw(axis, hit, pictures.get(hit.image_id or 0))
        return figure

    def _repr_html_(self) -> str:
        shown = self[:HTML_HITS]
        pictures = self._pictures(shown)
        rows = "".join(_html_row(hit, pictures.get(hit.image_id or 0)) for hit in shown)
        head = "<tr><th></th><th>match</th><th>caption</th><th>key</th></tr>"
        more = f"<p>and {len(self) - len(shown):,} more</p>" if len(self) > len(shown) else ""
        return f"<table>{head}{rows}</table>{more}<p>{escape(repr(self)[1:-1])}</p>"

    def _pictures(self, hits: Sequence[Hit]) -> Mapping[int, bytes]:
        ids = [hit.image_id for hit in hits if hit.image_id is not None and hit.has_thumbnail]
        if not ids:
            return {}
        with transaction(self._engine) as connection:
            return thumbnails(connection, ids)


def _draw(axis: Axes, hit: Hit, webp: bytes | None) -> None:
    lines = textwrap.wrap(hit.caption or hit.key, CAPTION_CHARS, max_lines=CAPTION_LINES, placeholder="...")
    axis.set_title("\n".join([f"{hit.percent} %", *lines]), fontsize=8, parse_math=False)
    if webp is None:
        axis.text(0.5, 0.5, "no thumbnail", ha="center", va="center", transform=axis.transAxes, color="gray")
        return
    with Image.open(BytesIO(webp), formats=["WEBP"]) as picture:
        axis.imshow(picture.convert("RGB"))


def _html_row(hit: Hit, webp: bytes | None) -> str:
    picture = f'<img height="96" alt="" src="data:image/webp;base64,{b64encode(webp).decode()}">' if webp else ""
    if hit.url and hit.url.startswith(("https://", "http://")):
        picture = f'<a href="{escape(hit.url)}" rel="noreferrer">{picture or "original"}</a>'
    cells = [picture, f"{hit.percent} %", escape(hit.caption or ""), escape(hit.key)]
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
