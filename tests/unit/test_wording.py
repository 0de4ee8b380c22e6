"""How numbers look to people."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from clipgres import wording
from clipgres.answer import Plan
from clipgres.errors import BadRequest
from clipgres.plans import Method
from clipgres.request import Weights


@pytest.mark.parametrize(
    ("number", "shown"), [(0, "0 bytes"), (999, "999 bytes"), (4_200_000, "4.2 MB"), (3e12, "3.0 TB")]
)
def test_sizes(number: float, shown: str) -> None:
    assert wording.size(number) == shown


@pytest.mark.parametrize(("seconds", "shown"), [(8.4, "8 s"), (200, "3 min 20 s"), (7_500, "2 h 5 min")])
def test_durations(seconds: float, shown: str) -> None:
    assert wording.duration(seconds) == shown


@pytest.mark.parametrize(("score", "shown"), [(0.314, "31 %"), (-0.2, "0 %"), (1.0, "100 %")])
def test_percents(score: float, shown: str) -> None:
    assert wording.percent(score) == shown


@pytest.mark.parametrize(
    ("percentile", "shown"),
    [(0, "0 %"), (47.9, "47 %"), (98.66, "98.6 %"), (99.9, "99.9 %"), (99.974, "99.97 %"), (100, "99.99 %")],
)
def test_a_standing_is_never_rounded_up(percentile: float, shown: str) -> None:
    assert wording.standing(percentile) == shown


def test_weights_are_written_as_they_are_read() -> None:
    assert wording.read_weights(" text = 2,like=0.5,") == {"text": "2", "like": "0.5"}
    assert wording.weights_line(Weights(text=2, like=0.5)) == "text=2, like=0.5"
    assert (wording.read_weights(""), wording.weights_line(Weights())) == ({}, "")


@pytest.mark.parametrize("line", ["text", "text=", "=2", "text=2,text=3", "2", "text:2"])
def test_weights_that_are_not_written_so_are_refused(line: str) -> None:
    with pytest.raises(BadRequest, match="weights: "):
        wording.read_weights(line)


PLAN = Plan(
    method="exact", index=None, asked=20, found=20, matched=1_000, matched_is_exact=True, ef_search=None, capped=False,
    took_ms=4.2,
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "Exact search over 1,000 pictures, 4 ms"),
        ({"matched_is_exact": False, "took_ms": 0.2}, "Exact search over about 1,000 pictures, under 1 ms"),
        ({"matched": None, "method": "exact on filter"}, "Exact search over the collection, 4 ms"),
        ({"method": "index", "found": 3}, "Index search over 1,000 pictures, 4 ms; asked for 20, found 3"),
        ({"method": "page"}, "A further page of the search over 1,000 pictures, 4 ms"),
        ({"criterion": "text"}, "Exact search over the captions of 1,000 pictures, 4 ms"),
        (
            {"method": "fused", "criterion": "both", "fused": ("pictures", "captions", "keywords")},
            "Ranked by pictures, captions and keywords over 1,000 pictures, 4 ms",
        ),
        (
            {"capped": True},
            "Exact search over 1,000 pictures, 4 ms; a limit ended the scan, so closer pictures may be missing",
        ),
        ({"method": "new"}, "new 1,000 pictures, 4 ms"),
    ],
)
def test_plans_in_words(changes: dict[str, Any], line: str) -> None:
    assert wording.plan_line(replace(PLAN, **changes)) == line


def test_every_method_has_words() -> None:
    assert {method.value for method in Method} <= set(wording.METHODS)
