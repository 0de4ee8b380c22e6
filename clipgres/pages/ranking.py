"""The ranking behind the later pages of a search: what follows the first page, as far down as pages go, made once."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine, text

from clipgres.database import transaction
from clipgres.filters import Condition
from clipgres.finding import find, is_fused
from clipgres.pages.store import RANKED_ROW, FirstPage, Ids
from clipgres.plans import Estimates, Wanted
from clipgres.plans.statements import EXACT_SCANS, INDEX_SCANS
from clipgres.request import Mode, SearchRequest

# How far down pages go after the first, by one ranking and by several that are fused.
RANKED_ROWS = 10_000
FUSED_ROWS = 1_000
# The exact ranking costs 0.5 ms a thousand rows. The index is no rival this far down: at 100,000 rows it takes 73 ms
# against 44 and finds 78 % of the same rows; where a filter leaves 10 %, 130 ms against 17, and 40 % (`bench pages`).
EXACT_RANKING_ROWS = 1_000_000

# Relaxed order suffices, since the ranking is sorted outside. The memory of a scan is what ends it else.
SETTINGS_SQL = text("""
    SELECT set_config('statement_timeout', :timeout_ms, true),
           set_config('jit', 'off', true),
           set_config('plan_cache_mode', 'force_custom_plan', true),
           set_config('work_mem', '32MB', true),
           set_config('enable_seqscan', :enable_seqscan, true),
           set_config('hnsw.iterative_scan', 'relaxed_order', true),
           set_config('hnsw.max_scan_tuples', :max_scan_tuples, true),
           set_config('hnsw.ef_search', '1000', true)
""")

# Packed by the database: ten thousand rows as rows would take longer to read than to rank.
RANKING_SQL = """
    WITH nearest AS MATERIALIZED ({scan}    )
    SELECT string_agg(int8send(id) || float4send(CAST(distance AS real)), '' ORDER BY distance, id) FROM nearest
"""
EXACT_SQL = {criterion: RANKING_SQL.format(scan=scan) for criterion, scan in EXACT_SCANS.items()}
INDEX_SQL = {criterion: RANKING_SQL.format(scan=scan) for criterion, scan in INDEX_SCANS.items()}

THERE_THEN_SQL = "{condition} AND i.created_at <= now() - :age_ms * interval '1 millisecond'"

Ranked = NDArray[np.void]


@dataclass(frozen=True, slots=True)
class Ranking:
    """Ids and distances, best first, of the type `RANKED_ROW`; `is_cut` when more rows may follow."""

    rows: Ranked
    is_cut: bool
    index: str | None = None
    """The index that gave the rows, if one did."""


def rank(
    engine: Engine, wanted: Wanted, request: SearchRequest, first: FirstPage, estimates: Estimates, matched: int
) -> Ranking:
    """Rank the rows that were there when the first page was answered and are not on it.

    What was added since has no place in it; what was changed since stands where it is now. Rows that the index did not
    find for the first page come here, even if they are nearer than some of it.

    Raises:
        Unavailable: the database is away, or it took longer than it may.
    """
    passed = np.concatenate([first.shown, first.left_out])
    there_then = replace(wanted, condition=_there_then(wanted.condition, first.age_ms))
    if is_fused(request):
        found = find(engine, replace(there_then, limit=FUSED_ROWS + len(passed) + 1), request, estimates)
        ranked = np.array([(row.id, row.distance) for row in found.rows], RANKED_ROW)
        ranking = _ranking(ranked, passed, FUSED_ROWS)
        return replace(ranking, is_cut=ranking.is_cut or found.capped)
    by_index = wanted.mode is Mode.INDEX or (wanted.mode is Mode.AUTO and matched > EXACT_RANKING_ROWS)
    ranked = scan(engine, replace(there_then, limit=RANKED_ROWS + len(passed) + 1), by_index=by_index)
    ranking = _ranking(ranked, passed, RANKED_ROWS)
    came_short = by_index and len(ranking.rows) + len(first.shown) < matched
    return replace(ranking, is_cut=ranking.is_cut or came_short, index=wanted.index_name if by_index else None)


def _there_then(condition: Condition, age_ms: int) -> Condition:
    sql = THERE_THEN_SQL.format(condition=condition.sql)
    return replace(condition, sql=sql, parameters={**condition.parameters, "age_ms": age_ms})


def scan(engine: Engine, wanted: Wanted, *, by_index: bool) -> Ranked:
    """The first rows of a ranking by distance, as many as are wanted, of the type `RANKED_ROW`.

    Raises:
        Unavailable: the database is away, or it took longer than it may.
    """
    settings = {
        "timeout_ms": str(wanted.timeout_ms),
        "enable_seqscan": "off" if by_index else "on",
        "max_scan_tuples": str(max(wanted.max_scan_tuples, 4 * wanted.limit)),
    }
    with transaction(engine) as connection:
        connection.execute(SETTINGS_SQL, settings)
        statement = wanted.statement((INDEX_SQL if by_index else EXACT_SQL)[wanted.criterion])
        packed: bytes | None = connection.execute(statement, wanted.parameters).scalar_one()
    return np.frombuffer(packed or b"", RANKED_ROW)


def _ranking(ranked: Ranked, passed: Ids, limit: int) -> Ranking:
    rows = ranked[~np.isin(ranked["id"], passed)]
    return Ranking(rows[:limit], is_cut=len(rows) > limit)
