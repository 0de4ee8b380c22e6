"""Several rankings made into one: by pictures, by captions, by keywords.

Reciprocal rank fusion (Cormack, Clarke and Büttcher, 2009): each ranking gives an item weight / (60 + its place), and
the sum ranks it. Places, unlike cosines of pictures, cosines of texts and ranks of keywords, can be added up.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Engine, text

from clipgres.database import transaction
from clipgres.errors import BadRequest
from clipgres.keywords import rank_by_keywords
from clipgres.plans import Estimates, Found, Matches, Method, Wanted, find_rows
from clipgres.request import Criterion, SearchRequest
from clipgres.rows import read_rows

FLATTENING = 60
# An item counts in a ranking when it is among so many times the rows asked for, within these bounds.
DEPTH_FACTOR, MIN_DEPTH, MAX_DEPTH = 4, 100, 1_000

DISTANCES_SQL = """
    SELECT i.id, i.embedding <=> CAST(:query AS halfvec) AS distance
    FROM {items} i
    WHERE i.id = ANY (CAST(:ids AS bigint[]))
"""

# An item that keywords find before its captions have vectors is at no known distance: as far as what has nothing to do
# with the query.
CAPTION_DISTANCES_SQL = """
    SELECT i.id, coalesce(min(c.embedding <=> CAST(:query AS halfvec)), 1) AS distance
    FROM {items} i
    LEFT JOIN {captions} c ON c.image_id = i.image_id
    WHERE i.id = ANY (CAST(:ids AS bigint[]))
    GROUP BY i.id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """Ids of items, best first, and how they were found; the rows of `found` are not looked at."""

    name: str
    weight: float
    ids: Sequence[int]
    found: Found


def find_fused(engine: Engine, wanted: Wanted, request: SearchRequest, estimates: Estimates) -> Found:
    """Find rows by all the rankings that the request names, in their fused order; equal ones by id.

    `fused` names the rankings that found anything; index and matches are those of the first ranking, unless the others
    found rows beyond. A row's distance is that of its picture, or with criterion `text` that of its best caption.

    Raises:
        BadRequest: keywords without a word to search for, weights that leave no ranking, or as `find_rows`.
        Unavailable: the database is away, or it took longer than it may.
    """
    rankings = list(_rankings(engine, wanted, request, estimates))
    if not rankings:
        raise BadRequest("weights: no ranking that is asked for has a weight above 0", "weights")
    ranked, matches = fuse(rankings), rankings[0].found.matches
    if len(ranked) > matches.count:
        matches = Matches(len(ranked), is_exact=False)
    ids = ranked[: wanted.limit]
    with transaction(engine) as connection:
        distances = _distances(connection, wanted, ids)
        there = [id_ for id_ in ids if id_ in distances]
        rows = read_rows(connection, wanted.collection, there, [distances[id_] for id_ in there])
    return replace(
        rankings[0].found,
        rows=rows,
        method=Method.FUSED,
        matches=matches,
        capped=any(ranking.found.capped for ranking in rankings),
        fused=tuple(ranking.name for ranking in rankings if ranking.ids),
    )


def fuse(rankings: Sequence[Ranking]) -> list[int]:
    """The ids of all rankings in their fused order."""
    shares: dict[int, list[float]] = {}
    for ranking in rankings:
        for place, id_ in enumerate(ranking.ids, start=1):
            shares.setdefault(id_, []).append(ranking.weight / (FLATTENING + place))
    # fsum, so that the same shares make the same sum in any order.
    return sorted(shares, key=lambda id_: (-math.fsum(shares[id_]), id_))


def _rankings(engine: Engine, wanted: Wanted, request: SearchRequest, estimates: Estimates) -> Iterator[Ranking]:
    deep = replace(wanted, limit=max(min(DEPTH_FACTOR * wanted.limit, MAX_DEPTH), MIN_DEPTH, wanted.limit))
    weights, criterion = request.weights, request.criterion
    by_vectors = (
        ("pictures", Criterion.IMAGE, weights.pictures if criterion is not Criterion.TEXT else 0),
        ("captions", Criterion.TEXT, weights.captions if criterion is not Criterion.IMAGE else 0),
    )
    for name, compared, weight in by_vectors:
        if weight:
            found = find_rows(engine, replace(deep, criterion=compared), estimates)
            yield Ranking(name=name, weight=weight, ids=[row.id for row in found.rows], found=found)
    if request.keywords is not None and weights.keywords:
        held = rank_by_keywords(engine, deep, request.keywords)
        matches = Matches(len(held.ids), is_exact=len(held.ids) < deep.limit and not held.capped)
        found = Found(rows=(), method=Method.FUSED, matches=matches, capped=held.capped)
        yield Ranking(name="keywords", weight=weights.keywords, ids=held.ids, found=found)


def _distances(connection: Connection, wanted: Wanted, ids: Sequence[int]) -> dict[int, float]:
    template = CAPTION_DISTANCES_SQL if wanted.criterion is Criterion.TEXT else DISTANCES_SQL
    names = {"items": wanted.collection.item_table, "captions": wanted.collection.caption_table}
    parameters: dict[str, Any] = {"query": wanted.parameters["query"], "ids": list(ids)}
    rows = connection.execute(text(template.format(**names)), parameters)
    return {row.id: row.distance for row in rows}
