"""What searches remember of tables and filters, so that the next one need not ask again.

What is remembered chooses between plans that all give the same rows: when it is stale, a search takes longer.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Generic, TypeVar

from clipgres.request import Criterion

# Tables grow and get their index while they are searched; what rows a filter has was counted, and changes slowly.
ESTIMATE_TTL_S = 10.0
COUNT_TTL_S = 60.0
MAX_KEPT = 2_000

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Survey:
    """What there is to search in a collection."""

    has_item_index: bool
    has_caption_index: bool
    items: float
    captions: float
    least_namespace: str | None
    greatest_namespace: str | None

    def has_index(self, criterion: Criterion) -> bool:
        """Whether these vectors have a finished index."""
        return self.has_caption_index if criterion is Criterion.TEXT else self.has_item_index

    def has_others_than(self, namespace: str) -> bool:
        """Whether there are rows in other namespaces."""
        return self.least_namespace is not None and not (self.least_namespace == self.greatest_namespace == namespace)

    def vectors_per_item(self, criterion: Criterion) -> float:
        """How many vectors an item has to be compared by, at least 1."""
        if criterion is Criterion.IMAGE or self.items < 1:
            return 1.0
        return max(1.0, self.captions / self.items)


@dataclass(frozen=True, slots=True)
class Matching:
    """About how many rows a filter has, and what finding them costs by PostgreSQL's estimate."""

    rows: int
    finding: float
    look_pays: bool = True
    """Whether a first look at the nearest candidates was enough, when it was last tried."""


class Estimates:
    """Surveys of collections and row counts of filters, for a short time; safe to share between threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._surveys: _Memory[int, Survey] = _Memory(clock)
        self._matching: _Memory[bytes, Matching] = _Memory(clock)

    def survey(self, collection_id: int, ask: Callable[[], Survey]) -> Survey:
        """The survey of a collection, from memory or by asking."""
        return self._surveys.get(collection_id, ask)

    def matching(self, filter_key: bytes, ask: Callable[[], Matching]) -> Matching:
        """What is known of a filter, from memory or by asking."""
        return self._matching.get(filter_key, ask)

    def learn(self, filter_key: bytes, matching: Matching) -> None:
        """Keep what a search counted, in place of what was estimated."""
        self._matching.put(filter_key, matching, COUNT_TTL_S)

    def forget(self, collection_id: int) -> None:
        """Ask anew at the next search: what is remembered of the collection turned out wrong."""
        self._surveys.drop(collection_id)


class _Memory(Generic[K, V]):
    """The values that were used last, each until its time is over."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = Lock()
        self._kept: OrderedDict[K, tuple[float, V]] = OrderedDict()

    def get(self, key: K, ask: Callable[[], V]) -> V:
        with self._lock:
            kept = self._kept.get(key)
            if kept and kept[0] > self._clock():
                self._kept.move_to_end(key)
                return kept[1]
        value = ask()
        self.put(key, value, ESTIMATE_TTL_S)
        return value

    def put(self, key: K, value: V, ttl_s: float) -> None:
        with self._lock:
            self._kept[key] = (self._clock() + ttl_s, value)
            self._kept.move_to_end(key)
            if len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)

    def drop(self, key: K) -> None:
        with self._lock:
            self._kept.pop(key, None)
