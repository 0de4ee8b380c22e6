"""Search: a request to an answer that says how it was found."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property

from redis import Redis
from sqlalchemy import Engine

from clipgres import collections
from clipgres.answer import Answer, Plan
from clipgres.background import Backgrounds
from clipgres.collections import Collection
from clipgres.database import autocommit
from clipgres.decoding.pool import Decoders
from clipgres.encoders import Encoders
from clipgres.fetching import Fetcher
from clipgres.filters import compile_filter
from clipgres.finding import find, wanted_of
from clipgres.pages.paging import Pages
from clipgres.pages.store import PageStore
from clipgres.plans import Estimates, Found, Wanted
from clipgres.query import QueryVector, QueryVectors
from clipgres.request import SearchRequest
from clipgres.rows import show
from clipgres.settings import Settings
from clipgres.text_vectors import TextVectors


@dataclass(frozen=True)
class Searcher:
    """Answers search requests with these collaborators; safe to share between threads."""

    engine: Engine
    encoders: Encoders
    fetcher: Fetcher
    decoders: Decoders
    settings: Settings
    redis: Redis | None = None
    """Keeps what further pages need; without it there are none."""

    @cached_property
    def queries(self) -> QueryVectors:
        """Makes the query vectors; it remembers those of texts."""
        texts = TextVectors(self.engine, self.encoders)
        return QueryVectors(self.engine, self.encoders, texts, self.fetcher, self.decoders, self.settings)

    @cached_property
    def estimates(self) -> Estimates:
        """What is remembered of tables and filters."""
        return Estimates()

    @cached_property
    def backgrounds(self) -> Backgrounds:
        """What scores are held against."""
        return Backgrounds(self.engine)

    @cached_property
    def pages(self) -> Pages:
        """Gives the pages after the first."""
        store = PageStore(self.redis)
        return Pages(self.engine, store, self.queries, self.estimates, self.backgrounds, self.settings)

    def search(self, request: SearchRequest) -> Answer:
        """Answer a request.

        Raises:
            BadRequest: something in it is wrong; the field is named.
            NotFound: the collection or an item to be like is not there.
            Unavailable: the database is away, or the search took longer than it may.
            ModelError: this machine has no model of the collection's space.
        """
        if request.cursor:
            return self.pages.next(request)
        condition = compile_filter(request.filter)  # before any model runs for a request that is refused
        with autocommit(self.engine) as connection:
            collection = collections.find(connection, request.collection)
        wanted = wanted_of(request, self.queries.of(request, collection), collection, condition, self.settings)
        return _answer(self.engine, request, wanted, self.estimates, self.backgrounds, self.pages)


def search(
    engine: Engine,
    request: SearchRequest,
    query: QueryVector,
    collection: Collection,
    settings: Settings,
    estimates: Estimates | None = None,
) -> Answer:
    """Find what is nearest to a vector, by all that the request says beside it: one page, and what was counted is
    remembered in `estimates` alone.

    Raises:
        BadRequest, Unavailable: as `Searcher.search`.
    """
    wanted = wanted_of(request, query, collection, compile_filter(request.filter), settings)
    backgrounds = None if request.min_percentile is None else Backgrounds(engine)
    return _answer(engine, request, wanted, estimates or Estimates(), backgrounds)


def _answer(
    engine: Engine,
    request: SearchRequest,
    wanted: Wanted,
    estimates: Estimates,
    backgrounds: Backgrounds | None = None,
    pages: Pages | None = None,
) -> Answer:
    started = time.perf_counter()
    found = find(engine, wanted, request, estimates)
    background = backgrounds.of(wanted.collection, wanted.criterion) if backgrounds else None
    alike = found.folding.alike if found.folding else None
    shown = show(found.rows, request, background, wanted.query.vector, alike)
    return Answer(
        collection=wanted.collection.name,
        hits=shown.hits,
        plan=_plan(found, wanted, request, time.perf_counter() - started),
        hidden=shown.hidden,
        namespace=request.namespace,
        next=pages.begin(request, wanted, found, shown) if pages else None,
    )


def _plan(found: Found, wanted: Wanted, request: SearchRequest, seconds: float) -> Plan:
    return Plan(
        method=found.method,
        index=found.index,
        asked=wanted.limit,
        found=len(found.rows),
        matched=found.matches.count,
        matched_is_exact=found.matches.is_exact,
        ef_search=found.ef_search,
        capped=found.capped,
        took_ms=round(seconds * 1000, 2),
        criterion=request.criterion,
        fused=found.fused,
        text_was_cut=wanted.query.text_was_cut,
        folded=found.folding.folded if found.folding else 0,
    )
