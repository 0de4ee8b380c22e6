"""What searches remember: for how long, how much, and what counts replace."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from clipgres.plans.estimates import COUNT_TTL_S, ESTIMATE_TTL_S, MAX_KEPT, Estimates, Matching, Survey
from clipgres.request import Criterion


@pytest.fixture
def now() -> list[float]:
    """The time; a test moves it."""
    return [0.0]


@pytest.fixture
def estimates(now: list[float]) -> Estimates:
    """A memory that goes by that time."""
    return Estimates(lambda: now[0])


def surveys() -> Iterator[Survey]:
    """Surveys, each of one item more."""
    for items in range(100):
        yield Survey(True, False, items, 3.0 * items, "a", "b")


def test_a_survey_is_asked_for_again_after_a_while(estimates: Estimates, now: list[float]) -> None:
    asked = surveys()
    assert [estimates.survey(1, lambda: next(asked)).items for _ in range(3)] == [0, 0, 0]
    now[0] = ESTIMATE_TTL_S
    assert estimates.survey(1, lambda: next(asked)).items == 1
    assert estimates.survey(2, lambda: next(asked)).items == 2
    estimates.forget(1)
    assert estimates.survey(1, lambda: next(asked)).items == 3


def test_what_was_counted_replaces_what_was_estimated_and_lasts_longer(estimates: Estimates, now: list[float]) -> None:
    estimated, counted = Matching(rows=5, finding=10.0), Matching(rows=7, finding=10.0)
    assert estimates.matching(b"filter", lambda: estimated) == estimated
    estimates.learn(b"filter", counted)
    now[0] = COUNT_TTL_S - 1
    assert estimates.matching(b"filter", lambda: estimated) == counted
    now[0] = COUNT_TTL_S
    assert estimates.matching(b"filter", lambda: estimated) == estimated


def test_the_filters_that_were_used_last_are_kept(estimates: Estimates) -> None:
    for n in range(MAX_KEPT + 1):
        estimates.learn(b"%d" % n, Matching(rows=n, finding=0.0))
        estimates.matching(b"0", lambda: Matching(rows=-1, finding=0.0))
    new = Matching(rows=-1, finding=0.0)
    assert [estimates.matching(key, lambda: new).rows for key in (b"0", b"1", b"2")] == [0, -1, -1]


def test_a_survey_tells_of_namespaces_and_vectors() -> None:
    survey = Survey(True, False, 100.0, 250.0, "a", "a")
    assert (survey.has_index(Criterion.IMAGE), survey.has_index(Criterion.TEXT)) == (True, False)
    assert (survey.has_others_than("a"), survey.has_others_than("b")) == (False, True)
    assert (survey.vectors_per_item(Criterion.IMAGE), survey.vectors_per_item(Criterion.TEXT)) == (1.0, 2.5)
    empty = Survey(False, False, -1.0, -1.0, None, None)
    assert (empty.has_others_than("a"), empty.vectors_per_item(Criterion.TEXT)) == (False, 1.0)
