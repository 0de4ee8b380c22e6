"""The searches that are compared: exact, by the index at an `ef_search`, and as the product searches."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from pgvector import HalfVector
from sqlalchemy import Engine, TextClause, text

from clipgres.collections import Collection
from clipgres.database import transaction
from clipgres.filters import Condition
from clipgres.plans import Estimates, Found, Wanted, find_rows
from clipgres.query import QueryVector
from clipgres.recall.queries import Kind, Query
from clipgres.recall.statements import EXACT_SETTINGS_SQL, EXACT_SQL, INDEX_SETTINGS_SQL, INDEX_SQL
from clipgres.request import Mode
from clipgres.settings import Settings

# An exact scan of 100,000 rows of 512 dimensions takes 42 ms: a hundred million have their time.
TIMEOUT_MS = 60_000
# A row as near as the last of the nearest is as good as that one.
SAME_DISTANCE = 1e-7


@dataclass(frozen=True, slots=True)
class Neighbours:
    """What a search found: the distances, in order."""

    distances: Sequence[float]
    ms: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """One query: the share of the nearest rows that was found, how long it took, and by what plan."""

    kind: Kind
    recall: float
    ms: float
    method: str


@dataclass(frozen=True, slots=True)
class Searches:
    """Searches for the `k` rows nearest to a query."""

    engine: Engine
    collection: Collection
    k: int
    namespace: str
    settings: Settings
    estimates: Estimates = field(default_factory=Estimates)

    def exact(self, query: Query) -> Neighbours:
        """The nearest rows by a scan of all."""
        return self._run(EXACT_SETTINGS_SQL, {"timeout_ms": str(TIMEOUT_MS)}, EXACT_SQL, query)

    def by_index(self, query: Query, truth: Neighbours, ef_search: int) -> Outcome:
        """What the index finds of them."""
        parameters = {"timeout_ms": str(TIMEOUT_MS), "ef_search": str(ef_search)}
        found = self._run(INDEX_SETTINGS_SQL, parameters, INDEX_SQL, query)
        return Outcome(query.kind, recall_of(found, truth), found.ms, "index")

    def as_product(self, query: Query, condition: Condition, truth: Neighbours | None = None) -> Outcome:
        """What a search finds that leaves the plan to the product; without `truth` that is searched for as well."""
        if truth is None:
            truth = _neighbours(*self._product(query, condition, Mode.EXACT, TIMEOUT_MS))
        found, ms = self._product(query, condition, Mode.AUTO, self.settings.search_timeout_ms)
        return Outcome(query.kind, recall_of(_neighbours(found, ms), truth), ms, found.method)

    def _run(self, settings: TextClause, parameters: dict[str, str], template: str, query: Query) -> Neighbours:
        limit = self.k + len(query.left_out)
        statement = text(template.format(items=self.collection.item_table, limit=f"{limit:d}"))
        with transaction(self.engine) as connection:
            connection.execute(settings, parameters)
            started = time.perf_counter()
            rows = connection.execute(statement, {"query": HalfVector(query.vector)}).all()
            ms = 1000 * (time.perf_counter() - started)
        return Neighbours([row.distance for row in rows if row.id not in query.left_out][: self.k], ms)

    def _product(self, query: Query, condition: Condition, mode: Mode, timeout_ms: int) -> tuple[Found, float]:
        wanted = Wanted(
            collection=self.collection,
            query=QueryVector(vector=query.vector, left_out=query.left_out),
            condition=condition,
            namespace=self.namespace,
            limit=self.k,
            mode=mode,
            timeout_ms=timeout_ms,
            max_scan_tuples=self.settings.search_max_scan_tuples,
        )
        started = time.perf_counter()
        found = find_rows(self.engine, wanted, self.estimates)
        return found, 1000 * (time.perf_counter() - started)


def recall_of(found: Neighbours, truth: Neighbours) -> float:
    """The share of the nearest rows that was found; of none, all."""
    if not truth.distances:
        return 1.0
    limit = truth.distances[-1] + SAME_DISTANCE
    near = sum(distance <= limit for distance in found.distances)
    return min(near, len(truth.distances)) / len(truth.distances)


def _neighbours(found: Found, ms: float) -> Neighbours:
    return Neighbours([row.distance for row in found.rows], ms)
