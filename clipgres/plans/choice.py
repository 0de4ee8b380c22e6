"""How the nearest rows are found: which of the plans, and what that plan can say of itself.

Exact search looks at every row that matches: sure, and the faster way to few rows. The index gives candidates, nearest
first, of which those that match are taken: the deeper the last of them stands, the less sure it is that none nearer was
missed, so how deep that was decides whether to look at more candidates, or at every row after all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from psycopg.errors import QueryCanceled
from sqlalchemy import Engine

from clipgres.errors import BadRequest, Unavailable
from clipgres.plans.costs import (
    LEAST_CANDIDATES,
    LOOK_SHARE,
    MOST_CANDIDATES,
    candidates_for,
    exact_ms,
    index_ms,
    index_price,
    is_deep_enough,
)
from clipgres.plans.estimates import Estimates, Matching, Survey
from clipgres.plans.found import Found, Matches, Method
from clipgres.plans.scans import Scans, Wanted
from clipgres.request import Mode

# More than the index gives reliably by one pass, whatever the filter.
INDEX_MAX_ROWS = 1_000
# Up to so many rows are counted while they are ranked; each takes a place in the server's memory.
COUNTED_ROWS = 60_000
# Exact search gives up where the statistics said far less than there is, and the index may be the better way.
LEAST_CAP = 10_000
CAP_FACTOR = 4


def find_rows(engine: Engine, wanted: Wanted, estimates: Estimates) -> Found:
    """Find the rows by the plan that finds them all soonest.

    Raises:
        BadRequest: mode `index` where there is no index.
        Unavailable: the database is away, or the search took longer than it may.
    """
    scans = Scans(engine, wanted)
    survey = estimates.survey(wanted.collection.id, scans.survey)
    if wanted.mode is Mode.INDEX and not survey.has_index(wanted.criterion):
        estimates.forget(wanted.collection.id)  # it may be finished by now
        survey = estimates.survey(wanted.collection.id, scans.survey)
        if not survey.has_index(wanted.criterion):
            raise no_index(wanted)
    key = wanted.filter_key
    search = _Search(scans, estimates, survey, key, estimates.matching(key, scans.estimate))
    if wanted.mode is Mode.INDEX:
        return search.by_index_alone()
    if wanted.mode is Mode.EXACT or not survey.has_index(wanted.criterion) or wanted.limit > INDEX_MAX_ROWS:
        return search.exact()
    return search.by_best_plan()


@dataclass(frozen=True, slots=True)
class _Search:
    """One search, and what is believed of its rows."""

    scans: Scans
    estimates: Estimates
    survey: Survey
    filter_key: bytes
    matching: Matching

    def by_best_plan(self) -> Found:
        """What the costs say; what turns out otherwise than was believed is believed from then on."""
        candidates = self._first_candidates()
        if candidates is not None:
            return self._by_index(candidates)
        cap = max(CAP_FACTOR * self.matching.rows, LEAST_CAP)
        rows, counted = self.scans.exact_counted(cap)
        if counted < cap:
            return self._found_exactly(rows, counted)
        more = replace(self, matching=self._learn(rows=max(counted, self.scans.estimate().rows)))
        candidates = more._first_candidates()
        return more.exact() if candidates is None else more._by_index(candidates)

    def by_index_alone(self) -> Found:
        """What the index gives, as far down as it may be read."""
        wanted = self._wanted
        first = min(candidates_for(self._place), MOST_CANDIDATES)
        found = self._index_alone(first)
        if len(found.rows) < wanted.limit and wanted.max_scan_tuples > first:
            found = self._index_alone(wanted.max_scan_tuples)
        if len(found.rows) == wanted.limit:
            return found
        _, counted = self.scans.exact_counted(COUNTED_ROWS)
        matches = Matches(counted, is_exact=counted < COUNTED_ROWS)
        return replace(found, matches=matches, capped=len(found.rows) < min(wanted.limit, counted))

    def exact(self) -> Found:
        """The nearest of all that match, to the end."""
        if self.matching.rows <= COUNTED_ROWS:
            return self._found_exactly(*self.scans.exact_counted(None))
        rows = self.scans.exact()
        return self._found_exactly(rows, len(rows) if len(rows) < self._wanted.limit else None)

    @property
    def _wanted(self) -> Wanted:
        return self.scans.wanted

    @property
    def _is_filtered(self) -> bool:
        """To the index a namespace is a filter like any other, unless all rows are in it."""
        return self._wanted.is_filtered or self.survey.has_others_than(self._wanted.namespace)

    @property
    def _share(self) -> float:
        """The share of the collection's items that match."""
        if not self._is_filtered:
            return 1.0
        rows = max(self.matching.rows, 1)
        return rows / max(self.survey.items, rows)

    @property
    def _nearest_place(self) -> float:
        """Where the last row stands among the candidates if all that is near the query matches."""
        return self._wanted.limit * self.survey.vectors_per_item(self._wanted.criterion)

    @property
    def _place(self) -> float:
        """Where it stands if what matches is spread evenly."""
        return self._nearest_place / self._share

    @property
    def _exact_ms(self) -> float:
        vectors = self.matching.rows * self.survey.vectors_per_item(self._wanted.criterion)
        return exact_ms(vectors, self.matching.finding)

    def _index_is_better(self, place: float) -> bool:
        within = candidates_for(place) <= max(self._wanted.max_scan_tuples, LEAST_CANDIDATES)
        return within and index_price(place) < self._exact_ms

    def _first_candidates(self) -> int | None:
        """How many candidates to look at first; None: exact search is better at once."""
        near, is_better = candidates_for(self._nearest_place), self._index_is_better(self._place)
        best_ms = min(self._exact_ms, index_price(self._place)) if is_better else self._exact_ms
        if self.matching.look_pays and index_ms(near) <= LOOK_SHARE * best_ms:
            return near
        return candidates_for(self._place) if is_better else None

    def _index_alone(self, candidates: int) -> Found:
        rows = self.scans.by_index(candidates)
        if rows is None:
            raise no_index(self._wanted)
        return self._found_by_index(rows, candidates)

    def _by_index(self, candidates: int) -> Found:
        """The index; where it comes back short, or too deep, more of it or the exact plan."""
        rows = self.scans.by_index(candidates)
        if rows is None:
            self.estimates.forget(self._wanted.collection.id)
            return self.exact()
        found = self._found_by_index(rows, candidates)
        is_full = len(rows) == self._wanted.limit
        last = max((row.place for row in rows), default=0)
        place = last if is_full else self._wanted.limit * candidates / max(len(rows), 1)
        is_better, wider = self._index_is_better(place), candidates_for(place)
        if is_full and (is_deep_enough(place, candidates) or (is_better and wider <= candidates)):
            return found
        wiser = replace(self, matching=self._learn(look_pays=False))
        return wiser._by_index(wider) if is_better and wider > candidates else wiser._finish(found)

    def _finish(self, found: Found) -> Found:
        """The exact plan after the index; if that takes too long, some rows, and word of it, are better than none."""
        try:
            exact = self.exact()
        except Unavailable as error:
            if not isinstance(error.__cause__, QueryCanceled):
                raise
            return replace(found, capped=True)
        return replace(exact, method=Method.INDEX_THEN_EXACT, index=found.index, ef_search=found.ef_search)

    def _found_by_index(self, rows: Sequence[Any], candidates: int) -> Found:
        return Found(
            rows=rows,
            method=Method.INDEX,
            matches=Matches(max(self.matching.rows, len(rows)), is_exact=False),
            index=self._wanted.index_name,
            ef_search=min(candidates, MOST_CANDIDATES),
        )

    def _found_exactly(self, rows: Sequence[Any], counted: int | None) -> Found:
        method = Method.EXACT_ON_FILTER if self._is_filtered else Method.EXACT
        if counted is None:
            return Found(rows=rows, method=method, matches=Matches(self.matching.rows, is_exact=False))
        self._learn(rows=counted)
        return Found(rows=rows, method=method, matches=Matches(counted, is_exact=True))

    def _learn(self, **facts: Any) -> Matching:
        """Believe this of the filter from now on."""
        matching = replace(self.matching, **facts)
        self.estimates.learn(self.filter_key, matching)
        return matching


def no_index(wanted: Wanted) -> BadRequest:
    """The refusal of mode `index`."""
    name = wanted.collection.name
    return BadRequest(f'mode: collection "{name}" has no finished index; choose auto or exact', "mode")
