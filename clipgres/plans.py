"""How the nearest rows are found: which of the plans, and what that plan can say of itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from pgvector import HalfVector
from psycopg.errors import QueryCanceled
from sqlalchemy import Connection, Row, TextClause, text
from sqlalchemy.exc import DBAPIError

from clipgres.collections import Collection
from clipgres.errors import BadRequest
from clipgres.filters import Condition
from clipgres.query import QueryVector
from clipgres.request import Mode
from clipgres.search_sql import COUNT_SQL, ESTIMATE_SQL, EXACT_SQL, INDEX_SQL, SETTINGS_SQL, SURVEY_SQL

# Exact search on the rows of a filter costs 0.8 ms a thousand of them; at 100,000 rows the index costs 2.8 ms where
# 10 % match (recall 0.86, against 1.00) and 21 ms where 1 % do (0.74). The price of the sure answer is at most 8 ms.
EXACT_FILTER_ROWS = 10_000
# One pass over the index considers no more rows than pgvector's largest ef_search.
INDEX_MAX_ROWS = 1_000
EF_SEARCH_MIN = 160
EF_SEARCH_MAX = 1_000


class Method(StrEnum):
    """How the rows were found, in the words of the answer."""

    EXACT = "exact"
    EXACT_ON_FILTER = "exact on filter"
    INDEX = "index"
    INDEX_THEN_EXACT = "index, then exact"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to find: the `limit` rows nearest to the query that meet the condition, in one namespace."""

    collection: Collection
    query: QueryVector
    condition: Condition
    namespace: str
    limit: int
    mode: Mode
    timeout_ms: int
    max_scan_tuples: int

    @property
    def scan_limit(self) -> int:
        """How many rows a scan gives: with room for those that are dropped outside it."""
        return self.limit + len(self.query.left_out)

    @property
    def is_filtered(self) -> bool:
        """Whether there is a filter."""
        return self.condition != Condition()

    @property
    def parameters(self) -> dict[str, Any]:
        """What the statements bind."""
        return {
            **self.condition.parameters,
            "query": HalfVector(self.query.vector),
            "namespace": self.namespace,
            "left_out": list(self.query.left_out),
        }

    def statement(self, template: str) -> TextClause:
        """One of the statements of search on this collection's table, with this filter."""
        names = {"items": self.collection.item_table, "condition": self.condition.sql}
        return text(template.format(**names, limit=f"{self.limit:d}", scan_limit=f"{self.scan_limit:d}"))


@dataclass(frozen=True, slots=True)
class Matches:
    """How many rows meet the condition, or about how many."""

    count: int
    is_exact: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The rows, nearest first, and how they were found; see `Plan` for the fields."""

    rows: Sequence[Row[Any]]
    method: Method
    matches: Matches
    ef_search: int | None = None
    capped: bool = False


def find_rows(connection: Connection, wanted: Wanted) -> Found:
    """Find the rows by the plan that finds them all soonest.

    Raises:
        BadRequest: mode `index` where there is no index.
    """
    _apply_settings(connection, wanted)
    survey = _survey(connection, wanted)
    if wanted.mode is Mode.INDEX and not survey.has_index:
        name = wanted.collection.name
        raise BadRequest(f'mode: collection "{name}" has no finished index; choose auto or exact', "mode")
    # To the index a namespace is a filter like any other, unless all rows are in it.
    is_filtered = wanted.is_filtered or bool(survey.has_other_namespaces)
    if is_filtered or survey.row_estimate <= EXACT_FILTER_ROWS:
        matches = _count(connection, wanted)
    else:
        matches = Matches(survey.row_estimate, is_exact=False)
    are_few = is_filtered and matches.is_exact
    index_is_best = survey.has_index and wanted.limit <= INDEX_MAX_ROWS and not are_few
    if wanted.mode is Mode.INDEX or (wanted.mode is Mode.AUTO and index_is_best):
        return _by_index(connection, wanted, matches, _ef_search(wanted, is_filtered))
    return _exact(connection, wanted, Method.EXACT_ON_FILTER if is_filtered else Method.EXACT, matches)


def _by_index(connection: Connection, wanted: Wanted, matches: Matches, ef_search: int) -> Found:
    """The index, and where it comes back short while more rows match, the exact plan."""
    _apply_settings(connection, wanted, ef_search=ef_search)
    rows = connection.execute(wanted.statement(INDEX_SQL), wanted.parameters).all()
    found = Found(rows=rows, method=Method.INDEX, matches=matches, ef_search=ef_search)
    if len(rows) >= (min(wanted.limit, matches.count) if matches.is_exact else wanted.limit):
        return found
    if wanted.mode is Mode.INDEX:
        return replace(found, capped=True)
    _apply_settings(connection, wanted)
    try:
        with connection.begin_nested():
            return replace(_exact(connection, wanted, Method.INDEX_THEN_EXACT, matches), ef_search=ef_search)
    except DBAPIError as error:
        # Some rows now, with the word that there may be more, are better than none.
        if not isinstance(error.orig, QueryCanceled):
            raise
        return replace(found, capped=True)


def _exact(connection: Connection, wanted: Wanted, method: Method, matches: Matches) -> Found:
    rows = connection.execute(wanted.statement(EXACT_SQL), wanted.parameters).all()
    if len(rows) < wanted.limit:
        matches = Matches(len(rows), is_exact=True)
    return Found(rows=rows, method=method, matches=matches)


def _ef_search(wanted: Wanted, is_filtered: bool) -> int:
    candidates = wanted.scan_limit * (4 if is_filtered else 2)
    return min(max(candidates, EF_SEARCH_MIN), EF_SEARCH_MAX)


def _apply_settings(connection: Connection, wanted: Wanted, *, ef_search: int | None = None) -> None:
    """Set what the next statement runs under, in this transaction alone; with `ef_search` the index is to answer."""
    parameters = {
        "timeout_ms": str(wanted.timeout_ms),
        "plan_cache_mode": "force_custom_plan" if wanted.is_filtered else "auto",
        "enable_seqscan": "off" if ef_search else "on",
        "max_scan_tuples": str(wanted.max_scan_tuples),
        "ef_search": str(ef_search or EF_SEARCH_MIN),
    }
    connection.execute(SETTINGS_SQL, parameters)


def _survey(connection: Connection, wanted: Wanted) -> Row[Any]:
    collection = wanted.collection
    parameters = {"items": collection.item_table, "index": collection.index_name, "namespace": wanted.namespace}
    return connection.execute(wanted.statement(SURVEY_SQL), parameters).one()


def _count(connection: Connection, wanted: Wanted) -> Matches:
    """Count up to a cap; above it, the planner's estimate will do."""
    parameters = {**wanted.parameters, "cap": EXACT_FILTER_ROWS + 1}
    counted: int = connection.execute(wanted.statement(COUNT_SQL), parameters).scalar_one()
    if counted <= EXACT_FILTER_ROWS:
        return Matches(counted, is_exact=True)
    plan = connection.execute(wanted.statement(ESTIMATE_SQL), wanted.parameters).scalar_one()
    return Matches(max(counted, int(plan[0]["Plan"]["Plan Rows"])), is_exact=False)
