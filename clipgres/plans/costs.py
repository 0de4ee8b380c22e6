"""What the plans of search cost, by a model of four constants, and how far down the index must be read.

The constants were fitted by `python -m bench filters --derive` (100,000 rows of 512 dimensions in memory, two cores).
Only their ratios matter, and those hold from machine to machine: all of them are mostly distances of vectors.
"""

from __future__ import annotations

import math

# Exact search: for each row that matches, and for each unit of what PostgreSQL says finding those rows costs.
MATCH_MS = 0.0006
FINDING_UNIT_MS = 0.0006
# The index: to get to the neighbourhood, and for each candidate that it keeps in sight, which is what ef_search says.
DESCENT_MS = 0.6
CANDIDATE_MS = 0.0145

# Of the first ten rows 100 candidates found as many as 200, 0.998, and 40 found 0.973; 100 took 2.0 ms, 40 took 1.2.
LEAST_CANDIDATES = 100
# One pass keeps at most pgvector's largest ef_search in sight. Further rounds give more rows, but no nearer ones.
MOST_CANDIDATES = 1_000
# How deep the rows may stand for 0.99 of them to be found, by recall measured at the depths of 10 to 1,000 rows: 160
# candidates found the first 40, 400 the first 50, 1,000 the first 65. Room is left for worse data.
SURE_PLACE = 30
SURE_CANDIDATES = 160
PLACE_EXPONENT = 2.5
# Filters that chance puts so many times deeper are none that go against the query.
CHANCE = 1.5
# Beyond, the index is less than sure (0.96 of the first 100), and used only where exact search takes so many times as
# long.
SURE_WORTH = 3
# A first look at the nearest candidates pays when the filter goes with the query. When not, it costs this share of what
# comes after it, once: that it did not pay is remembered.
LOOK_SHARE = 0.6


def exact_ms(matches: float, finding: float) -> float:
    """The time of exact search over so many rows; `finding` is PostgreSQL's estimate for finding them."""
    return matches * MATCH_MS + finding * FINDING_UNIT_MS


def candidates_for(place: float) -> int:
    """How many candidates it takes for rows down to this place among them."""
    sure = _sure_candidates(place)
    return round(sure if sure <= MOST_CANDIDATES else max(MOST_CANDIDATES, 2 * place))


def index_ms(candidates: float) -> float:
    """The time to get so many candidates from the index."""
    return DESCENT_MS + candidates * CANDIDATE_MS


def index_price(place: float) -> float:
    """What rows down to this place cost by the index, compared with exact search: time, and what is not sure."""
    return index_ms(candidates_for(place)) * (1 if _sure_candidates(place) <= MOST_CANDIDATES else SURE_WORTH)


def is_deep_enough(place: float, candidates: int) -> bool:
    """Whether rows down to this place among the candidates can be relied on to be the nearest."""
    return _sure_candidates(place / CHANCE) <= candidates


def _sure_candidates(place: float) -> float:
    return max(LEAST_CANDIDATES, SURE_CANDIDATES * math.pow(place / SURE_PLACE, PLACE_EXPONENT))
