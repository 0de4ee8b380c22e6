"""Pages: what each holds while rows come and go, and cursors that lead nowhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from redis import Redis
from sqlalchemy import Engine, text

from clipgres import collections
from clipgres.answer import Answer
from clipgres.collections import Collection
from clipgres.database import transaction
from clipgres.encoder import Vectors
from clipgres.errors import BadRequest, ClipgresError, Unavailable
from clipgres.request import SearchRequest, parse_request
from clipgres.search import Searcher
from tests.asking import DIMENSION, all_pages, keys, make_searcher, next_page, request_for
from tests.fakes import FakeEncoder
from tests.seed import FixedEncoders, seed_collection, seed_picture
from tests.vectors import (
    Array,
    clustered,
    fill,
    fill_captions,
    make_collection,
    make_indexed,
    nearest,
    put,
    put_caption,
)
from tests.web import picture, png

GONE = "the pages of this search are gone after 15 minutes: search again"


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    """An empty Redis."""
    with Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def searcher(engine: Engine, redis: Redis) -> Searcher:
    """A searcher that keeps pages."""
    return make_searcher(engine, redis)


@pytest.fixture
def filled(engine: Engine) -> tuple[Collection, Array]:
    """A collection of 200 rows."""
    collection, vectors = make_collection(engine, DIMENSION), clustered(200, DIMENSION)
    fill(engine, collection, vectors, with_images=True)
    return collection, vectors


def shown(pages: list[Answer]) -> list[str]:
    """The keys of all pages, one after the other."""
    return [key for page in pages for key in keys(page)]


def delete(engine: Engine, collection: Collection, gone: list[str]) -> None:
    """Delete items by key."""
    statement = text(f"DELETE FROM {collection.item_table} WHERE key = ANY (:gone)")
    with transaction(engine) as connection:
        connection.execute(statement, {"gone": gone})


@pytest.mark.parametrize(("mode", "method"), [("auto", "exact"), ("index", "index")])
def test_fifty_pages_hold_every_row_once_in_order(engine: Engine, searcher: Searcher, mode: str, method: str) -> None:
    _, vectors = make_indexed(engine, DIMENSION)
    pages = list(all_pages(searcher, request_for(vectors[3], mode=mode)))
    assert [len(page.hits) for page in pages] == [20] * 50
    assert shown(pages) == nearest(vectors, vectors[3], 1_000)
    assert [page.plan.method for page in pages] == [method] + ["page"] * 49
    assert {(page.plan.asked, page.plan.found, page.plan.capped) for page in pages} == {(20, 20, False)}


@pytest.mark.parametrize("mode", ["auto", "exact", "index"])
def test_the_first_page_is_an_ordinary_search(engine: Engine, searcher: Searcher, mode: str) -> None:
    _, vectors = make_indexed(engine, DIMENSION)
    request = request_for(vectors[3], mode=mode)
    paged, unpaged = (each.search(request) for each in (searcher, make_searcher(engine, None)))
    assert (paged.hits, paged.plan.method) == (unpaged.hits, unpaged.plan.method)
    assert paged.next and not unpaged.next
    assert next_page(searcher, paged).plan.index == (searcher_index(engine) if mode == "index" else None)


def searcher_index(engine: Engine) -> str:
    """The name of the index of the default collection."""
    with transaction(engine) as connection:
        return collections.find(connection, "default").index_name


@pytest.mark.parametrize(("top_k", "sizes"), [(200, [200]), (201, [200]), (199, [199, 1]), (150, [150, 50])])
def test_the_last_page_says_that_it_is(
    searcher: Searcher, filled: tuple[Collection, Array], top_k: int, sizes: list[int]
) -> None:
    pages = list(all_pages(searcher, request_for(filled[1][0], top_k=top_k)))
    assert [len(page.hits) for page in pages] == sizes
    assert not any(page.plan.capped for page in pages)


def test_a_page_can_be_asked_for_again(searcher: Searcher, filled: tuple[Collection, Array]) -> None:
    first = searcher.search(request_for(filled[1][0]))
    second = next_page(searcher, first)
    third = next_page(searcher, second)
    assert keys(next_page(searcher, first)) == keys(second)
    assert keys(next_page(searcher, second)) == keys(third)


def test_deleted_rows_are_passed_over_and_the_page_is_full(
    engine: Engine, searcher: Searcher, filled: tuple[Collection, Array]
) -> None:
    collection, vectors = filled
    order = nearest(vectors, vectors[0], 200)
    pages = [searcher.search(request_for(vectors[0], top_k=10))]
    delete(engine, collection, order[:15])
    pages.append(next_page(searcher, pages[-1]))
    assert keys(pages[-1]) == order[15:25]
    delete(engine, collection, order[30:180])
    pages += [next_page(searcher, pages[-1]), next_page(searcher, pages[-2])]
    pages[-1] = next_page(searcher, pages[2])
    assert shown(pages) == [*order[:10], *order[15:30], *order[180:195]]
    delete(engine, collection, order)
    assert (next_page(searcher, pages[-1]).hits, next_page(searcher, pages[-1]).next) == ([], None)


def test_rows_that_are_added_move_nothing(engine: Engine, searcher: Searcher, filled: tuple[Collection, Array]) -> None:
    collection, vectors = filled
    pages = [searcher.search(request_for(vectors[0]))]
    time.sleep(0.02)  # the order of times is known to a millisecond
    with transaction(engine) as connection:
        for n in range(30):
            put(connection, collection, f"new {n}", vectors[n].tolist())
    pages.append(next_page(searcher, pages[-1]))
    with transaction(engine) as connection:
        put(connection, collection, "newer", vectors[0].tolist())
    while pages[-1].next:
        pages.append(next_page(searcher, pages[-1]))
    assert shown(pages) == nearest(vectors, vectors[0], 200)


def test_a_row_that_moves_up_is_not_lost_and_one_that_moves_down_is_not_repeated(
    engine: Engine, searcher: Searcher, filled: tuple[Collection, Array]
) -> None:
    collection, vectors = filled
    order = nearest(vectors, vectors[0], 200)
    pages = [searcher.search(request_for(vectors[0]))]
    update = text(f"UPDATE {collection.item_table} SET embedding = CAST(:vector AS halfvec) WHERE key = :key")
    with transaction(engine) as connection:
        connection.execute(update, {"key": order[-1], "vector": str(vectors[0].tolist())})
        connection.execute(update, {"key": order[0], "vector": str((-vectors[0]).tolist())})
    pages.append(next_page(searcher, pages[0]))
    while pages[-1].next:
        pages.append(next_page(searcher, pages[-1]))
    assert keys(pages[1])[0] == order[-1]
    assert sorted(shown(pages)) == sorted(order)


def test_pages_keep_to_filter_namespace_and_the_items_left_out(
    engine: Engine, searcher: Searcher, filled: tuple[Collection, Array]
) -> None:
    collection, vectors = filled
    with transaction(engine) as connection:
        for n in range(40):
            put(connection, collection, str(n), vectors[n].tolist(), namespace="other", metadata={"group": n % 2})
    request = parse_request({"like": ["6"], "namespace": "other", "filter": {"group": 0}, "top_k": 3})
    pages = list(all_pages(searcher, request))
    among = np.isin(np.arange(200), [n for n in range(0, 40, 2) if n != 6])
    assert shown(pages) == nearest(vectors, vectors[6], 19, among=among)
    assert {page.plan.matched for page in pages} == {19} and {page.namespace for page in pages} == {"other"}
    delete(engine, collection, ["6"])
    assert next_page(searcher, pages[0]).hits == pages[1].hits


def test_paging_stops_at_the_threshold(searcher: Searcher, filled: tuple[Collection, Array]) -> None:
    every = [hit for page in all_pages(searcher, request_for(filled[1][0])) for hit in page.hits]
    least = (every[24].score + every[25].score) / 2
    first, second = all_pages(searcher, request_for(filled[1][0], min_score=least))
    assert (len(first.hits), first.hidden, len(second.hits), second.hidden) == (20, 0, 5, 15)
    [only] = all_pages(searcher, request_for(filled[1][0], min_score=least, top_k=30))
    assert (len(only.hits), only.hidden) == (25, 5)


def test_paging_stops_at_a_percentile(searcher: Searcher, filled: tuple[Collection, Array]) -> None:
    pages = list(all_pages(searcher, request_for(filled[1][0], min_percentile=80)))
    percentiles = [hit.percentile for page in pages for hit in page.hits]
    assert 30 <= len(percentiles) <= 50 and pages[-1].hidden
    assert percentiles == sorted(percentiles, reverse=True) and percentiles[-1] >= 80


def test_pages_end_at_ten_thousand_rows_and_say_so(engine: Engine, searcher: Searcher) -> None:
    collection = make_collection(engine)
    fill(engine, collection, np.random.default_rng(0).normal(size=(15_100, 4)).astype(np.float16).astype(np.float32))
    pages = list(all_pages(searcher, request_for([1, 2, 3, 4], top_k=5_000)))
    assert [len(page.hits) for page in pages] == [5_000, 5_000, 5_000]
    assert [page.plan.capped for page in pages] == [False, False, True]
    assert len(set(shown(pages))) == 15_000


def test_uses_of_one_cursor_at_the_same_time_give_the_same_page(
    engine: Engine, redis: Redis, filled: tuple[Collection, Array]
) -> None:
    collection, vectors = filled
    searchers = [make_searcher(engine, redis) for _ in range(4)]
    first = searchers[0].search(request_for(vectors[0], top_k=5))

    def write_and_read(searcher: Searcher) -> list[str]:
        with transaction(engine) as connection:
            put(connection, collection, f"new {id(searcher)}", vectors[0].tolist())
        page, found = first, keys(first)
        for _ in range(5):
            page = next_page(searcher, page)
            found += keys(page)
        return found

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(write_and_read, searchers))
    assert len({tuple(each) for each in found}) == 1 and len(set(found[0])) == 30


def test_captions_are_paged_by_the_best_of_each_picture(engine: Engine, searcher: Searcher) -> None:
    collection, vectors = make_collection(engine, DIMENSION), clustered(120, DIMENSION)
    fill(engine, collection, -vectors, with_images=True)
    fill_captions(engine, collection, [[vector, -vector] for vector in vectors])
    pages = list(all_pages(searcher, request_for(vectors[7], criterion="text", top_k=7)))
    assert shown(pages) == nearest(vectors * np.sign(vectors @ vectors[7])[:, None], vectors[7], 120)
    assert {page.plan.criterion for page in pages} == {"text"}


def test_a_fused_ranking_is_paged(engine: Engine, searcher: Searcher) -> None:
    collection, vectors = make_collection(engine, DIMENSION), clustered(120, DIMENSION)
    fill(engine, collection, vectors, with_images=True)
    fill_captions(engine, collection, [[vector] for vector in vectors[::-1]])
    request = request_for(vectors[7], criterion="both", top_k=20)
    pages = list(all_pages(searcher, request))
    assert sorted(shown(pages), key=int) == [str(n) for n in range(120)]
    assert keys(pages[0]) == keys(make_searcher(engine, None).search(request))
    assert {tuple(page.plan.fused) for page in pages} == {("pictures", "captions")}


def test_a_page_of_a_fused_ranking_that_is_all_hidden_is_not_the_last(engine: Engine, searcher: Searcher) -> None:
    collection, vectors = make_collection(engine, DIMENSION), clustered(30, DIMENSION)
    fill(engine, collection, vectors, with_images=True)
    order = nearest(vectors, vectors[7], 30)
    image_sql = text(f"SELECT image_id FROM {collection.item_table} WHERE key = :key")
    with transaction(engine) as connection:
        for key in order[-2:]:
            put_caption(connection, connection.execute(image_sql, {"key": key}).scalar_one(), "a zebra")
    fields = {"keywords": "zebra", "weights": {"keywords": 10}, "top_k": 1}
    every = [hit for page in all_pages(searcher, request_for(vectors[7], **fields)) for hit in page.hits]
    assert {hit.key for hit in every[:2]} == set(order[-2:])
    least = max(hit.score for hit in every[:2]) + 0.01
    pages = list(all_pages(searcher, request_for(vectors[7], **fields, min_score=least)))
    assert shown(pages) == [hit.key for hit in every if hit.score >= least]
    assert sum(page.hidden for page in pages) == 30 - len(shown(pages)) and not pages[0].hits


@pytest.fixture
def coloured(engine: Engine) -> FakeEncoder:
    """Nine pictures in colours, and the encoder that knows them."""
    encoder = FakeEncoder()
    collection = seed_collection(engine, encoder)
    for colour in ("red", "orange", "yellow", "green", "blue", "navy", "purple", "black", "white"):
        seed_picture(engine, collection, encoder, picture(colour), url=f"https://pictures.example/{colour}", key=colour)
    return encoder


def test_the_later_pages_of_a_picture_need_no_picture(engine: Engine, redis: Redis, coloured: FakeEncoder) -> None:
    searcher = make_searcher(engine, redis, FixedEncoders(coloured))
    pages = list(all_pages(searcher, parse_request({"image": png("red"), "text": "orange", "top_k": 4})))
    assert len(set(shown(pages))) == 9 and coloured.pictures_seen == 10


def test_what_is_kept_of_a_search_for_a_text_is_small(engine: Engine, redis: Redis, coloured: FakeEncoder) -> None:
    searcher = make_searcher(engine, redis, FixedEncoders(coloured))
    first = searcher.search(parse_request({"text": "red", "not_text": "blue", "top_k": 3}))
    [name] = redis.keys("clipgres:pages:search:*")
    assert redis.strlen(name) < 500 and 0 < redis.ttl(name) <= 900
    assert len(shown(list(all_pages(searcher, parse_request({"cursor": first.next}))))) == 6


class SlowEncoder(FakeEncoder):
    """One that takes its time for a text."""

    def text(self, texts: Sequence[str]) -> Vectors:
        time.sleep(0.1)
        return super().text(texts)


def test_what_is_added_is_on_no_page_however_long_the_model_takes(
    engine: Engine, redis: Redis, coloured: FakeEncoder
) -> None:
    first = make_searcher(engine, redis, FixedEncoders(coloured)).search(parse_request({"text": "red", "top_k": 3}))
    time.sleep(0.02)  # as above
    with transaction(engine) as connection:
        put(connection, collections.find(connection, "default"), "new", coloured.text(["red"])[0].tolist())
        connection.execute(text("DELETE FROM clipgres.query_embedding"))
    searcher = make_searcher(engine, redis, FixedEncoders(SlowEncoder()))
    later = shown(list(all_pages(searcher, parse_request({"cursor": first.next}))))
    assert len(later) == 6 and "new" not in later


def test_a_long_text_is_not_kept(engine: Engine, redis: Redis, coloured: FakeEncoder) -> None:
    searcher = make_searcher(engine, redis, FixedEncoders(coloured))
    request = parse_request({"text": "red " * 10_000, "top_k": 3})
    pages = list(all_pages(searcher, request))
    assert len(set(shown(pages))) == 9 and {page.plan.text_was_cut for page in pages} == {True}
    assert all(redis.strlen(name) < 3_000 for name in redis.keys("clipgres:pages:*"))


def with_next(answer: Answer, **fields: object) -> SearchRequest:
    """The cursor of an answer with other fields beside it."""
    return parse_request({"cursor": answer.next, **fields})


def test_the_same_search_may_stand_beside_its_cursor(engine: Engine, redis: Redis, coloured: FakeEncoder) -> None:
    searcher = make_searcher(engine, redis, FixedEncoders(coloured))
    fields = {"image": png("red"), "top_k": 3, "filter": {"width": {"$gte": 1}}}
    first = searcher.search(parse_request(fields))
    assert searcher.search(with_next(first, **fields)).hits == next_page(searcher, first).hits
    for other in ({"image": png("blue")}, {"filter": {}}, {"top_k": 4}, {"text": "red"}):
        with pytest.raises(BadRequest, match="another search") as caught:
            searcher.search(with_next(first, **{**fields, **other}))
        assert caught.value.field == "cursor"


def test_an_alias_that_moves_takes_no_pages_with_it(
    engine: Engine, searcher: Searcher, filled: tuple[Collection, Array]
) -> None:
    collection, vectors = filled
    first = searcher.search(request_for(vectors[0]))
    other = make_collection(engine, 4, "other")
    with transaction(engine) as connection:
        collections.set_alias(connection, "default", other)
    pages = [first, *all_pages(searcher, with_next(first))]
    assert shown(pages) == nearest(vectors, vectors[0], 200)
    assert {page.collection for page in pages} == {collection.name}


def test_a_deleted_collection_ends_its_pages(
    engine: Engine, searcher: Searcher, filled: tuple[Collection, Array]
) -> None:
    first = searcher.search(request_for(filled[1][0]))
    second = next_page(searcher, first)
    with transaction(engine) as connection:
        collections.delete(connection, "default")
    for page in (first, second):
        with pytest.raises(BadRequest, match="deleted"):
            next_page(searcher, page)


def refusal(searcher: Searcher, cursor: str | None) -> ClipgresError:
    """How a cursor is refused."""
    with pytest.raises(ClipgresError) as caught:
        searcher.search(parse_request({"cursor": cursor}))
    return caught.value


def test_pages_that_are_gone_say_so(redis: Redis, searcher: Searcher, filled: tuple[Collection, Array]) -> None:
    first = searcher.search(request_for(filled[1][0]))
    second = next_page(searcher, first)
    for kind, page in (("ranking", second), ("search", first)):
        redis.delete(*redis.keys(f"clipgres:pages:{kind}:*"))
        error = refusal(searcher, page.next)
        assert isinstance(error, BadRequest) and GONE in str(error) and error.field == "cursor"


def test_a_cursor_into_a_ranking_that_was_made_anew_is_refused(
    engine: Engine, redis: Redis, searcher: Searcher, filled: tuple[Collection, Array]
) -> None:
    collection, vectors = filled
    first = searcher.search(request_for(vectors[0]))
    second = next_page(searcher, first)
    redis.delete(*redis.keys("clipgres:pages:ranking:*"))
    delete(engine, collection, nearest(vectors, vectors[0], 200)[60:])
    assert next_page(searcher, first).hits == second.hits
    assert GONE in str(refusal(searcher, second.next))


def test_pages_end_with_what_redis_had(redis: Redis, searcher: Searcher, filled: tuple[Collection, Array]) -> None:
    first = searcher.search(request_for(filled[1][0]))
    redis.flushall()
    assert GONE in str(refusal(searcher, first.next))
    assert next_page(searcher, searcher.search(request_for(filled[1][0]))).hits
    assert "search again" in str(refusal(searcher, first.next))


def test_a_cursor_that_was_changed_is_refused(searcher: Searcher, filled: tuple[Collection, Array]) -> None:
    cursor = searcher.search(request_for(filled[1][0])).next or ""
    for changed in ("x", cursor[:-2], cursor[1:], f"{cursor}{cursor}", cursor.swapcase()):
        error = refusal(searcher, changed)
        assert isinstance(error, BadRequest) and error.field == "cursor"


def test_without_redis_there_is_the_first_page(
    engine: Engine, searcher: Searcher, filled: tuple[Collection, Array], caplog: pytest.LogCaptureFixture
) -> None:
    away = make_searcher(engine, Redis.from_url("redis://127.0.0.1:1"))
    request = request_for(filled[1][0])
    for _ in range(3):
        answer = away.search(request)
        assert (len(answer.hits), answer.next) == (20, None)
    assert len(caplog.records) == 1 and "no further pages" in caplog.text
    cursor = searcher.search(request).next
    assert isinstance(refusal(away, cursor), Unavailable)
    assert isinstance(refusal(make_searcher(engine, None), cursor), BadRequest)
