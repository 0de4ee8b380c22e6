"""Several rankings made into one: the order is that of plain arithmetic, and nothing that ranks is left unsaid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from pgvector import HalfVector
from redis import Redis
from sqlalchemy import Engine, text

from clipgres.answer import Answer
from clipgres.collections import Collection
from clipgres.database import transaction
from clipgres.errors import BadRequest
from clipgres.fusion import Ranking, fuse
from clipgres.plans import Found, Matches, Method
from tests.asking import all_pages, ask, keys, make_searcher, request_for
from tests.vectors import (
    Array,
    clustered,
    fill,
    fill_captions,
    make_collection,
    make_indexed,
    put,
    put_caption,
    put_images,
)

DIMENSION = 16
CAPTION_VECTOR_SQL = """
    INSERT INTO {captions} (caption_id, image_id, embedding)
    SELECT id, image_id, CAST(:embedding AS halfvec)
    FROM clipgres.caption WHERE image_id = :image AND text = :caption
"""


def cosine(one: Array, other: Array) -> float:
    """The cosine of two vectors, neither of which half precision leaves at unit length."""
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


@dataclass
class Gallery:
    """Items as the database has them: item n has the key n, and captions with a vector each."""

    collection: Collection
    pictures: Array
    captions: list[list[tuple[str, Array]]]
    ids: list[int] = field(default_factory=list)

    def distances(self, query: Array, criterion: str) -> dict[int, float]:
        """How far each item is, by its picture or by the best of its captions; without captions it is nowhere."""
        if criterion == "image":
            return {n: 1 - cosine(picture, query) for n, picture in enumerate(self.pictures)}
        return {
            n: 1 - max(cosine(vector, query) for _, vector in captions)
            for n, captions in enumerate(self.captions)
            if captions
        }

    def holding(self, query: Array, word: str) -> list[int]:
        """The items of which a caption holds a word, nearest first."""
        distances = self.distances(query, "image")
        found = [n for n, captions in enumerate(self.captions) if any(word in caption for caption, _ in captions)]
        return sorted(found, key=distances.__getitem__)


@pytest.fixture
def gallery(engine: Engine) -> Gallery:
    """150 items, a third of them without captions; two in seven captions hold the word dog, one in five house."""
    random = np.random.default_rng(1)
    pictures = clustered(150, DIMENSION, seed=2)
    captions = [
        [
            (f"{['a dog', 'a cat', 'the tree', 'dogs', 'a car', 'fish', 'sea'][(n + m) % 7]} {n} {m}", vector)
            for m, vector in enumerate(clustered(1 + n % 2, DIMENSION, seed=n + 10))
        ]
        if n % 3
        else []
        for n in range(150)
    ]
    captions = [[(c + " house" * bool(random.random() < 0.2), v) for c, v in each] for each in captions]
    gallery = Gallery(make_collection(engine, DIMENSION), pictures, captions)
    with transaction(engine) as connection:
        images = put_images(connection, 150)
        for n, image in enumerate(images):
            metadata = {"n": n, "even": n % 2 == 0}
            id_ = put(connection, gallery.collection, str(n), pictures[n], image=image, metadata=metadata)
            gallery.ids.append(id_)
            for caption, vector in captions[n]:
                put_caption(connection, image, caption)
                statement = text(CAPTION_VECTOR_SQL.format(captions=gallery.collection.caption_table))
                values = {"image": image, "caption": caption, "embedding": HalfVector(vector)}
                connection.execute(statement, values)
    return gallery


def fused(rankings: Sequence[tuple[Sequence[int], float]]) -> list[int]:
    """Reciprocal rank fusion, written out."""
    scores: dict[int, float] = {}
    for ranking, weight in rankings:
        for place, n in enumerate(ranking):
            scores[n] = scores.get(n, 0.0) + weight / (61 + place)
    return sorted(scores, key=lambda n: (-round(scores[n], 12), n))


def expected(gallery: Gallery, query: Array, among: set[int], **fields: Any) -> list[str]:
    """The keys of all that is found, in order."""
    criterion, weights = fields.get("criterion", "image"), fields.get("weights", {})
    rankings = []
    for name, compared in (("pictures", "image"), ("captions", "text")):
        if criterion in (compared, "both"):
            distances = gallery.distances(query, compared)
            ranking = sorted(among & distances.keys(), key=distances.__getitem__)
            rankings.append((ranking, weights.get(name, 1.0)))
    if "keywords" in fields:
        holding = [n for n in gallery.holding(query, fields["keywords"]) if n in among]
        rankings.append((holding, weights.get("keywords", 1.0)))
    return [str(n) for n in fused([ranking for ranking in rankings if ranking[1]])]


REQUESTS: list[dict[str, Any]] = [
    {"criterion": "both"},
    {"keywords": "dog"},
    {"criterion": "text", "keywords": "dog"},
    {"criterion": "both", "keywords": "dog"},
    {"criterion": "both", "keywords": "house", "weights": {"pictures": 0.3, "captions": 2.0, "keywords": 0.7}},
    {"criterion": "both", "keywords": "dog", "weights": {"captions": 0.0}},
    {"keywords": "dog", "weights": {"pictures": 0.0}},
]


@pytest.mark.parametrize("fields", REQUESTS, ids=str)
def test_the_order_is_that_of_plain_arithmetic(engine: Engine, gallery: Gallery, fields: dict[str, Any]) -> None:
    query = clustered(1, DIMENSION, seed=3)[0]
    evens = {n for n in range(150) if n % 2 == 0}
    for among, conditions in ((set(range(150)), {}), (evens, {"even": True}), ({30, 31}, {"n": {"$in": [30, 31]}})):
        answer = ask(engine, gallery.collection, query, top_k=150, filter=conditions, **fields)
        assert keys(answer) == expected(gallery, query, among, **fields)
        assert (answer.plan.method, answer.plan.capped) == ("fused", False)
        assert keys(ask(engine, gallery.collection, query, top_k=150, filter=conditions, **fields)) == keys(answer)


def test_fewer_rows_are_the_first_of_many(engine: Engine, gallery: Gallery) -> None:
    query = clustered(1, DIMENSION, seed=4)[0]
    fields: dict[str, Any] = {"criterion": "both", "keywords": "dog"}
    # Of each ranking a hundred places count, which here are all of captions and keywords.
    whole = keys(ask(engine, gallery.collection, query, top_k=150, **fields))
    assert keys(ask(engine, gallery.collection, query, top_k=7, **fields)) == whole[:7]


def scores(answer: Answer) -> list[float]:
    """The scores in order of the hits."""
    return [hit.score for hit in answer.hits]


def test_a_score_is_the_cosine_of_the_picture_or_of_the_best_caption(engine: Engine, gallery: Gallery) -> None:
    query = clustered(1, DIMENSION, seed=5)[0]
    for fields, compared in (({"criterion": "both"}, "image"), ({"criterion": "text", "keywords": "dog"}, "text")):
        answer = ask(engine, gallery.collection, query, **fields)
        distances = gallery.distances(query, compared)
        assert scores(answer) == pytest.approx([1 - distances[int(key)] for key in keys(answer)], abs=2e-3)


def test_the_plan_names_the_rankings_that_found_anything(engine: Engine, gallery: Gallery) -> None:
    query = gallery.pictures[0]
    plan = ask(engine, gallery.collection, query, criterion="both", keywords="dog").plan
    assert (plan.criterion, tuple(plan.fused)) == ("both", ("pictures", "captions", "keywords"))
    assert (plan.asked, plan.found, plan.matched, plan.matched_is_exact) == (20, 20, 150, True)
    plan = ask(engine, gallery.collection, query, keywords="unheard").plan
    assert tuple(plan.fused) == ("pictures",)
    plan = ask(engine, gallery.collection, query, keywords="dog", filter={"n": 0}).plan
    assert (tuple(plan.fused), plan.found) == (("pictures",), 1)


def test_the_items_it_is_made_of_are_left_out(engine: Engine, gallery: Gallery) -> None:
    query = gallery.pictures[1]
    gone = [gallery.ids[n] for n in (0, 1, 2)]
    answer = ask(engine, gallery.collection, query, left_out=gone, criterion="both", keywords="dog", top_k=150)
    assert set(keys(answer)) == {str(n) for n in range(3, 150)}


def test_another_namespace_is_not_searched(engine: Engine, gallery: Gallery) -> None:
    with transaction(engine) as connection:
        image = connection.execute(text(f"SELECT max(image_id) FROM {gallery.collection.item_table}")).scalar_one()
        put(connection, gallery.collection, "elsewhere", gallery.pictures[0], image=image, namespace="other")
    answer = ask(engine, gallery.collection, gallery.pictures[0], criterion="both", keywords="sea", namespace="other")
    assert keys(answer) == ["elsewhere"]


def test_keywords_know_phrases_exclusion_and_either(engine: Engine) -> None:
    collection = make_collection(engine)
    captions = {
        "dog": "a dog",
        "both": "a dog and a cat",
        "cat": "cats asleep",
        "phrase": "the big red dog",
        "twice": "dog beside dog",
        "none": "a tree",
    }
    with transaction(engine) as connection:
        for (key, caption), image in zip(captions.items(), put_images(connection, len(captions)), strict=True):
            put(connection, collection, key, [1, 0, 0, 0], image=image)
            put_caption(connection, image, caption)

    def held(keywords: str) -> list[str]:
        return keys(ask(engine, collection, [1, 0, 0, 0], keywords=keywords, weights={"pictures": 0}))

    assert held("dogs") == ["twice", "dog", "both", "phrase"]
    assert held("dog -cat") == ["twice", "dog", "phrase"]
    assert held('"red dog"') == ["phrase"]
    assert set(held("cat OR tree")) == {"both", "cat", "none"}
    assert held("'; DROP TABLE clipgres.caption; -- dog") == []


def test_a_caption_that_has_no_vector_yet_is_found_by_its_words_and_scores_nothing(engine: Engine) -> None:
    collection = make_collection(engine)
    with transaction(engine) as connection:
        [image] = put_images(connection, 1)
        put(connection, collection, "new", [1, 0, 0, 0], image=image)
        put_caption(connection, image, "a dog")
    answer = ask(engine, collection, [1, 0, 0, 0], criterion="text", keywords="dog")
    assert (keys(answer), scores(answer), tuple(answer.plan.fused)) == (["new"], [0.0], ("keywords",))


def test_pages_go_on_to_captions_that_have_no_vector_yet(engine: Engine, redis_url: str) -> None:
    collection, vectors = make_collection(engine, DIMENSION), clustered(15, DIMENSION)
    fill(engine, collection, vectors, with_images=True)
    fill_captions(engine, collection, [[vector] for vector in vectors[:10]])
    images_sql = text(f"SELECT image_id FROM {collection.item_table} ORDER BY id OFFSET 10")
    with transaction(engine) as connection:
        for image in connection.execute(images_sql).scalars().all():
            put_caption(connection, image, "a zebra")
    with Redis.from_url(redis_url) as redis:
        request = request_for(vectors[0], criterion="text", keywords="zebra", top_k=10)
        pages = list(all_pages(make_searcher(engine, redis), request))
    assert [len(page.hits) for page in pages] == [10, 5]
    assert (pages[0].plan.matched, pages[0].plan.matched_is_exact) == (15, False)


def test_words_that_very_many_captions_hold_are_said_to_be_capped(
    engine: Engine, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = len([caption for each in gallery.captions for caption, _ in each if "dog" in caption])
    for cap, is_capped in ((held, False), (held - 1, True)):
        monkeypatch.setattr("clipgres.keywords.MOST_CAPTIONS", cap)
        assert ask(engine, gallery.collection, gallery.pictures[0], keywords="dog").plan.capped is is_capped


def test_the_index_of_a_fused_search_is_that_of_its_first_ranking(engine: Engine) -> None:
    collection, vectors = make_indexed(engine, DIMENSION)
    fused = ask(engine, collection, vectors[0], keywords="unheard", mode="index").plan
    alone = ask(engine, collection, vectors[0], mode="index", top_k=100).plan
    assert (fused.index, fused.ef_search, fused.method) == (collection.index_name, alone.ef_search, "fused")
    with pytest.raises(BadRequest, match="no finished index"):
        ask(engine, collection, vectors[0], criterion="both", mode="index")


@pytest.mark.parametrize(
    ("fields", "named", "said"),
    [
        ({"keywords": "the of"}, "keywords", "no word to search for"),
        ({"keywords": "?!"}, "keywords", "no word to search for"),
        ({"keywords": "-dog"}, "keywords", "only leave out"),
        ({"keywords": "dog OR -cat"}, "keywords", "only leave out"),
        ({"criterion": "both", "weights": {"pictures": 0, "captions": 0}}, "weights", "no ranking"),
    ],
)
def test_what_cannot_be_ranked_by_is_refused(engine: Engine, fields: dict[str, Any], named: str, said: str) -> None:
    with pytest.raises(BadRequest, match=said) as refused:
        ask(engine, make_collection(engine), [1, 0, 0, 0], **fields)
    assert refused.value.field == named


def test_the_same_shares_in_another_order_are_equal_and_then_the_id_decides() -> None:
    def ranking(*ids: int) -> Ranking:
        found = Found(rows=(), method=Method.EXACT, matches=Matches(3, is_exact=True))
        return Ranking(name="pictures", weight=1, ids=ids, found=found)

    assert fuse([ranking(3, 2, 1), ranking(1, 3, 2), ranking(2, 1, 3)]) == [1, 2, 3]
