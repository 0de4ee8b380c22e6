"""From a request to rows: what the plans are told, and whether one ranking answers or several."""

from __future__ import annotations

from functools import partial

from sqlalchemy import Engine

from clipgres.collections import Collection
from clipgres.duplicates.folding import find_folded
from clipgres.filters import Condition
from clipgres.fusion import find_fused
from clipgres.plans import Estimates, Found, Wanted, find_rows
from clipgres.query import QueryVector
from clipgres.request import Criterion, Fold, SearchRequest
from clipgres.settings import Settings


def is_fused(request: SearchRequest) -> bool:
    """Whether several rankings are fused into one."""
    return request.criterion is Criterion.BOTH or request.keywords is not None


def wanted_of(
    request: SearchRequest, query: QueryVector, collection: Collection, condition: Condition, settings: Settings
) -> Wanted:
    """What a request wants of the plans; `condition` is its filter, compiled."""
    return Wanted(
        collection=collection,
        query=query,
        condition=condition,
        namespace=request.namespace,
        limit=request.top_k,
        mode=request.mode,
        timeout_ms=settings.search_timeout_ms,
        max_scan_tuples=settings.search_max_scan_tuples,
        criterion=Criterion.TEXT if request.criterion is Criterion.TEXT else Criterion.IMAGE,
    )


def find(engine: Engine, wanted: Wanted, request: SearchRequest, estimates: Estimates) -> Found:
    """The rows that a request wants, best first; of each group of duplicates that it folds, the best.

    Raises:
        BadRequest, Unavailable: as `find_unfolded`.
    """
    if request.fold is Fold.NONE:
        return find_unfolded(engine, wanted, request, estimates)
    read = partial(find_unfolded, engine, request=request, estimates=estimates)
    return find_folded(engine, wanted, request.fold, read)


def find_unfolded(engine: Engine, wanted: Wanted, request: SearchRequest, estimates: Estimates) -> Found:
    """The rows that a request wants, best first, duplicates and all.

    Raises:
        BadRequest: mode `index` where there is no index, or keywords or weights that leave nothing to rank by.
        Unavailable: the database is away, or the search took longer than it may.
    """
    if is_fused(request):
        return find_fused(engine, wanted, request, estimates)
    return find_rows(engine, wanted, estimates)
