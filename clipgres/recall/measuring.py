"""How good a collection's index is on its own data: what it finds of what an exact search finds."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import fmean, median
from typing import Any

from sqlalchemy import Engine

from clipgres.collections import Collection
from clipgres.counts import count_items
from clipgres.database import transaction
from clipgres.errors import NotFound
from clipgres.filters import Condition, compile_filter
from clipgres.index import IndexOf, index_state
from clipgres.recall.queries import Kind, Material, Query, gather
from clipgres.recall.searches import Outcome, Searches
from clipgres.settings import Settings

EF_SEARCH = (40, 100, 160, 400)
Track = Callable[[Sequence[Query], str], Iterable[Query]]


@dataclass(frozen=True, slots=True)
class Score:
    """Recall over queries: its mean, the worst query, the share of perfect ones, and the middle time."""

    queries: int
    recall: float
    worst: float
    perfect: float
    p50_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One way to search, over all queries and by their kind; without `ef_search` as the product searches."""

    ef_search: int | None
    filter: Mapping[str, Any] = field(default_factory=dict)
    overall: Score
    kinds: Mapping[str, Score]
    methods: Mapping[str, int]

    @property
    def name(self) -> str:
        """What it is: ef_search 40, no filter, {"host": "a.example"}."""
        if self.ef_search is not None:
            return f"ef_search {self.ef_search}"
        return json.dumps(self.filter, ensure_ascii=False) if self.filter else "no filter"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A measurement of one collection."""

    collection: str
    collection_id: int
    measured_at: datetime
    items: int
    k: int
    namespace: str
    exact_p50_ms: float
    by_ef_search: Sequence[Line]
    as_searched: Line
    by_filter: Sequence[Line]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """What to measure: recall at `k`, with up to `queries` queries of each kind, at several `ef_search`."""

    k: int = 10
    queries: int = 100
    ef_search: Sequence[int] = EF_SEARCH
    filter: Mapping[str, Any] | None = None


def measure(
    engine: Engine,
    collection: Collection,
    wanted: Measure,
    settings: Settings,
    track: Track = lambda queries, _: queries,
) -> Report:
    """Measure a collection's index, reading only; `track` goes through the queries and may show how far it is.

    Raises:
        NotFound: the collection is empty, or has no finished index.
        BadRequest: a filter that is wrong.
        Unavailable: the database is away, or an exact scan takes more than a minute.
    """
    compile_filter(wanted.filter or {})  # before anything else takes its time
    with transaction(engine) as connection:
        material = gather(connection, collection, wanted.queries)
        state, count = index_state(connection, IndexOf.items(collection)), count_items(connection, collection)
    if not state.is_valid:
        raise NotFound(_without_index(collection, state.is_building, settings))
    searches = Searches(engine, collection, wanted.k, material.namespace, settings)
    exact_ms, by_ef_search, as_searched = _unfiltered(searches, material, wanted.ef_search, track)
    some = material.queries[:: max(1, -(-len(material.queries) // wanted.queries))]
    filters = material.filters if wanted.filter is None else [wanted.filter]
    return Report(
        collection=collection.name,
        collection_id=collection.id,
        measured_at=datetime.now(UTC),
        items=count.items,
        k=wanted.k,
        namespace=material.namespace,
        exact_p50_ms=exact_ms,
        by_ef_search=by_ef_search,
        as_searched=as_searched,
        by_filter=[_filtered(searches, each, track(some, f"With {each}")) for each in filters],
    )


def _unfiltered(
    searches: Searches, material: Material, ef_search: Sequence[int], track: Track
) -> tuple[float, Sequence[Line], Line]:
    """All queries through all the ways, one query after the other, so that no way has a warmer cache than another."""
    exact_ms: list[float] = []
    by_ef: dict[int, list[Outcome]] = {ef: [] for ef in ef_search}
    product: list[Outcome] = []
    for query in track(material.queries, "Without a filter"):
        truth = searches.exact(query)
        exact_ms.append(truth.ms)
        for ef, outcomes in by_ef.items():
            outcomes.append(searches.by_index(query, truth, ef))
        product.append(searches.as_product(query, Condition(), None if material.has_other_namespaces else truth))
    return median(exact_ms), [_line(outcomes, ef_search=ef) for ef, outcomes in by_ef.items()], _line(product)


def _filtered(searches: Searches, mapping: Mapping[str, Any], queries: Iterable[Query]) -> Line:
    condition = compile_filter(mapping)
    return _line([searches.as_product(query, condition) for query in queries], filter=mapping)


def _line(outcomes: Sequence[Outcome], **way: Any) -> Line:
    by_kind = {kind: [one for one in outcomes if one.kind is kind] for kind in Kind}
    kinds = {kind.value: _score(ours) for kind, ours in by_kind.items() if ours}
    methods = Counter(one.method for one in outcomes)
    return Line(**{"ef_search": None, **way}, overall=_score(outcomes), kinds=kinds, methods=dict(methods))


def _score(outcomes: Sequence[Outcome]) -> Score:
    recalls = [one.recall for one in outcomes]
    return Score(
        queries=len(outcomes),
        recall=fmean(recalls),
        worst=min(recalls),
        perfect=fmean(recall == 1 for recall in recalls),
        p50_ms=median(one.ms for one in outcomes),
    )


def _without_index(collection: Collection, is_building: bool, settings: Settings) -> str:
    if is_building:
        return f'the index of collection "{collection.name}" is being built: try again when `clipgres status` shows it'
    return (
        f'collection "{collection.name}" has no index yet, so every search is exact: a worker builds one '
        f"from {settings.index_rows:,} pictures on"
    )
