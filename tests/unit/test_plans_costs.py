"""The cost model: which plan it prefers, and how far down it has the index read."""

from __future__ import annotations

import pytest

from clipgres.plans.costs import (
    LEAST_CANDIDATES,
    MOST_CANDIDATES,
    candidates_for,
    exact_ms,
    index_ms,
    index_price,
    is_deep_enough,
)


@pytest.mark.parametrize(
    ("place", "candidates"),
    [
        (1, LEAST_CANDIDATES),
        (10, LEAST_CANDIDATES),
        (20, LEAST_CANDIDATES),
        (30, 160),
        (40, 328),
        (60, 905),
        (100, MOST_CANDIDATES),
        (4_000, 8_000),
    ],
)
def test_the_deeper_the_rows_stand_the_more_candidates_it_takes(place: int, candidates: int) -> None:
    assert candidates_for(place) == candidates


def test_few_rows_are_looked_at_and_many_are_looked_up() -> None:
    # Ten of 100,000 rows, whose reading costs PostgreSQL 18,000 units.
    for share, is_exact in ((0.0001, True), (0.01, True), (0.1, True), (0.3, False), (0.5, False), (1, False)):
        exact = exact_ms(100_000 * share, 18_000 * share)
        assert (exact < index_price(10 / share)) is is_exact


def test_what_is_less_than_sure_has_its_price() -> None:
    assert index_price(60) == index_ms(candidates_for(60))
    assert index_price(100) == 3 * index_ms(MOST_CANDIDATES)


def test_rows_that_stand_deep_among_the_candidates_are_not_sure() -> None:
    for place, is_sure in ((10, True), (20, True), (37, True), (38, False), (100, False)):
        assert is_deep_enough(place, LEAST_CANDIDATES) is is_sure
    assert is_deep_enough(60, MOST_CANDIDATES)
    assert not is_deep_enough(200, MOST_CANDIDATES)
