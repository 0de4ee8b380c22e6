"""Search: the rows that are found, and what a hit carries."""

from __future__ import annotations

import numpy as np
import pytest
from sqlalchemy import Engine, text

from clipgres.collections import Collection
from clipgres.database import transaction
from tests.asking import DIMENSION, ask, keys
from tests.vectors import (
    Array,
    build_caption_index,
    clustered,
    fill,
    fill_captions,
    make_collection,
    make_indexed,
    nearest,
    put,
    put_caption,
    put_images,
)


def test_an_empty_collection_answers_nothing(engine: Engine) -> None:
    answer = ask(engine, make_collection(engine), [1, 0, 0, 0])
    assert (keys(answer), answer.plan.method, answer.plan.matched) == ([], "exact", 0)


def test_exact_search_is_what_arithmetic_says(engine: Engine) -> None:
    collection, vectors = make_collection(engine, DIMENSION), clustered(500, DIMENSION)
    fill(engine, collection, vectors)
    for query in clustered(10, DIMENSION, seed=1):
        assert keys(ask(engine, collection, query, top_k=50)) == nearest(vectors, query, 50)


def test_the_score_is_the_cosine(engine: Engine) -> None:
    collection = make_collection(engine)
    with transaction(engine) as connection:
        for key, vector in {"same": [2, 0, 0, 0], "aside": [0, 1, 0, 0], "against": [-1, 0, 0, 0]}.items():
            put(connection, collection, key, vector)
    answer = ask(engine, collection, [1, 0, 0, 0])
    assert [(hit.key, hit.score) for hit in answer.hits] == [("same", 1.0), ("aside", 0.0), ("against", -1.0)]


def test_rows_at_one_distance_come_in_the_order_they_were_made(engine: Engine) -> None:
    collection = make_collection(engine)
    with transaction(engine) as connection:
        for n in range(30):
            put(connection, collection, str(n), [1, 0, 0, 0])
    assert keys(ask(engine, collection, [1, 1, 0, 0], top_k=30)) == [str(n) for n in range(30)]


def test_a_hit_carries_captions_picture_and_metadata(engine: Engine) -> None:
    collection = make_collection(engine)
    with transaction(engine) as connection:
        image = put_images(connection, 1)[0]
        for caption in ("two dogs", "a beach"):
            put_caption(connection, image, caption)
        connection.execute(text("INSERT INTO clipgres.thumbnail VALUES (:id, 'x')"), {"id": image})
        put(connection, collection, "seen", [1, 0, 0, 0], image=image, metadata={"year": 1957})
        put(connection, collection, "plain", [0, 1, 0, 0])
    seen, plain = ask(engine, collection, [1, 0, 0, 0]).hits
    assert (seen.caption, seen.captions, seen.url) == ("two dogs", ["two dogs", "a beach"], "http://host-0.org/0")
    assert (seen.width, seen.height, seen.host, seen.image_id) == (100, 100, "host-0.org", image)
    assert (seen.metadata, seen.has_thumbnail) == ({"year": 1957}, True)
    assert (plain.caption, plain.captions, plain.url, plain.image_id, plain.has_thumbnail) == (
        None,
        [],
        None,
        None,
        False,
    )


@pytest.fixture
def indexed(engine: Engine) -> tuple[Collection, Array]:
    """A collection of 1,000 rows with an index."""
    return make_indexed(engine, DIMENSION)


def test_a_narrow_filter_gives_every_row_there_is(engine: Engine, indexed: tuple[Collection, Array]) -> None:
    collection, vectors = indexed
    matching = np.arange(len(vectors)) % 100 == 7
    for query in clustered(20, DIMENSION, seed=1):
        answer = ask(engine, collection, query, top_k=20, filter={"group": 7})
        assert keys(answer) == nearest(vectors, query, 20, among=matching)
        assert (answer.plan.method, answer.plan.found, answer.plan.matched) == ("exact on filter", 10, 10)


def test_a_filter_forced_on_the_index_may_come_back_short_and_says_so(
    engine: Engine, indexed: tuple[Collection, Array]
) -> None:
    collection, vectors = indexed
    far = {"key": {"$in": nearest(vectors, -vectors[0], 3)}}
    with transaction(engine) as connection:
        connection.execute(text(f"DELETE FROM {collection.item_table} WHERE key = '500'"))
    answer = ask(engine, collection, vectors[0], filter={"group": 0}, mode="index")
    assert set(keys(answer)) <= {str(n) for n in range(0, 1_000, 100)}
    assert answer.plan.capped is (answer.plan.found < 9)
    assert set(keys(ask(engine, collection, vectors[0], filter=far, mode="index"))) <= set(far["key"]["$in"])


@pytest.mark.parametrize("top_k", [1, 40, 999, 1_000])
def test_the_index_gives_as_many_as_are_asked_for(
    engine: Engine, indexed: tuple[Collection, Array], top_k: int
) -> None:
    collection, vectors = indexed
    plan = ask(engine, collection, vectors[3], top_k=top_k).plan
    assert (plan.found, plan.capped) == (top_k, False)


def test_more_than_the_index_can_give_is_found_exactly(engine: Engine, indexed: tuple[Collection, Array]) -> None:
    collection, vectors = indexed
    answer = ask(engine, collection, vectors[3], top_k=10_000)
    assert keys(answer) == nearest(vectors, vectors[3], 1_000)
    assert (answer.plan.method, answer.plan.index, answer.plan.asked) == ("exact", None, 10_000)


@pytest.mark.parametrize("mode", ["index", "exact"])
def test_items_to_be_like_are_left_out_and_not_missed(
    engine: Engine, indexed: tuple[Collection, Array], mode: str
) -> None:
    collection, vectors = indexed
    with transaction(engine) as connection:
        id_ = connection.execute(text(f"SELECT id FROM {collection.item_table} WHERE key = '5'")).scalar_one()
    answer = ask(engine, collection, vectors[5], left_out=[id_], top_k=10, mode=mode)
    assert keys(answer) == nearest(vectors, vectors[5], 11)[1:]


def test_hits_below_the_threshold_are_hidden_and_counted(engine: Engine, indexed: tuple[Collection, Array]) -> None:
    collection, vectors = indexed
    every = ask(engine, collection, vectors[5], top_k=50)
    threshold = every.hits[9].score
    answer = ask(engine, collection, vectors[5], top_k=50, min_score=threshold)
    assert (keys(answer), answer.hidden, answer.plan.found) == (keys(every)[:10], 40, 50)


@pytest.mark.parametrize("mode", ["auto", "exact", "index"])
def test_namespaces_do_not_see_each_other(engine: Engine, indexed: tuple[Collection, Array], mode: str) -> None:
    collection, vectors = indexed
    with transaction(engine) as connection:
        for n in range(5):
            put(connection, collection, str(n), vectors[0].tolist(), namespace="mine")
    assert len(ask(engine, collection, vectors[0], namespace="mine", mode=mode).hits) <= 5
    assert set(keys(ask(engine, collection, vectors[0], namespace="mine"))) == {"0", "1", "2", "3", "4"}
    assert keys(ask(engine, collection, vectors[0], top_k=3, mode=mode)) == nearest(vectors, vectors[0], 3)
    assert ask(engine, collection, vectors[0], namespace="none", mode=mode).hits == []


def test_a_small_namespace_is_searched_like_a_narrow_filter(engine: Engine, indexed: tuple[Collection, Array]) -> None:
    collection, vectors = indexed
    with transaction(engine) as connection:
        put(connection, collection, "far", (-vectors[0]).tolist(), namespace="mine")
    answer = ask(engine, collection, vectors[0], namespace="mine")
    assert (keys(answer), answer.plan.method, answer.plan.matched) == (["far"], "exact on filter", 1)


def test_an_item_is_as_near_as_its_nearest_caption(engine: Engine) -> None:
    collection, vectors = make_collection(engine), np.eye(4, dtype=np.float32)
    fill(engine, collection, vectors, with_images=True)
    fill_captions(engine, collection, [[[0, 1, 0, 0], [3, 4, 0, 0]], [], [[1, 0, 0, 0]], [[-1, 0, 0, 0]]])
    answer = ask(engine, collection, vectors[0], criterion="text")
    assert [(hit.key, round(hit.score, 3)) for hit in answer.hits] == [("2", 1.0), ("0", 0.6), ("3", -1.0)]
    assert (answer.plan.method, answer.plan.matched, answer.plan.matched_is_exact) == ("exact", 3, True)
    only = ask(engine, collection, vectors[0], criterion="text", filter={"n": {"$ne": 2}}, top_k=1)
    assert (keys(only), only.plan.matched) == (["0"], 2)


def test_the_index_of_captions_is_used_and_named(engine: Engine) -> None:
    collection, vectors = make_collection(engine, DIMENSION), clustered(6_000, DIMENSION)
    fill(engine, collection, vectors, with_images=True)
    captions = [[vector, np.roll(vector, 1)][: n % 3] for n, vector in enumerate(vectors)]
    fill_captions(engine, collection, captions)
    build_caption_index(engine, collection)
    found = 0
    for query in clustered(10, DIMENSION, seed=1):
        answer = ask(engine, collection, query, criterion="text", top_k=10)
        assert (answer.plan.index, answer.plan.found) == (collection.caption_index_name, 10)
        exact = ask(engine, collection, query, criterion="text", top_k=10, mode="exact")
        assert (exact.plan.index, exact.plan.found) == (None, 10)
        found += len(set(keys(answer)) & set(keys(exact)))
    assert found >= 99
    few = ask(engine, collection, vectors[0], criterion="text", filter={"group": 1}, mode="index")
    assert (few.plan.index, few.plan.found) == (collection.caption_index_name, 20)
