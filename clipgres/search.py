"""Search: a request to an answer that says how it was found."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sqlalchemy import Engine, Row

from clipgres import collections
from clipgres.answer import Answer, Hit, Plan
from clipgres.collections import Collection
from clipgres.database import transaction
from clipgres.encoders import Encoders
from clipgres.fetch import Fetcher
from clipgres.filters import compile_filter
from clipgres.plans import Found, Method, Wanted, find_rows
from clipgres.query import QueryVector, QueryVectors
from clipgres.request import SearchRequest
from clipgres.settings import Settings
from clipgres.text_vectors import TextVectors


@dataclass(frozen=True)
class Searcher:
    """Answers search requests with these collaborators; safe to share between threads."""

    engine: Engine
    encoders: Encoders
    fetcher: Fetcher
    settings: Settings

    @cached_property
    def queries(self) -> QueryVectors:
        """Makes the query vectors; it remembers those of texts."""
        texts = TextVectors(self.engine, self.encoders)
        return QueryVectors(self.engine, self.encoders, texts, self.fetcher, self.settings)

    def search(self, request: SearchRequest) -> Answer:
        """Answer a request.

        Raises:
            BadRequest: something in it is wrong; the field is named.
            NotFound: the collection or an item to be like is not there.
            Unavailable: the database is away, or the search took longer than it may.
            ModelError: this machine has no model of the collection's space.
        """
        compile_filter(request.filter)  # before any model runs for a request that is refused
        with transaction(self.engine) as connection:
            collection = collections.find(connection, request.collection)
        return search(self.engine, request, self.queries.of(request, collection), collection, self.settings)


def search(
    engine: Engine, request: SearchRequest, query: QueryVector, collection: Collection, settings: Settings
) -> Answer:
    """Find what is nearest to a vector, by the filter, namespace, limit, threshold and mode of the request.

    Raises:
        BadRequest, Unavailable: as `Searcher.search`.
    """
    started = time.perf_counter()
    wanted = Wanted(
        collection=collection,
        query=query,
        condition=compile_filter(request.filter),
        namespace=request.namespace,
        limit=request.top_k,
        mode=request.mode,
        timeout_ms=settings.search_timeout_ms,
        max_scan_tuples=settings.search_max_scan_tuples,
    )
    with transaction(engine) as connection:
        found = find_rows(connection, wanted)
    hits = [_hit(row) for row in found.rows]
    shown = [hit for hit in hits if request.min_score is None or hit.score >= request.min_score]
    return Answer(
        collection=collection.name,
        hits=shown,
        plan=_plan(found, wanted, time.perf_counter() - started),
        hidden=len(hits) - len(shown),
        namespace=request.namespace,
    )


def _plan(found: Found, wanted: Wanted, seconds: float) -> Plan:
    uses_index = found.method in (Method.INDEX, Method.INDEX_THEN_EXACT)
    return Plan(
        method=found.method,
        index=wanted.collection.index_name if uses_index else None,
        asked=wanted.limit,
        found=len(found.rows),
        matched=found.matches.count,
        matched_is_exact=found.matches.is_exact,
        ef_search=found.ef_search,
        capped=found.capped,
        took_ms=round(seconds * 1000, 2),
        text_was_cut=wanted.query.text_was_cut,
    )


def _hit(row: Row[Any]) -> Hit:
    captions = row.captions or []
    return Hit(
        key=row.key,
        score=max(-1.0, min(1.0, 1.0 - row.distance)),
        url=row.url,
        caption=captions[0] if captions else None,
        captions=captions,
        width=row.width,
        height=row.height,
        host=row.host,
        metadata=row.metadata,
        image_id=row.image_id,
        has_thumbnail=row.has_thumbnail,
    )
