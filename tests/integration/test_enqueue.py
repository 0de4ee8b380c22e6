"""Enqueueing on a real PostgreSQL: what becomes of each row, and that a stop loses and repeats nothing."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine, TextClause, text

from clipgres import collections
from clipgres.batches import refusals
from clipgres.chunks import RESOLVE_SQL, STANDING_SQL, create_incoming
from clipgres.collections import Collection
from clipgres.database import transaction
from clipgres.enqueue import Added, enqueue
from clipgres.errors import Conflict
from clipgres.lists import ListRow, OpenedList, RefusedLine, open_list, open_rows
from tests.adding import add, add_urls, collection_named, query

ROOT = Path(__file__).parents[2]
URL = "http://a/1.jpg"
COUNTS = "SELECT lines, accepted, merged, refused, finished IS NOT NULL FROM clipgres.batch ORDER BY id"


@pytest.fixture
def collection(engine: Engine) -> Collection:
    return collection_named(engine)


def open_tsv(path: Path) -> OpenedList:
    return open_list(path, "tsv", caption_max_chars=100)


def test_a_row_becomes_an_image_a_caption_and_a_pending_job(engine: Engine, collection: Collection) -> None:
    added = add(engine, collection, {"url": "HTTP://A/1.jpg#x", "caption": "dog", "key": "k", "size": 3})

    assert added == Added(batch=added.batch, lines=1, accepted=1)
    assert query(engine, "SELECT url, host, state FROM clipgres.image") == [(URL, "a", "new")]
    assert query(engine, "SELECT text, source FROM clipgres.caption") == [("dog", "list")]
    sql = "SELECT namespace, key, metadata, status, next_attempt_at <= now() FROM clipgres.job"
    assert query(engine, sql) == [("", "k", {"size": 3}, "pending", True)]
    assert query(engine, "SELECT count(*) FROM clipgres.batch_job") == [1]


def test_without_a_key_the_image_id_is_the_key(engine: Engine, collection: Collection) -> None:
    add_urls(engine, collection, "a/1", "a/2")

    assert query(engine, "SELECT bool_and(key = image_id::text) FROM clipgres.job") == [True]


def test_duplicates_are_merged_and_keep_all_their_captions(engine: Engine, collection: Collection) -> None:
    first = add(engine, collection, {"url": URL, "caption": "dog"}, {"url": URL + "#x", "captions": ["pup", "dog"]})
    second = add(engine, collection, {"url": URL, "caption": "hound"})

    assert (first.accepted, first.merged, second.accepted, second.merged) == (1, 1, 0, 1)
    assert query(engine, "SELECT text FROM clipgres.caption ORDER BY id") == ["dog", "pup", "hound"]
    assert query(engine, "SELECT batch_id FROM clipgres.batch_job ORDER BY 1") == [first.batch, second.batch]


@pytest.mark.parametrize(("status", "reason"), [("ok", None), ("failed", "not_found")])
def test_a_job_that_came_to_its_end_is_left_as_it_is(
    engine: Engine, collection: Collection, status: str, reason: str | None
) -> None:
    add(engine, collection, {"url": URL})
    query(engine, "UPDATE clipgres.job SET status = :status, reason = :reason", status=status, reason=reason)

    assert add(engine, collection, {"url": URL}).merged == 1
    assert query(engine, "SELECT status FROM clipgres.job") == [status]


def test_an_image_of_another_collection_gets_a_job_of_its_own(engine: Engine, collection: Collection) -> None:
    add(engine, collection, {"url": URL})
    query(engine, "UPDATE clipgres.image SET state = 'ok'")

    assert add(engine, collection_named(engine, "other"), {"url": URL}).accepted == 1
    assert query(engine, "SELECT count(*), count(DISTINCT image_id) FROM clipgres.job") == [(2, 1)]
    assert query(engine, "SELECT state FROM clipgres.image") == ["ok"]


def test_a_key_of_another_url_is_refused_whether_old_or_of_the_same_list(
    engine: Engine, collection: Collection
) -> None:
    add(engine, collection, {"url": "http://a/1", "key": "k"})

    added = add(
        engine,
        collection,
        {"url": "http://a/2", "key": "k"},
        {"url": "http://a/2", "key": "k", "namespace": "other"},
        {"url": "http://a/3", "key": "m"},
        {"url": "http://a/4", "key": "m"},
        {"url": "http://a/4"},
        {"url": "http://a/3", "key": "k"},
        {"url": "http://a/1", "key": "k"},
    )

    with transaction(engine) as connection:
        lines = [(each.line, each.reason) for each in refusals(connection, added.batch)]
    assert lines == [(line, f"the key '{key}' belongs to another URL") for line, key in ((1, "k"), (4, "m"), (6, "k"))]
    assert (added.accepted, added.merged, added.refused) == (3, 1, 3)


@pytest.mark.parametrize("chunk_rows", [1, 2, 3, 100])
def test_the_outcome_does_not_depend_on_where_chunks_end(
    engine: Engine, collection: Collection, chunk_rows: int
) -> None:
    pick = random.Random(7)
    rows = [{"url": f"http://a/{pick.randrange(9)}", "key": f"k{pick.randrange(9)}"} for _ in range(60)]
    rows += [{"url": "http://a/none"}, {"url": "ftp://a"}, {"url": "http://a/none", "key": "k1"}]

    expected, refused = row_by_row(rows)
    lines: list[RefusedLine] = []
    opened = open_rows(rows, "test", caption_max_chars=100)
    added = enqueue(engine, collection, opened, on_refused=lines.append, chunk_rows=chunk_rows)

    sql = "SELECT url, key FROM clipgres.job JOIN clipgres.image ON id = image_id WHERE key LIKE 'k%'"
    assert dict(query(engine, sql)) == expected
    assert [line.line for line in lines] == refused
    assert added.accepted == len(expected) + 1
    assert added.accepted + added.merged + added.refused == len(rows)


def row_by_row(rows: list[dict[str, str]]) -> tuple[dict[str, str], list[int]]:
    """What adding one row after the other must come to: the key of each URL, and the refused lines."""
    owners: dict[str, str] = {}
    keys: dict[str, str | None] = {}
    refused = []
    for line, row in enumerate(rows, start=1):
        url, key = row["url"], row.get("key")
        if url.startswith("ftp") or (key and owners.get(key, url) != url):
            refused.append(line)
        elif url not in keys:
            keys[url] = key
            if key:
                owners[key] = url
    return {url: key for url, key in keys.items() if key}, refused


def test_the_first_thousand_refused_lines_of_a_batch_are_kept(engine: Engine, collection: Collection) -> None:
    seen: list[RefusedLine] = []

    opened = open_rows([{"url": "x"}] * 5_500, "test", caption_max_chars=100)
    added = enqueue(engine, collection, opened, on_refused=seen.append)

    assert (added.refused, len(seen)) == (5_500, 5_500)
    assert query(engine, "SELECT count(*), max(line) FROM clipgres.refused_line") == [(1_000, 1_000)]


def test_a_list_is_streamed_in_chunks_and_the_feeder_is_woken(
    engine: Engine, collection: Collection, database_url: str
) -> None:
    steps: list[Added] = []
    with psycopg.connect(database_url, autocommit=True) as listener:
        listener.execute("LISTEN clipgres_work")
        rows = [{"url": f"http://a/{number}"} for number in range(5)]
        opened = open_rows(rows, "test", caption_max_chars=100)
        enqueue(engine, collection, opened, on_progress=steps.append, chunk_rows=2)
        woken = list(listener.notifies(timeout=5, stop_after=3))

    assert [step.lines for step in steps] == [2, 4, 5]
    assert len(woken) == 3


def test_a_chunk_holds_a_bounded_amount_of_text(engine: Engine, collection: Collection) -> None:
    steps: list[Added] = []
    rows = ({"url": f"http://a/{number}", "note": "x" * 900_000} for number in range(12))

    enqueue(engine, collection, open_rows(rows, "test", caption_max_chars=100), on_progress=steps.append)

    assert [step.lines for step in steps] == [9, 12]


def test_eight_programs_adding_the_same_urls_at_once_make_each_one_once(engine: Engine, collection: Collection) -> None:
    rows = [{"url": f"http://a/{number}", "caption": f"dog {number}"} for number in range(300)]
    results: list[Added] = []

    def shuffled(seed: int) -> None:
        results.append(add(engine, collection, *random.Random(seed).sample(rows, len(rows))))

    threads = [threading.Thread(target=shuffled, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(result.accepted for result in results) == 300
    assert sum(result.merged for result in results) == 7 * 300
    assert query(engine, "SELECT count(*) FROM clipgres.caption") == [300]


def test_a_collection_that_is_deleted_meanwhile_is_said(engine: Engine, collection: Collection) -> None:
    with transaction(engine) as connection:
        collections.delete(connection, collection.name)

    with pytest.raises(Conflict, match="deleted"):
        add_urls(engine, collection, "a/1")


def test_nothing_is_left_on_the_pooled_connections(engine: Engine, collection: Collection) -> None:
    add_urls(engine, collection, "a/1")

    assert query(engine, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [0]
    assert query(engine, "SELECT to_regclass('pg_temp.incoming') IS NULL") == [True]


def test_a_row_needs_no_caption(engine: Engine, collection: Collection) -> None:
    opened = OpenedList("test", None, lambda _done: iter([ListRow(1, URL)]))

    assert enqueue(engine, collection, opened).accepted == 1
    assert query(engine, "SELECT count(*) FROM clipgres.caption") == [0]


@pytest.mark.parametrize("statement", [RESOLVE_SQL, STANDING_SQL], ids=["resolve", "standing"])
def test_rows_are_looked_up_by_index_however_many_there_are(
    engine: Engine, collection: Collection, statement: TextClause
) -> None:
    add_urls(engine, collection, *(f"a/{number}" for number in range(2_000)))
    with transaction(engine) as connection:
        create_incoming(connection)
        connection.execute(text("ANALYZE clipgres.image, clipgres.job"))
        plan = connection.execute(text(f"EXPLAIN {statement.text}"), {"collection": collection.id})
        lines = "\n".join(plan.scalars())

    assert "Index" in lines
    assert "Seq Scan on image" not in lines
    assert "Seq Scan on job" not in lines


def test_a_collection_that_the_statistics_do_not_know_is_looked_up_by_key(
    engine: Engine, collection: Collection
) -> None:
    add_urls(engine, collection, *(f"a/{number}" for number in range(300)))
    query(engine, "ANALYZE clipgres.job")
    other = collection_named(engine, "other")
    add_urls(engine, other, *(f"a/{number}" for number in range(300)))
    with transaction(engine) as connection:
        create_incoming(connection)
        plan = connection.execute(text(f"EXPLAIN {STANDING_SQL.text}"), {"collection": other.id}).scalars().all()

    conditions = [line for line in plan if "Index Cond" in line]
    assert any("(key =" in line for line in conditions) and any("(image_id =" in line for line in conditions)
