"""How the nearest rows are found: which of the plans, with its statement, and what that plan can say of itself."""

from __future__ import annotations

import json
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

# Exact search on the rows of a filter costs 0.8 ms a thousand of them; at 100,000 rows the index costs 2.8 ms where
# 10 % match (recall 0.86, against 1.00) and 21 ms where 1 % do (0.74). The price of the sure answer is at most 8 ms.
EXACT_FILTER_ROWS = 10_000
# The index looks at no more rows at once than the largest ef_search of pgvector.
INDEX_MAX_ROWS = 1_000
EF_SEARCH_MIN = 160
EF_SEARCH_MAX = 1_000
MAX_SCAN_TUPLES = 20_000


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

    @property
    def parameters(self) -> dict[str, Any]:
        """What the statements bind."""
        return {
            **self.condition.parameters,
            "query": HalfVector(self.query.vector),
            "namespace": self.namespace,
            "left_out": list(self.query.left_out),
        }

    @property
    def is_filtered(self) -> bool:
        """Whether there is a filter."""
        return self.condition.sql != "true"

    def statement(self, template: str) -> TextClause:
        """A statement on this collection's table, with the filter's SQL, of which every value is bound.

        The limit of a scan leaves room for the rows that are dropped outside it.
        """
        scan_limit = self.limit + len(self.query.left_out)
        names = {"items": self.collection.item_table, "condition": self.condition.sql}
        return text(template.format(**names, limit=f"{self.limit:d}", scan_limit=f"{scan_limit:d}"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The rows, nearest first, and how they were found; see `Plan` for the fields."""

    rows: Sequence[Row[Any]]
    method: Method
    matched: int
    matched_is_exact: bool
    ef_search: int | None = None
    capped: bool = False


# Compiling would cost more than any of these statements takes. A plan made for any value of a filter can be a bad one
# for the value at hand.
SETTINGS_SQL = text("""
    SELECT set_config('statement_timeout', :timeout_ms, true),
           set_config('jit', 'off', true),
           set_config('plan_cache_mode', :plan_cache_mode, true),
           set_config('enable_seqscan', :enable_seqscan, true),
           set_config('hnsw.iterative_scan', 'strict_order', true),
           set_config('hnsw.max_scan_tuples', :max_scan_tuples, true),
           set_config('hnsw.ef_search', :ef_search, true)
""")

SURVEY_SQL = """
    SELECT t.reltuples::bigint AS row_estimate,
           EXISTS (
               SELECT FROM pg_index x JOIN pg_class xc ON xc.oid = x.indexrelid
               WHERE x.indrelid = t.oid AND xc.relname = :index AND x.indisvalid
           ) AS has_index,
           (SELECT min(namespace) <> :namespace OR max(namespace) <> :namespace FROM {items}) AS has_other_namespaces
    FROM pg_class t
    WHERE t.oid = CAST(:items AS regclass)
"""

MATCHING_SQL = """
    SELECT FROM {items} i
    LEFT JOIN clipgres.image im ON im.id = i.image_id
    WHERE i.namespace = :namespace AND i.id <> ALL (CAST(:left_out AS bigint[])) AND {condition}
"""
COUNT_SQL = f"SELECT count(*) FROM ({MATCHING_SQL} LIMIT :cap) capped"  # noqa: S608 - both parts are ours
ESTIMATE_SQL = f"EXPLAIN (FORMAT JSON) {MATCHING_SQL}"

# The condition stands in a subquery, which the planner does not take apart: it can use no other index then, and with
# `enable_seqscan` off the ordered scan of the HNSW index is all that is left.
INDEX_SCAN_SQL = """
        SELECT i.id, i.embedding <=> CAST(:query AS halfvec) AS distance
        FROM {items} i
        WHERE (
            SELECT i.namespace = :namespace AND {condition}
            FROM (SELECT i.image_id) one
            LEFT JOIN clipgres.image im ON im.id = one.image_id
        )
        ORDER BY i.embedding <=> CAST(:query AS halfvec)
        LIMIT {scan_limit}
"""
# With + 0 the order is not the index's, which therefore cannot be used.
EXACT_SCAN_SQL = """
        SELECT i.id, (i.embedding <=> CAST(:query AS halfvec)) + 0 AS distance
        FROM {items} i
        LEFT JOIN clipgres.image im ON im.id = i.image_id
        WHERE i.namespace = :namespace AND {condition}
        ORDER BY distance, i.id
        LIMIT {scan_limit}
"""
# Everything that is shown is joined to the few rows that were found. Subqueries of one value, unlike EXISTS, are looked
# up by index for each row, whatever the statistics say; and limits that the planner can see let it keep its plan.
ROWS_SQL = """
    WITH nearest AS MATERIALIZED ({scan}    )
    SELECT n.distance, i.key, i.metadata, i.image_id, im.url, im.host, im.width, im.height,
           (
               SELECT (array_agg(c.text ORDER BY c.id))[1:20] FROM clipgres.caption c WHERE c.image_id = i.image_id
           ) AS captions,
           (SELECT t.image_id FROM clipgres.thumbnail t WHERE t.image_id = i.image_id) IS NOT NULL AS has_thumbnail
    FROM nearest n
    JOIN {{items}} i ON i.id = n.id
    LEFT JOIN clipgres.image im ON im.id = i.image_id
    WHERE n.id <> ALL (CAST(:left_out AS bigint[]))
    ORDER BY n.distance, n.id
    LIMIT {{limit}}
"""
INDEX_SQL = ROWS_SQL.format(scan=INDEX_SCAN_SQL)
EXACT_SQL = ROWS_SQL.format(scan=EXACT_SCAN_SQL)


def find_rows(connection: Connection, wanted: Wanted) -> Found:
    """Find the rows by the plan that finds them all soonest.

    Raises:
        BadRequest: mode `index` where there is no index.
    """
    _apply_settings(connection, wanted, ef_search=EF_SEARCH_MIN)
    survey = _survey(connection, wanted)
    if wanted.mode is Mode.INDEX and not survey.has_index:
        name = wanted.collection.name
        raise BadRequest(f'mode: collection "{name}" has no finished index; choose auto or exact', "mode")
    is_filtered = wanted.is_filtered or survey.has_other_namespaces
    matched, is_exact = _count(connection, wanted, survey.row_estimate, is_filtered)
    few = is_filtered and is_exact
    fits_index = survey.has_index and wanted.limit <= INDEX_MAX_ROWS and not few
    if wanted.mode is Mode.INDEX or (wanted.mode is Mode.AUTO and fits_index):
        return _by_index(connection, wanted, matched, is_exact, is_filtered)
    method = Method.EXACT_ON_FILTER if is_filtered else Method.EXACT
    return _counted(_exact(connection, wanted, method, matched, is_exact), wanted)


def _by_index(connection: Connection, wanted: Wanted, matched: int, is_exact: bool, is_filtered: bool) -> Found:
    """The index, and where it comes back short while more rows match, the exact plan."""
    ef_search = _ef_search(wanted, is_filtered)
    _apply_settings(connection, wanted, ef_search=ef_search, by_index=True)
    rows = connection.execute(wanted.statement(INDEX_SQL), wanted.parameters).all()
    found = Found(rows=rows, method=Method.INDEX, matched=matched, matched_is_exact=is_exact, ef_search=ef_search)
    if len(rows) >= (min(wanted.limit, matched) if is_exact else wanted.limit):
        return found
    if wanted.mode is Mode.INDEX:
        return replace(found, capped=True)
    _apply_settings(connection, wanted, ef_search=ef_search)
    try:
        with connection.begin_nested():
            whole = _exact(connection, wanted, Method.INDEX_THEN_EXACT, matched, is_exact)
    except DBAPIError as error:
        if not isinstance(error.orig, QueryCanceled):
            raise
        return replace(found, capped=True)
    return _counted(replace(whole, ef_search=ef_search), wanted)


def _exact(connection: Connection, wanted: Wanted, method: Method, matched: int, is_exact: bool) -> Found:
    rows = connection.execute(wanted.statement(EXACT_SQL), wanted.parameters).all()
    return Found(rows=rows, method=method, matched=matched, matched_is_exact=is_exact)


def _counted(found: Found, wanted: Wanted) -> Found:
    """An exact plan that comes back short has found every row that matches."""
    if len(found.rows) < wanted.limit:
        return replace(found, matched=len(found.rows), matched_is_exact=True)
    return found


def _ef_search(wanted: Wanted, is_filtered: bool) -> int:
    candidates = (wanted.limit + len(wanted.query.left_out)) * (4 if is_filtered else 2)
    return min(max(candidates, EF_SEARCH_MIN), EF_SEARCH_MAX)


def _apply_settings(connection: Connection, wanted: Wanted, *, ef_search: int, by_index: bool = False) -> None:
    """For this transaction alone: the connection goes back to a pool."""
    parameters = {
        "timeout_ms": str(wanted.timeout_ms),
        "enable_seqscan": "off" if by_index else "on",
        "plan_cache_mode": "force_custom_plan" if wanted.is_filtered else "auto",
        "max_scan_tuples": str(MAX_SCAN_TUPLES),
        "ef_search": str(ef_search),
    }
    connection.execute(SETTINGS_SQL, parameters)


def _survey(connection: Connection, wanted: Wanted) -> Row[Any]:
    collection = wanted.collection
    parameters = {"items": collection.item_table, "index": collection.index_name, "namespace": wanted.namespace}
    return connection.execute(wanted.statement(SURVEY_SQL), parameters).one()


def _count(connection: Connection, wanted: Wanted, row_estimate: int, is_filtered: bool) -> tuple[int, bool]:
    """How many rows match, and whether that is exact: counted up to a cap, estimated from statistics above it."""
    if not is_filtered and row_estimate > EXACT_FILTER_ROWS:
        return row_estimate, False
    parameters = {**wanted.parameters, "cap": EXACT_FILTER_ROWS + 1}
    counted: int = connection.execute(wanted.statement(COUNT_SQL), parameters).scalar_one()
    if counted <= EXACT_FILTER_ROWS:
        return counted, True
    plan = connection.execute(wanted.statement(ESTIMATE_SQL), wanted.parameters).scalar_one()
    plan = json.loads(plan) if isinstance(plan, str) else plan
    return max(counted, int(plan[0]["Plan"]["Plan Rows"])), False
