"""The statements of one search, run: what there is, about how many rows match, and the scans for the nearest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from pgvector import HalfVector
from psycopg.rows import namedtuple_row
from sqlalchemy import Engine, TextClause, text
from sqlalchemy.engine import Dialect, make_url

from clipgres.collections import Collection
from clipgres.database import SEARCH_TIMEOUT, autocommit, driver_connection
from clipgres.filters import Condition
from clipgres.plans.costs import MOST_CANDIDATES
from clipgres.plans.estimates import Matching, Survey
from clipgres.plans.statements import (
    COUNTED_EXACT_SQL,
    ESTIMATE_SQL,
    EXACT_SQL,
    INDEX_SETTINGS_SQL,
    INDEX_SQL,
    SETTINGS_SQL,
    SURVEY_SQL,
)
from clipgres.query import QueryVector
from clipgres.request import Criterion, Mode

DIALECT: Dialect = make_url("postgresql+psycopg://").get_dialect()()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to find: the `limit` items nearest to the query that meet the condition, in one namespace."""

    collection: Collection
    query: QueryVector
    condition: Condition
    namespace: str
    limit: int
    mode: Mode
    timeout_ms: int
    max_scan_tuples: int
    criterion: Criterion = Criterion.IMAGE
    """What the query is compared with: IMAGE, an item's own vector, or TEXT, the nearest of its captions'."""

    @property
    def is_filtered(self) -> bool:
        """Whether there is a filter."""
        return self.condition != Condition()

    @property
    def index_name(self) -> str:
        """The index over the vectors that are compared, without the schema."""
        names = self.collection.index_name, self.collection.caption_index_name
        return names[self.criterion is Criterion.TEXT]

    @property
    def filter_key(self) -> bytes:
        """The same for searches of the same rows."""
        condition = self.condition.sql, sorted(self.condition.parameters.items())
        rows = repr((self.collection.id, self.criterion, self.namespace, *condition))
        return hashlib.blake2b(rows.encode(errors="surrogatepass"), digest_size=16).digest()

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
        """One of the statements of search, where the index may be read as far down as a search may."""
        return text(self.sql(template, candidates=max(self.max_scan_tuples, 4 * self.limit), taken=self.limit))

    def sql(self, template: str, **numbers: int | None) -> str:
        """One of the statements of search on this collection's tables, with this filter and these limits."""
        limits = {name: "ALL" if number is None else f"{number:d}" for name, number in numbers.items()}
        return template.format(
            items=self.collection.item_table,
            captions=self.collection.caption_table,
            condition=self.condition.sql,
            limit=f"{self.limit:d}",
            **limits,
        )


@dataclass(frozen=True, slots=True)
class Scans:
    """The statements of one search; each is one round trip, with the settings that it needs."""

    engine: Engine
    wanted: Wanted
    parameters: Mapping[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", self.wanted.parameters)

    def survey(self) -> Survey:
        """What there is to search."""
        collection = self.wanted.collection
        names = {
            "items": collection.item_table,
            "captions": collection.caption_table,
            "item_index": f"clipgres.{collection.index_name}",
            "caption_index": f"clipgres.{collection.caption_index_name}",
        }
        return Survey(**self._run(self.wanted.sql(SURVEY_SQL), names)[0]._asdict())

    def estimate(self) -> Matching:
        """How many items match by the statistics."""
        plan = self._run(self.wanted.sql(ESTIMATE_SQL), self.parameters)[0][0][0]["Plan"]
        return Matching(rows=int(plan["Plan Rows"]), finding=float(plan["Total Cost"]))

    def exact(self) -> Sequence[Any]:
        """The nearest of all that match."""
        return self._run(self.wanted.sql(EXACT_SQL[self.wanted.criterion]), self.parameters)

    def exact_counted(self, cap: int | None) -> tuple[Sequence[Any], int]:
        """The nearest of all that match, and how many these are; above the cap any so many of them were looked at."""
        template = COUNTED_EXACT_SQL[self.wanted.criterion]
        rows = self._run(self.wanted.sql(template, cap=cap), self.parameters)
        return rows, rows[0].matched if rows else 0

    def by_index(self, candidates: int) -> Sequence[Any] | None:
        """The nearest that match among so many candidates of the index; None: there is no index any more.

        Up to `MOST_CANDIDATES` come in order and are read until there are enough; more come in rounds and all are read.
        """
        wanted = self.wanted
        taken = wanted.limit if candidates <= MOST_CANDIDATES else candidates
        statement = wanted.sql(INDEX_SQL[wanted.criterion], candidates=candidates, taken=taken)
        settings = {
            "index": f"clipgres.{wanted.index_name}",
            "timeout_ms": str(wanted.timeout_ms),
            "plan_cache_mode": self._plan_cache_mode,
            "max_scan_tuples": str(wanted.max_scan_tuples),
            "ef_search": str(min(candidates, MOST_CANDIDATES)),
        }
        settled, rows = self._run_together((INDEX_SETTINGS_SQL, settings), (statement, self.parameters))
        return rows if settled[0].has_index else None

    @property
    def _plan_cache_mode(self) -> str:
        """A plan made for any value of a filter can be a bad one for the value at hand, where there is a choice."""
        return "force_custom_plan" if self.wanted.condition.joins else "force_generic_plan"

    def _run(self, statement: str, parameters: Mapping[str, Any]) -> Sequence[Any]:
        """Run a statement, on a connection that has the settings of searches or is given them."""
        timeout_ms, mode = self.wanted.timeout_ms, self._plan_cache_mode
        if mode == "force_generic_plan" and self.engine.get_execution_options().get(SEARCH_TIMEOUT) == timeout_ms:
            return self._run_together((statement, parameters))[0]
        settings = {"timeout_ms": str(timeout_ms), "plan_cache_mode": mode}
        return self._run_together((SETTINGS_SQL, settings), (statement, parameters))[1]

    def _run_together(self, *statements: tuple[str, Mapping[str, Any]]) -> Sequence[Sequence[Any]]:
        """The rows of each statement, in one round trip and one transaction: settings made first hold to the last.

        It is the driver that sends them together, so its rows are what comes.
        """
        with autocommit(self.engine) as connection:
            below = driver_connection(connection)
            with below.pipeline() if len(statements) > 1 else nullcontext():
                cursors = [
                    below.cursor(row_factory=namedtuple_row).execute(driver_sql(sql), parameters)
                    for sql, parameters in statements
                ]
                return [cursor.fetchall() for cursor in cursors]


@lru_cache(maxsize=1_000)
def driver_sql(statement: str) -> bytes:
    """The statement as the driver takes it: making it anew costs as much as the fastest searches take."""
    return str(text(statement).compile(dialect=DIALECT)).encode()
