"""The ranking behind the later pages of a search: what follows the first page, as far down as pages go, made once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine, text

from clipgres.database import autocommit, transaction
from clipgres.duplicates.folding import DEEPER, first_places, groups_of
from clipgres.filters import Condition
from clipgres.finding import find_unfolded, is_fused
from clipgres.pages.store import RANKED_ROW, FirstPage
from clipgres.plans import Estimates, Wanted
from clipgres.plans.statements import EXACT_SCANS, INDEX_SCANS
from clipgres.request import Fold, Mode, SearchRequest

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
Read = Callable[[int], tuple[Ranked, bool]]


@dataclass(frozen=True, slots=True)
class Ranking:
    """Ids and distances, best first, of the type `RANKED_ROW`; `is_cut` when more rows may follow."""

    rows: Ranked
    is_cut: bool
    index: str | None = None
    """The index that gave the rows, if one did."""
    folded: int = 0
    """How many rows were passed over since one of their group stands before them."""


def rank(
    engine: Engine, wanted: Wanted, request: SearchRequest, first: FirstPage, estimates: Estimates, matched: int
) -> Ranking:
    """Rank the rows that were there when the first page was answered and are not on it.

    What was added since has no place in it; what was changed since stands where it is now. Rows that the index did not
    find for the first page come here, even if they are nearer than some of it.

    Raises:
        Unavailable: the database is away, or it took longer than it may.
    """
    there_then = replace(wanted, condition=_there_then(wanted.condition, first.age_ms))
    is_mixed = is_fused(request)
    by_index = wanted.mode is Mode.INDEX or (wanted.mode is Mode.AUTO and matched > EXACT_RANKING_ROWS)
    read = partial(_fused, engine, there_then, request, estimates)
    if not is_mixed:
        read = partial(_by_distance, engine, there_then, by_index)
    ranking = _ranking(engine, wanted, request, first, read, FUSED_ROWS if is_mixed else RANKED_ROWS)
    if is_mixed or not by_index:
        return ranking
    came_short = len(ranking.rows) + ranking.folded + len(first.shown) < matched
    return replace(ranking, is_cut=ranking.is_cut or came_short, index=wanted.index_name)


def _fused(
    engine: Engine, wanted: Wanted, request: SearchRequest, estimates: Estimates, limit: int
) -> tuple[Ranked, bool]:
    """So many rows of a fused ranking, and whether a limit ended one that it is made of."""
    found = find_unfolded(engine, replace(wanted, limit=limit), request, estimates)
    return np.array([(row.id, row.distance) for row in found.rows], RANKED_ROW), found.capped


def _by_distance(engine: Engine, wanted: Wanted, by_index: bool, limit: int) -> tuple[Ranked, bool]:
    return scan(engine, replace(wanted, limit=limit), by_index=by_index), False


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


def _ranking(
    engine: Engine, wanted: Wanted, request: SearchRequest, first: FirstPage, read: Read, most: int
) -> Ranking:
    """The rows after the first page, up to `most`; where groups are folded, as deep as it takes for so many groups."""
    passed = np.concatenate([first.shown, first.left_out])
    limit = most + len(passed) + 1
    while True:
        ranked, capped = read(limit)
        rows = ranked[~np.isin(ranked["id"], passed)]
        unfolded = len(rows)
        if request.fold is not Fold.NONE:
            rows = _folded(engine, wanted, request.fold, first, rows)
        if request.fold is Fold.NONE or len(rows) > most or len(ranked) < limit:
            break
        limit *= DEEPER
    folded = unfolded - len(rows)
    return Ranking(rows[:most], is_cut=len(rows) > most or capped, folded=folded)


def _folded(engine: Engine, wanted: Wanted, fold: Fold, first: FirstPage, rows: Ranked) -> Ranked:
    """The first row of each group that was not on the first page, as groups were then or are now."""
    with autocommit(engine) as connection:
        seen = groups_of(connection, wanted.collection, fold, [*first.shown.tolist(), *first.left_out.tolist()])
        groups = groups_of(connection, wanted.collection, fold, rows["id"].tolist())
    return rows[first_places(groups, np.concatenate([first.passed, seen]))]
