"""How numbers look to people."""

from __future__ import annotations

import pytest

from clipgres import wording


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
