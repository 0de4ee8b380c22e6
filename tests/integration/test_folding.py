"""One of a group is shown: against arithmetic, through every plan, filter, threshold, ranking and page."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from redis import Redis
from sqlalchemy import Engine, text

from clipgres.answer import Answer
from clipgres.collections import Collection
from clipgres.database import transaction
from clipgres.plans import costs
from clipgres.request import parse_request
from clipgres.search import Searcher
from tests.asking import all_pages, make_searcher, next_page, request_for
from tests.twins import Picture, put_pictures
from tests.vectors import Array, build_index, clustered, fill_captions, make_collection, put

ROWS, DIMENSION = 240, 8
KINDS = ("url", "bytes", "near")
ROUNDING = 1e-4
GROUP_SQL = text("""
    INSERT INTO clipgres.duplicate (collection_id, kind, image_id, group_id)
    SELECT :collection, :kind, image, min(image) OVER () FROM unnest(CAST(:images AS bigint[])) image
""")


@dataclass(frozen=True)
class World:
    """Items and the group of each by kind, as numbers of their own."""

    searcher: Searcher
    collection: Collection
    vectors: Array
    namespaces: list[str]
    groups: dict[str, list[int]]

    def scores(self, query: Array) -> NDArray[np.float64]:
        """The cosine of every item."""
        half = query.astype(np.float16).astype(np.float64)
        scores = self.vectors.astype(np.float64) @ half / np.linalg.norm(half)
        lengths: NDArray[np.float64] = np.linalg.norm(self.vectors.astype(np.float64), axis=1)
        return scores / lengths

    def order(self, query: Array, namespace: str = "") -> list[int]:
        """The items of a namespace, nearest first."""
        scores = self.scores(query)
        return [n for n in np.argsort(-scores, kind="stable").tolist() if self.namespaces[n] == namespace]

    def folded(self, order: list[int], fold: str) -> list[int]:
        """The first of each group."""
        firsts = {}
        for n in order:
            firsts.setdefault(self.groups[fold][n], n)
        return list(firsts.values())


@pytest.fixture
def world(engine: Engine, redis_url: str) -> Iterator[World]:
    """240 items with an index, a third of them in groups of 2 to 60, near ones among near vectors and anywhere."""
    chance = random.Random(1)
    collection, vectors = make_collection(engine, DIMENSION), clustered(ROWS, DIMENSION)
    namespaces = ["b" if n % 11 == 3 else "" for n in range(ROWS)]
    pictures = [Picture(str(n), vectors[n].tolist(), n, namespace=namespaces[n]) for n in range(ROWS - 5)]
    images = put_pictures(engine, collection, pictures)
    groups: dict[str, list[int]] = {kind: list(range(ROWS)) for kind in KINDS}
    with transaction(engine) as connection:
        for n in range(ROWS - 5, ROWS):
            put(connection, collection, str(n), vectors[n].tolist())  # plain vectors, which have no group
        for kind in KINDS:
            places = chance.sample(range(ROWS - 5), ROWS - 5)
            for size in (60, 9, 5, 2, 2):
                members = [places.pop() for _ in range(size)]
                for n in members:
                    groups[kind][n] = 1_000 + members[0]
                rows = {"kind": kind, "images": [images[n] for n in members]}
                connection.execute(GROUP_SQL, {"collection": collection.id, **rows})
    fill_captions(engine, collection, [[vector] for vector in clustered(ROWS - 5, DIMENSION, seed=5)])
    build_index(engine, collection)
    with Redis.from_url(redis_url) as redis:
        yield World(make_searcher(engine, redis), collection, vectors, namespaces, groups)


def numbers(answer: Answer) -> list[int]:
    return [int(hit.key) for hit in answer.hits]


@pytest.mark.parametrize("index_is_cheap", [False, True])
def test_pages_hold_the_first_of_each_group(
    world: World, index_is_cheap: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if index_is_cheap:
        monkeypatch.setattr(costs, "CANDIDATE_MS", 1e-6)

    @given(
        seed=st.integers(0, 50),
        fold=st.sampled_from(["none", *KINDS]),
        top_k=st.sampled_from([1, 4, 24, 100, 500]),
        namespace=st.sampled_from(["", "b"]),
        mode=st.sampled_from(["auto", "exact", "index"]),
        is_filtered=st.booleans(),
        pages=st.integers(1, 3),
    )
    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    def check(seed: int, fold: str, top_k: int, namespace: str, mode: str, is_filtered: bool, pages: int) -> None:
        query = clustered(1, DIMENSION, seed=1_000 + seed)[0]
        third = {"filter": {"key": {"$in": [str(n) for n in range(0, ROWS, 3)]}}} if is_filtered else {}
        request = request_for(query, top_k=top_k, fold=fold, namespace=namespace, mode=mode, **third)
        order = [n for n in world.order(query, namespace) if n % 3 == 0 or not is_filtered]
        expected = order if fold == "none" else world.folded(order, fold)
        read, answer = [], world.searcher.search(request)
        for _ in range(pages):
            read += numbers(answer)
            assert answer.plan.found == len(answer.hits)
            if fold != "none":
                _check_counts(world, answer, fold, namespace)
            if not answer.next:
                break
            answer = next_page(world.searcher, answer)
        wanted = min(pages * top_k, len(expected))
        assert len(read) == wanted
        assert len(set(read)) == len(read)
        _check_scores(world.scores(query), read, expected[:wanted], is_exact=mode == "exact")
        if wanted == len(expected) and fold != "none":
            assert not answer.next or pages * top_k <= wanted

    check()


def _check_scores(scores: NDArray[np.float64], read: list[int], best: list[int], *, is_exact: bool) -> None:
    """The best there are in their order, up to what is equal to PostgreSQL's arithmetic; an index may miss a few."""
    if is_exact:
        assert np.abs(scores[read] - scores[best]).max(initial=0) < ROUNDING
    assert len(set(read).intersection(best)) >= 0.95 * len(best) - 1


def _check_counts(world: World, answer: Answer, fold: str, namespace: str) -> None:
    groups = world.groups[fold]
    there = [groups[n] for n in range(ROWS) if world.namespaces[n] == namespace]
    for hit in answer.hits:
        assert hit.duplicates == there.count(groups[int(hit.key)]) - 1


def test_other_rankings_are_folded_to_full_pages_as_well(world: World) -> None:
    query, groups = clustered(1, DIMENSION, seed=7)[0], world.groups["near"]
    for fields in ({"criterion": "both"}, {"criterion": "text"}, {"keywords": "caption"}):
        read = []
        for answer in all_pages(world.searcher, request_for(query, top_k=20, fold="near", **fields)):
            assert len(answer.hits) == 20 or not answer.next
            read += [groups[n] for n in numbers(answer)]
        ranked = range(ROWS - 5) if fields.get("criterion") == "text" else range(ROWS)
        assert len(read) == len(set(read))
        assert set(read) == {groups[n] for n in ranked if world.namespaces[n] == ""}


def test_a_folded_answer_tells_the_truth_about_itself(world: World) -> None:
    query = clustered(1, DIMENSION, seed=3)[0]
    order = world.order(query)
    folded = world.folded(order, "near")
    everything = world.searcher.search(request_for(query, top_k=len(folded), fold="near"))
    assert (everything.next, everything.plan.folded) == (None, len(order) - len(folded))
    first = world.searcher.search(request_for(query, top_k=10, fold="near"))
    assert first.to_dict()["plan"]["folded"] == order.index(folded[10]) - 10
    unfolded = world.searcher.search(request_for(query, top_k=10))
    assert (unfolded.plan.folded, {hit.duplicates for hit in unfolded.hits}) == (0, {0})

    # A threshold hides groups by their best.
    least = everything.hits[19].score - 1e-6
    answer = world.searcher.search(request_for(query, top_k=50, fold="near", min_score=least))
    assert numbers(answer) == numbers(everything)[:20]
    assert (answer.hidden, answer.next) == (30, None)

    # What the query is made of has been seen, and its group with it.
    groups = world.groups["near"]
    sample = next(n for n in order if groups.count(groups[n]) == 9)
    request = parse_request({"like": [str(sample)], "fold": "near", "top_k": 500})
    assert {groups[n] for n in order} - {groups[n] for n in numbers(world.searcher.search(request))} == {groups[sample]}


def test_a_group_of_the_first_page_does_not_come_again_whatever_happens_to_it(world: World, engine: Engine) -> None:
    query = clustered(1, DIMENSION, seed=3)[0]
    answer = world.searcher.search(request_for(query, top_k=5, fold="near"))
    shown = numbers(answer)
    with transaction(engine) as connection:
        items = world.collection.item_table
        connection.execute(text(f"DELETE FROM {items} WHERE key = ANY (:keys)"), {"keys": [str(n) for n in shown]})
        connection.execute(text("DELETE FROM clipgres.duplicate WHERE kind = 'bytes'"))
    later = []
    while answer.next:
        answer = next_page(world.searcher, answer)
        later += numbers(answer)
    assert {world.groups["near"][n] for n in later}.isdisjoint(world.groups["near"][n] for n in shown)
    assert len(later) + 5 == len(set(world.groups["near"][n] for n in world.order(query)))
