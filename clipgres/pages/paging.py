"""Pages: the first is an ordinary search, and what it takes to go on from it is kept; no later one repeats a row.

The first use of a cursor ranks the rows that follow the first page, once. That ranking is kept, and every page is a
part of it: nothing that is written meanwhile moves a row from one page to another.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sqlalchemy import Connection, Engine

from clipgres import collections
from clipgres.answer import Answer, Plan
from clipgres.background import Backgrounds
from clipgres.collections import Collection
from clipgres.database import autocommit
from clipgres.duplicates.folding import count_alike
from clipgres.errors import BadRequest
from clipgres.filters import compile_filter
from clipgres.finding import is_fused, wanted_of
from clipgres.pages.cursors import Cursor, read_cursor, write_cursor
from clipgres.pages.ranking import rank
from clipgres.pages.store import FirstPage, Kept, PageStore
from clipgres.plans import Estimates, Found, Wanted
from clipgres.query import QueryVector, QueryVectors
from clipgres.request import SearchRequest
from clipgres.rows import Shown, read_rows, show
from clipgres.settings import Settings

METHOD = "page"
# A text up to here is kept and its vector made anew, most often from memory; a longer one takes more than its vector.
KEPT_TEXT_CHARS = 500
QUERY_FIELDS = {"text", "not_text", "image", "image_url", "like", "unlike", "vector"}


@dataclass(frozen=True, slots=True)
class Pages:
    """Gives the later pages of searches with these collaborators; safe to share between threads."""

    engine: Engine
    store: PageStore
    queries: QueryVectors
    estimates: Estimates
    backgrounds: Backgrounds
    settings: Settings

    def begin(self, request: SearchRequest, wanted: Wanted, found: Found, shown: Shown) -> str | None:
        """Keep what a second page needs, and return the cursor of it; None where none follows, or none can."""
        if not self.store.is_open or not _may_follow(request, wanted, found, shown):
            return None
        is_remade = _is_remade(request)
        kept = Kept(
            collection_id=wanted.collection.id,
            request=_kept_fields(request, is_remade=is_remade),
            fingerprint=_fingerprint(request),
            matched=found.matches.count,
            matched_is_exact=found.matches.is_exact,
            text_was_cut=wanted.query.text_was_cut,
            fused=found.fused,
        )
        first = FirstPage(
            shown=np.array([row.id for row in found.rows], np.int64),
            left_out=np.array(wanted.query.left_out, np.int64),
            passed=np.array(found.folding.passed if found.folding else [], np.int64),
            vector=b"" if is_remade else wanted.query.vector.astype(np.float16).tobytes(),
        )
        named = self.store.keep(kept, first)
        return None if named is None else write_cursor(Cursor(named[0]), named[1])

    def next(self, request: SearchRequest) -> Answer:
        """The page that the cursor of a request stands for.

        Raises:
            BadRequest: the cursor is not ours or not of the search beside it, or its pages or its collection are gone.
            Unavailable: the database or Redis is away.
        """
        started = time.perf_counter()
        secret = self.store.secret()
        cursor = read_cursor(request.cursor or "", secret)
        rows_at = cursor.rows_at or self.store.rows_at(cursor.search) or self._rank(cursor.search, request)
        kept, vector = self.store.ranking(cursor.search, rows_at)
        _check(request, kept)
        asked = _request_of(kept)
        with autocommit(self.engine) as connection:
            collection = _collection_of(connection, kept)
            rows, place = self._rows(connection, collection, replace(cursor, rows_at=rows_at), kept, asked.top_k)
            alike = count_alike(connection, collection, asked.fold, [row.id for row in rows])
        background = self.backgrounds.of(collection, asked.criterion)
        shown = show(rows, asked, background, np.frombuffer(vector, np.float16).astype(np.float32), alike)
        is_end = place >= kept.ranked
        ends = is_end or _ends(asked, shown)
        return Answer(
            collection=collection.name,
            hits=shown.hits,
            plan=_plan(kept, asked, len(rows), is_end and kept.is_cut, time.perf_counter() - started),
            hidden=shown.hidden,
            namespace=asked.namespace,
            next=None if ends else write_cursor(Cursor(cursor.search, place, rows_at), secret),
        )

    def _rows(
        self, connection: Connection, collection: Collection, cursor: Cursor, kept: Kept, limit: int
    ) -> tuple[Sequence[Any], int]:
        """The next rows that are still there, up to `limit`, and the place in the ranking that follows them."""
        rows: list[Any] = []
        place, count = cursor.place, limit
        while len(rows) < limit and place < kept.ranked:
            ids, distances = self.store.ranked_rows(cursor.search, cursor.rows_at, place, count)
            there = read_rows(connection, collection, ids, distances)
            taken = there[: limit - len(rows)]
            place += len(ids) if len(taken) == len(there) else ids.index(taken[-1].id) + 1
            rows += taken
            count *= 2  # many rows in a row are deleted: sooner through them
        return rows, place

    def _rank(self, search: str, request: SearchRequest) -> int:
        """Make the ranking of a search and keep it; returns where its rows stand."""
        kept, first = self.store.first_page(search)
        read = time.monotonic()
        _check(request, kept)
        asked = _request_of(kept)
        with autocommit(self.engine) as connection:
            collection = _collection_of(connection, kept)
        if first.vector:
            vector = np.frombuffer(first.vector, np.float16).astype(np.float32)
        else:
            vector = self.queries.of(asked, collection).vector
        query = QueryVector(vector=vector, left_out=first.left_out.tolist(), text_was_cut=kept.text_was_cut)
        wanted = wanted_of(asked, query, collection, compile_filter(asked.filter), self.settings)
        age_ms = first.age_ms + int((time.monotonic() - read) * 1000)  # to make the vector may have taken a while
        first = replace(first, age_ms=age_ms)
        ranking = rank(self.engine, wanted, asked, first, self.estimates, kept.matched)
        kept = replace(
            kept, ranked=len(ranking.rows), is_cut=ranking.is_cut, index=ranking.index, folded=ranking.folded
        )
        return self.store.keep_ranking(search, kept, vector.astype(np.float16).tobytes(), ranking.rows.tobytes())


def _may_follow(request: SearchRequest, wanted: Wanted, found: Found, shown: Shown) -> bool:
    is_all = found.matches.is_exact and found.matches.count <= wanted.limit
    if found.folding:
        is_all = found.folding.is_end
    return len(found.rows) == wanted.limit and not is_all and not _ends(request, shown)


def _ends(request: SearchRequest, shown: Shown) -> bool:
    """Whether all that would follow is below what the request sets as least; a fused order is not one of scores."""
    return shown.ends_hidden and not is_fused(request)


def _is_remade(request: SearchRequest) -> bool:
    """Whether the query's vector is made anew from its texts."""
    texts = (request.text or "") + (request.not_text or "")
    given = request.model_dump(include=QUERY_FIELDS - {"text", "not_text"}, exclude_defaults=True)
    return not given and len(texts) <= KEPT_TEXT_CHARS


def _kept_fields(request: SearchRequest, *, is_remade: bool) -> dict[str, Any]:
    left = {"cursor"} if is_remade else QUERY_FIELDS | {"cursor"}
    return request.model_dump(mode="json", exclude=left, exclude_defaults=True)


def _request_of(kept: Kept) -> SearchRequest:
    return SearchRequest(**kept.request, cursor="-")


def _fingerprint(request: SearchRequest) -> str:
    """What is the same for the same search, however it is written."""
    fields = request.model_dump(mode="json", exclude={"image", "cursor"}, exclude_defaults=True)
    if request.image:
        fields["image"] = hashlib.sha256(request.image).hexdigest()
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:32]


def _check(request: SearchRequest, kept: Kept) -> None:
    """A cursor alone is enough; what else comes with it must be the same search."""
    if request.model_dump(exclude={"cursor"}, exclude_defaults=True) and _fingerprint(request) != kept.fingerprint:
        raise BadRequest("cursor: the cursor belongs to another search: leave the other fields out", "cursor")


def _collection_of(connection: Connection, kept: Kept) -> Collection:
    """The collection that the search began in, under the name it was asked by, wherever that name points now."""
    collection = collections.find_by_id(connection, kept.collection_id)
    if collection is None:
        raise BadRequest("cursor: the collection that this search began in was deleted", "cursor")
    return replace(collection, name=kept.request.get("collection", collections.DEFAULT))


def _plan(kept: Kept, request: SearchRequest, found: int, capped: bool, seconds: float) -> Plan:
    return Plan(
        method=METHOD,
        index=kept.index,
        asked=request.top_k,
        found=found,
        matched=kept.matched,
        matched_is_exact=kept.matched_is_exact,
        ef_search=None,
        capped=capped,
        took_ms=round(seconds * 1000, 2),
        criterion=request.criterion,
        fused=kept.fused,
        text_was_cut=kept.text_was_cut,
        folded=kept.folded,
    )
