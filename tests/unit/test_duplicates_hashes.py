"""Hashes by bands: every pair within the distance is found, once, however the hashes lie."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipgres.duplicates import hashes
from clipgres.duplicates.hashes import GrowingTables, Hashes, HashTables, differing_bits, has_detail

# Few bases and few flips make many pairs at each distance.
BASES = st.sampled_from([0, -1, 0x0123456789ABCDEF, 0x0123456789AB0000, -(2**63)])
HASHES = st.builds(
    lambda base, flips: base ^ sum(1 << flip for flip in flips if flip < 63),
    BASES,
    st.sets(st.integers(0, 62), max_size=8),
)


def pairs(tables: HashTables, asked: Hashes, bits: int) -> list[tuple[int, int]]:
    return sorted(
        (int(place), int(there))
        for places, theirs in tables.near(asked, bits)
        for place, there in zip(places, theirs, strict=True)
    )


@given(
    there=st.lists(HASHES, max_size=60),
    asked=st.lists(HASHES, max_size=20),
    bits=st.integers(0, hashes.MOST_BITS),
    at_once=st.sampled_from([1, 7, 1_000_000]),
)
@settings(max_examples=80, deadline=None)
def test_every_pair_within_the_distance_is_found_once(
    there: list[int], asked: list[int], bits: int, at_once: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hashes, "MOST_CANDIDATES", at_once)
        left, right = np.array(asked, np.int64), np.array(there, np.int64)
        found = pairs(HashTables(np.arange(len(there)), right), left, bits)
    distances = differing_bits(left[:, np.newaxis], right[np.newaxis]) if asked and there else np.zeros((0, 0))
    assert found == [(int(a), int(b)) for a, b in np.argwhere(distances <= bits)]


@given(blocks=st.lists(st.lists(HASHES, max_size=9), max_size=9), asked=st.lists(HASHES, min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_what_is_added_bit_by_bit_is_all_there(blocks: list[list[int]], asked: list[int]) -> None:
    growing, everything = GrowingTables(), np.array([each for block in blocks for each in block], np.int64)
    ids = np.arange(len(everything)) + 100
    start = 0
    for block in blocks:
        growing.add(ids[start : start + len(block)], everything[start : start + len(block)])
        start += len(block)
    queries = np.array(asked, np.int64)
    found = {(int(a), int(b)) for places, ids_ in growing.near(queries, 6) for a, b in zip(places, ids_, strict=True)}
    expected = {(a, int(ids[b])) for a, b in pairs(HashTables(ids, everything), queries, 6)}
    assert found == expected


@pytest.mark.parametrize(
    ("rows", "is_detailed"),
    [
        ([0x00] * 8, False),  # blank, or brighter from left to right
        ([0xFF] * 8, False),  # darker from left to right
        ([0xF0] * 8, False),  # a vignette
        ([0, 0, 0, 0x2A, 0, 0, 0, 0], False),  # a few words on white
        ([0xF0, 0xF1, 0xF0, 0x70, 0xF0, 0xF4, 0xF0, 0xF0], False),
        ([0x1E, 0x2D, 0x3C, 0x4B, 0x5A, 0x69, 0x78, 0x87], True),
    ],
)
def test_pictures_with_little_in_them_are_told_by_their_hashes(rows: list[int], is_detailed: bool) -> None:
    phash = np.frombuffer(bytes(rows), ">i8").astype(np.int64)
    assert has_detail(phash, 6).tolist() == [is_detailed]
