"""The rows of a ranking: how they are read, and the hits they become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from sqlalchemy import Connection, text

from clipgres.answer import Hit
from clipgres.background import Background
from clipgres.collections import Collection
from clipgres.plans.statements import ROWS_SQL
from clipgres.request import SearchRequest
from clipgres.text_vectors import Vector

GIVEN_SQL = """
    WITH nearest AS MATERIALIZED (
        SELECT *
        FROM unnest(CAST(:ids AS bigint[]), CAST(:distances AS float8[])) WITH ORDINALITY given (id, distance, place)
    )
"""
READ_SQL = GIVEN_SQL + ROWS_SQL.format(also="n.place")


@dataclass(frozen=True, slots=True)
class Shown:
    """The hits of an answer, and how many more are hidden: below what the request sets as least."""

    hits: Sequence[Hit]
    hidden: int
    ends_hidden: bool
    """Whether the last of them all is hidden: in an order of distance, so are those that would follow."""


def read_rows(
    connection: Connection, collection: Collection, ids: Sequence[int], distances: Sequence[float]
) -> list[Any]:
    """The rows of these items with their distances, in the order of `ids`, without those that are deleted by now."""
    statement = text(READ_SQL.format(items=collection.item_table))
    rows = connection.execute(statement, {"ids": list(ids), "distances": list(distances)})
    return sorted(rows, key=lambda row: row.place)  # a fused order is not that of distances


def show(
    rows: Sequence[Any],
    request: SearchRequest,
    background: Background | None,
    query: Vector,
    alike: Mapping[int, int] | None = None,
) -> Shown:
    """The hits of rows, less those below `min_score` or `min_percentile`; the latter needs a background.

    `alike` says by id of item how many others of its group there are.
    """
    alike = alike or {}
    scores = [max(-1.0, min(1.0, 1.0 - row.distance)) for row in rows]
    percentiles = background.percentiles(query, scores) if background and rows else repeat(None)
    least_score = -1.0 if request.min_score is None else request.min_score
    least_percentile = request.min_percentile or 0.0
    hits, is_shown = [], True
    for row, score, percentile in zip(rows, scores, percentiles, strict=False):
        is_shown = score >= least_score and (percentile is None or percentile >= least_percentile)
        if is_shown:
            hits.append(_hit(row, score, percentile, alike.get(row.id, 0)))
    return Shown(hits, hidden=len(rows) - len(hits), ends_hidden=not is_shown)


def _hit(row: Any, score: float, percentile: float | None, duplicates: int) -> Hit:
    captions = row.captions or []
    return Hit(
        key=row.key,
        score=score,
        url=row.url,
        caption=captions[0] if captions else None,
        captions=captions,
        width=row.width,
        height=row.height,
        host=row.host,
        metadata=row.metadata,
        image_id=row.image_id,
        has_thumbnail=row.has_thumbnail,
        percentile=percentile,
        duplicates=duplicates,
        alive=row.alive,
    )
