"""Hits as people use them in Python: a sequence, a data frame, a grid of pictures, a table in a notebook."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from html import escape
from typing import TYPE_CHECKING, overload

from sqlalchemy import Engine

from clipgres.answer import Answer, Hit, Plan
from clipgres.database import transaction
from clipgres.errors import NotFound
from clipgres.hits_plot import Asked, draw, match
from clipgres.items import find_item, thumbnails
from clipgres.optional import optional
from clipgres.request import SearchRequest

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

HTML_HITS = 50


class Hits(Sequence[Hit]):
    """The hits of one answer, best first; pictures are read from the database when they are shown.

    With its `request`, what was asked for is shown beside them.
    """

    def __init__(self, answer: Answer, engine: Engine, request: SearchRequest | None = None) -> None:
        self.answer = answer
        self._engine = engine
        self.request = request

    @overload
    def __getitem__(self, index: int) -> Hit: ...
    @overload
    def __getitem__(self, index: slice) -> Hits: ...
    def __getitem__(self, index: int | slice) -> Hit | Hits:
        """One hit, or a part of them that can be shown the same way."""
        if isinstance(index, slice):
            return Hits(replace(self.answer, hits=self.answer.hits[index]), self._engine, self.request)
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
        """How many were found, but below `min_score` or `min_percentile`."""
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
        """A matplotlib figure of the pictures side by side, each with its similarity and caption, after the query.

        Raises:
            SetupError: matplotlib is not installed.
        """
        return draw(self, self._pictures(self), self._asked(), columns=columns, title=title)

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

    def _asked(self) -> Asked | None:
        """What was asked for; of several pictures the first."""
        request = self.request
        if request is None:
            return None
        words = [request.text, request.image_url, *(f"like {key}" for key in request.like)]
        words += [f"not {part}" for part in (request.not_text, *request.unlike) if part]
        asked = "\n".join(part for part in words if part)
        picture = request.image or (self._picture_of(request.like[0], request.namespace) if request.like else None)
        return Asked(asked, picture) if asked or picture else None

    def _picture_of(self, key: str, namespace: str) -> bytes | None:
        with suppress(NotFound), transaction(self._engine) as connection:
            item = find_item(connection, self.answer.collection, key, namespace)
            return thumbnails(connection, [item.image_id or 0]).get(item.image_id or 0)
        return None


def _html_row(hit: Hit, webp: bytes | None) -> str:
    picture = f'<img height="96" alt="" src="data:image/webp;base64,{b64encode(webp).decode()}">' if webp else ""
    if hit.url and hit.url.startswith(("https://", "http://")):
        picture = f'<a href="{escape(hit.url)}" rel="noreferrer">{picture or "original"}</a>'
    cells = [picture, match(hit), escape(hit.caption or ""), escape(hit.key)]
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
