"""Perceptual hashes: which of many differ in few bits from which, found by bands.

Multi-index hashing (Norouzi, Punjani and Fleet, "Fast Search in Hamming Space with Multi-Index Hashing", 2012): of two
hashes that differ in `n` bits, one of four bands of 16 bits differs in at most `n // 4`. So each band has a table, in
which what is that near is looked up, and only what stands there is compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Hashes = NDArray[np.int64]
Places = NDArray[np.intp]

BANDS, BAND_BITS = 4, 16
# In a table of 16 bits, more than two of them apart are too many neighbours to look up.
MOST_BITS = 3 * BANDS - 1
# Candidates that are compared at once: some 50 MB of memory.
MOST_CANDIDATES = 1_000_000


def differing_bits(left: Hashes, right: Hashes) -> NDArray[np.uint8]:
    """In how many bits hashes differ, one by one."""
    return np.bitwise_count((left ^ right).view(np.uint64))


def has_detail(hashes: Hashes, bits: int) -> NDArray[np.bool_]:
    """Whether hashes say enough of their pictures to be compared at a distance of so many bits.

    A difference hash of a blank picture, a gradient or a vignette has the same bits in each of its eight rows, and so
    nearly has that of a few words on white: within `bits` of such a hash, unlike pictures are alike.
    """
    rows = np.unpackbits(hashes.astype(">i8").view(np.uint8).reshape(-1, 8, 1), axis=2)
    ones = rows.sum(axis=1, dtype=np.intp)
    detailed: NDArray[np.bool_] = np.minimum(ones, 8 - ones).sum(axis=1) > bits
    return detailed


@dataclass(frozen=True)
class HashTables:
    """Hashes under the ids of their pictures, with a table a band."""

    ids: Ids
    hashes: Hashes
    _order: list[NDArray[np.int32]] = field(init=False, default_factory=list)
    _starts: list[NDArray[np.int32]] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        for band in range(BANDS):
            keys = _band(self.hashes, band)
            self._order.append(np.argsort(keys, kind="stable").astype(np.int32))
            counts = np.bincount(keys, minlength=1 << BAND_BITS)
            self._starts.append(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))

    def near(self, asked: Hashes, bits: int) -> Iterator[tuple[Places, Places]]:
        """The pairs that differ in at most `bits`, each once, in parts: places in `asked`, and places in here."""
        radius = bits // BANDS
        masks = _masks(radius)
        for band in range(BANDS):
            keys = (_band(asked, band)[:, np.newaxis] ^ masks).ravel()
            starts = self._starts[band][keys].astype(np.intp)
            counts = self._starts[band][keys + 1] - starts
            for part in _parts(counts):
                asking = np.repeat(np.arange(len(keys))[part] // len(masks), counts[part])
                there = self._order[band][_ranges(starts[part], counts[part])].astype(np.intp)
                is_near = differing_bits(asked[asking], self.hashes[there]) <= bits
                asking, there = asking[is_near], there[is_near]
                is_first = ~_was_found(asked[asking], self.hashes[there], band, radius)
                yield asking[is_first], there[is_first]


class GrowingTables:
    """Hashes to which more are added: tables of ever larger sizes, of which equal ones become one.

    This is the logarithmic method of Bentley and Saxe (1980): each hash is sorted anew only as often as the whole
    doubles.
    """

    def __init__(self) -> None:
        self._tables: list[HashTables] = []

    def add(self, ids: Ids, hashes: Hashes) -> None:
        """Add pictures that are not there yet."""
        while self._tables and len(self._tables[-1].ids) <= 2 * len(ids):
            last = self._tables.pop()
            ids, hashes = np.concatenate([last.ids, ids]), np.concatenate([last.hashes, hashes])
        if len(ids):
            self._tables.append(HashTables(ids, hashes))

    def near(self, asked: Hashes, bits: int) -> Iterator[tuple[Places, Ids]]:
        """The pairs that differ in at most `bits`: places in `asked`, and ids of what is here."""
        for table in self._tables:
            for places, there in table.near(asked, bits):
                yield places, table.ids[there]


def _band(hashes: Hashes, band: int) -> NDArray[np.intp]:
    shift = np.uint64(BAND_BITS * band)
    return ((hashes.view(np.uint64) >> shift) & np.uint64(0xFFFF)).astype(np.intp)


def _masks(radius: int) -> NDArray[np.intp]:
    """What a band is xored with to get all that differ from it in at most `radius` bits."""
    flips = [sum(1 << bit for bit in bits) for n in range(radius + 1) for bits in combinations(range(BAND_BITS), n)]
    return np.array(flips, np.intp)


def _parts(counts: NDArray[np.intp]) -> Iterator[slice]:
    """Slices of about `MOST_CANDIDATES` each; one look-up with more is a slice of its own."""
    ends = np.cumsum(counts)
    start = 0
    while start < len(counts):
        done = ends[start - 1] if start else 0
        end = max(start + 1, int(np.searchsorted(ends, done + MOST_CANDIDATES, side="right")))
        if ends[end - 1] > done:
            yield slice(start, end)
        start = end


def _ranges(starts: NDArray[np.intp], counts: NDArray[np.intp]) -> NDArray[np.intp]:
    """The numbers from each start on, as many as its count, one range after the other."""
    before = np.cumsum(counts) - counts
    ranges: NDArray[np.intp] = np.repeat(starts - before, counts) + np.arange(counts.sum())
    return ranges


def _was_found(left: Hashes, right: Hashes, band: int, radius: int) -> NDArray[np.bool_]:
    """Whether an earlier band has led to these pairs already."""
    found = np.zeros(len(left), np.bool_)
    for earlier in range(band):
        found |= np.bitwise_count(_band(left ^ right, earlier)) <= radius
    return found
