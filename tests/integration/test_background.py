"""Percentiles: true ones where they can be counted, told apart where they cannot, and never in a search's way."""

from __future__ import annotations

from threading import Thread

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from clipgres.background import KEPT_SAMPLES, LEAST_ROWS, SAMPLE_ROWS, Background, Backgrounds
from clipgres.collections import Collection, delete
from clipgres.database import create_engine, transaction
from clipgres.request import Criterion
from tests.vectors import Array, clustered, fill, make_collection

ROWS = 20_000
DIMENSION = 48


def spread(count: int, seed: int) -> Array:
    """Unit vectors in no clusters, about a common direction: as those of a model are."""
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(count, DIMENSION)) / np.sqrt(np.arange(1, DIMENSION + 1)) + 0.15
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def sampled(vectors: Array, seed: int = 0) -> Background:
    """The background of a sample of vectors."""
    rows = np.random.default_rng(seed).choice(len(vectors), SAMPLE_ROWS, replace=False)
    return Background(vectors[rows])


@pytest.mark.parametrize("vectors", [spread(ROWS, 0), clustered(ROWS, DIMENSION)], ids=["spread", "clustered"])
def test_percentiles_are_those_of_the_whole_collection(vectors: Array) -> None:
    background, true = sampled(vectors), np.array([50, 90, 99, 99.9])
    found = []
    for query in np.vstack([vectors[:20], spread(20, 1)]):
        ordered = np.sort(vectors @ query)
        found.append(background.percentiles(query, [float(ordered[int(ROWS * share / 100)]) for share in true]))
    middle = np.median(found, axis=0)
    # What counts of a percentile near 100 is how far from 100 it is.
    assert np.all(np.abs(np.log10((100 - middle) / (100 - true))) < [0.05, 0.1, 0.2, 0.5])


def test_the_best_of_many_are_told_apart() -> None:
    vectors = spread(ROWS, 0)
    background = sampled(vectors)
    for query in spread(20, 2):
        best = np.sort(vectors @ query)[-20:].tolist()
        percentiles = background.percentiles(query, best)
        assert len(set(percentiles)) == len(set(best))
        assert 99 < percentiles[0] < percentiles[-1] < 100


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=30), st.integers(LEAST_ROWS, 300), st.booleans())
def test_a_higher_score_never_has_a_lower_percentile(scores: list[float], rows: int, is_flat: bool) -> None:
    sample = np.repeat(spread(1, 0), rows, axis=0) if is_flat else spread(rows, 0)
    percentiles = Background(sample).percentiles(spread(1, 3)[0], sorted(scores))
    assert percentiles == sorted(percentiles)
    assert 0 <= percentiles[0] <= percentiles[-1] <= 100


def test_no_scores_have_no_percentiles() -> None:
    assert sampled(spread(ROWS, 0)).percentiles(spread(1, 0)[0], []) == []


@pytest.fixture
def filled(engine: Engine) -> Collection:
    """A collection of 6,000 rows."""
    collection = make_collection(engine, DIMENSION)
    fill(engine, collection, spread(6_000, 0))
    return collection


def test_a_sample_is_of_the_whole_table_at_unit_length(engine: Engine, filled: Collection) -> None:
    background = Backgrounds(engine).of(filled)
    assert background is not None
    assert SAMPLE_ROWS / 2 < len(background.sample) < 2 * SAMPLE_ROWS
    assert np.allclose(np.linalg.norm(background.sample, axis=1), 1, atol=1e-5)
    assert np.allclose(background.sample.mean(axis=0), spread(6_000, 0).mean(axis=0), atol=0.03)


def test_a_table_that_was_never_analysed_is_sampled_too(engine: Engine, filled: Collection) -> None:
    fresh = make_collection(engine, DIMENSION, "fresh")
    with transaction(engine) as connection:
        sql = "INSERT INTO {} (key, embedding) SELECT key, embedding FROM {}"
        connection.execute(text(sql.format(fresh.item_table, filled.item_table)))
    background = Backgrounds(engine).of(fresh)
    assert background is not None and SAMPLE_ROWS / 2 < len(background.sample) < 2 * SAMPLE_ROWS


def test_a_small_collection_has_all_its_rows_and_a_tiny_one_none(engine: Engine) -> None:
    small, tiny = make_collection(engine, DIMENSION, "small"), make_collection(engine, DIMENSION, "tiny")
    fill(engine, small, spread(300, 0))
    fill(engine, tiny, spread(LEAST_ROWS - 1, 0))
    backgrounds = Backgrounds(engine)
    found = backgrounds.of(small)
    assert found is not None and len(found.sample) == 300
    assert backgrounds.of(tiny) is None


def test_captions_have_a_background_of_their_own(engine: Engine, filled: Collection) -> None:
    with transaction(engine) as connection:
        sql = "INSERT INTO {} SELECT id, id, embedding FROM {} ORDER BY id LIMIT 100"
        connection.execute(text(sql.format(filled.caption_table, filled.item_table)))
    backgrounds = Backgrounds(engine)
    captions, pictures = backgrounds.of(filled, Criterion.TEXT), backgrounds.of(filled)
    assert captions is not None and len(captions.sample) == 100
    assert backgrounds.of(filled, Criterion.BOTH) is pictures is not captions


def test_a_sample_is_kept_and_only_so_many_are(engine: Engine, filled: Collection) -> None:
    backgrounds = Backgrounds(engine)
    first = backgrounds.of(filled)
    assert backgrounds.of(filled) is first
    for number in range(KEPT_SAMPLES):
        backgrounds.of(make_collection(engine, DIMENSION, f"other-{number}"))
    assert backgrounds.of(filled) is not first


def test_many_threads_read_one_sample(engine: Engine, filled: Collection) -> None:
    backgrounds = Backgrounds(engine)
    found: list[Background | None] = []
    threads = [Thread(target=lambda: found.append(backgrounds.of(filled))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and len({id(background) for background in found}) == 1


def test_a_table_that_is_gone_or_locked_costs_only_the_percentiles(engine: Engine, filled: Collection) -> None:
    with transaction(engine) as connection:
        connection.execute(text(f"LOCK TABLE {filled.item_table}"))
        assert Backgrounds(engine).of(filled) is None
        delete(connection, filled.name)
    assert Backgrounds(engine).of(filled) is None
    away = create_engine("postgresql://nobody@127.0.0.1:1/nothing")
    assert Backgrounds(away).of(filled) is None
