"""How much a score says: the share of the collection that it surpasses for this query, by a sample of the collection.

Cosine similarities mean different things to different queries and models; against the similarities of a random sample
to the same query they can be compared.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine, text

from clipgres.collections import Collection
from clipgres.database import transaction
from clipgres.encoder.api import Vectors, unit
from clipgres.errors import ClipgresError
from clipgres.request import Criterion
from clipgres.sampling import sample_rows

log = logging.getLogger(__name__)

SAMPLE_ROWS = 1_500
LEAST_ROWS = 50
KEPT_SAMPLES = 16
KEPT_S = 600
# A search waits this long at most for a sample, once; then it goes without until the next try.
LOAD_TIMEOUT_MS = 500
RETRY_S = 60
# Among the best of a sample too few are left to count by: their distribution is fitted. At 20,000 pictures of the demo
# a percentile of 99.9 comes out as 99.84 in the middle case, 99.99 as 99.96.
TAIL_SHARE, TAIL_LEAST = 0.05, 10
SMALLEST_SHAPE, LARGEST_SHAPE = 1e-3, 0.9

TIMEOUT_SQL = text(f"SET LOCAL statement_timeout = {LOAD_TIMEOUT_MS}")


@dataclass(frozen=True, slots=True)
class Background:
    """A random sample of a collection's vectors, float32 [n, dimension], unit length."""

    sample: Vectors

    def percentiles(self, query_vector: Vectors, scores: Sequence[float]) -> list[float]:
        """The share of the collection below each score, in percent: counted in the sample, in its tail fitted.

        A higher score never has a lower percentile; beyond the sample it is an estimate.
        """
        # In one thread: those of a BLAS cost milliseconds on a machine whose cores are busy.
        similarities = np.sort(np.vecdot(self.sample, np.asarray(query_vector, np.float32)))
        wanted = np.asarray(scores, np.float64)
        shares = np.searchsorted(similarities, wanted) / len(similarities)
        threshold = float(similarities[-1 - max(TAIL_LEAST, int(TAIL_SHARE * len(similarities)))])
        above = wanted > threshold
        shares[above] = 1 - _tail(similarities, threshold, wanted[above] - threshold)
        return [float(share) for share in 100 * shares]


def _tail(similarities: Vectors, threshold: float, beyond: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of rows that are further beyond the threshold, by a generalised Pareto distribution of the excesses.

    What is beyond a high threshold tends to be so distributed (Pickands 1975); the fit is by probability-weighted
    moments (Hosking and Wallis 1987). A shape below zero would end the tail at the best that was seen: it counts as
    zero, which rather understates a percentile.
    """
    excess = similarities[np.searchsorted(similarities, threshold, "right") :].astype(np.float64) - threshold
    if not len(excess):
        return np.zeros(len(beyond))
    mean = float(excess.mean())
    ranks = (np.arange(1, len(excess) + 1) - 0.35) / len(excess)
    weighted = float(((1 - ranks) * excess).mean())
    shape = min(max(2 - mean / (mean - 2 * weighted), 0.0), LARGEST_SHAPE)
    scale = mean * (1 - shape)
    share = len(excess) / len(similarities)
    if shape < SMALLEST_SHAPE:
        return share * np.exp(-beyond / scale)
    return share * (1 + shape * beyond / scale) ** (-1 / shape)


class Backgrounds:
    """Samples of collections, read when first asked for and kept for a while; safe for many threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._loading = Lock()
        self._kept: OrderedDict[tuple[int, Criterion], tuple[float, Background | None]] = OrderedDict()

    def of(self, collection: Collection, criterion: Criterion = Criterion.IMAGE) -> Background | None:
        """The background of a collection's pictures, or of its captions; None where there is too little to tell by.

        An old one serves while one search reads it anew. A database that does not answer costs the percentiles,
        never the search.
        """
        key = (collection.id, Criterion.TEXT if criterion is Criterion.TEXT else Criterion.IMAGE)
        kept = self._kept.get(key)
        if kept and time.monotonic() < kept[0]:
            return kept[1]
        if not self._loading.acquire(timeout=0 if kept else LOAD_TIMEOUT_MS / 1000):
            return kept[1] if kept else None
        try:
            if self._kept.get(key) == kept:
                self._load(key, collection)
            return self._kept[key][1]
        finally:
            self._loading.release()

    def _load(self, key: tuple[int, Criterion], collection: Collection) -> None:
        table = collection.caption_table if key[1] is Criterion.TEXT else collection.item_table
        old = self._kept.get(key, (0.0, None))[1]
        try:
            background = self._read(collection, table)
        except ClipgresError as error:
            log.warning("no percentiles for collection %s: %s", collection.name, error)
            background = old
        # A collection that has too few rows may be filling up at this moment.
        lasts_s = KEPT_S if background is not None and background is not old else RETRY_S
        self._kept[key] = (time.monotonic() + lasts_s, background)
        self._kept.move_to_end(key)
        if len(self._kept) > KEPT_SAMPLES:
            self._kept.popitem(last=False)

    def _read(self, collection: Collection, table: str) -> Background | None:
        with transaction(self._engine) as connection:
            connection.execute(TIMEOUT_SQL)
            rows = sample_rows(connection, collection, table, "s.embedding", SAMPLE_ROWS)
        if len(rows) < LEAST_ROWS:
            return None
        return Background(unit(np.stack([row[0].to_numpy() for row in rows]).astype(np.float32)))
