"""What a plan found: rows, and what it can say of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Method(StrEnum):
    """How the rows were found, in the words of the answer."""

    EXACT = "exact"
    EXACT_ON_FILTER = "exact on filter"
    INDEX = "index"
    INDEX_THEN_EXACT = "index, then exact"
    FUSED = "fused"


@dataclass(frozen=True, slots=True)
class Matches:
    """How many rows meet the condition, or about how many."""

    count: int
    is_exact: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Folding:
    """What folding did to the rows: `passed` are the groups that no later row may come from.

    `folded` rows were left out on the way to the last one, since one of their group stands before them; `is_end` when
    nothing follows.
    """

    passed: Sequence[int]
    alike: Mapping[int, int]
    """By id of item, how many others of its group there are."""
    folded: int
    is_end: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The rows, nearest first, and how they were found; see `Plan` for the fields."""

    rows: Sequence[Any]
    method: Method
    matches: Matches
    index: str | None = None
    ef_search: int | None = None
    capped: bool = False
    fused: Sequence[str] = ()
    folding: Folding | None = None
    """None where nothing was to be folded."""
