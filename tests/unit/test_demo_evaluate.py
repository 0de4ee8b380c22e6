"""The figures of the small model are counted against it where there is doubt."""

from __future__ import annotations

import numpy as np
import pytest

from demo.evaluate import measure, ranks, recall
from demo.gallery_files import GALLERY


def scores(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32)


def test_a_rank_is_the_number_of_other_pictures_at_or_above_the_own_one() -> None:
    assert ranks(scores([0.9, 0.1, 0.5], [0.9, 0.1, 0.5]), np.array([0, 2])).tolist() == [0, 1]


def test_a_tie_counts_against_us() -> None:
    assert ranks(scores([0.5, 0.5, 0.5]), np.array([1])).tolist() == [2]


def test_recall_of_captions_that_come_first_third_and_last() -> None:
    ladder = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    found = recall(scores(ladder, ladder, ladder), np.array([0, 2, 5]))
    assert (found.scenes, found.captions, found.median_rank) == (6, 3, 3)
    assert (found.recall_at_1, found.recall_at_5) == pytest.approx((1 / 3, 2 / 3))


@pytest.mark.slow
def test_the_bundled_model_finds_the_pictures_of_the_gallery() -> None:
    found = measure("tiny-clip", GALLERY)
    assert found.scenes >= 1000
    assert found.recall_at_1 >= 0.80
    assert found.recall_at_5 >= 0.95
