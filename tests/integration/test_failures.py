"""Failures on a real PostgreSQL: counted, narrowed down, tried again and ignored, at the size of a big import too."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, event

from clipgres.backlog import Backlog, backlog
from clipgres.batches import progress
from clipgres.collections import Collection
from clipgres.database import autocommit, transaction
from clipgres.enqueue import Added
from clipgres.errors import BadRequest, NotFound
from clipgres.failures import (
    FailedImage,
    FailureFilter,
    Totals,
    by_batch,
    by_host,
    by_reason,
    ignore,
    parse_filter,
    retry,
    samples,
    totals,
)
from clipgres.reasons import Reason
from clipgres.statistics import collection_statistics
from tests.adding import add_urls, collection_named, query, set_job

EVERYTHING = FailureFilter()
STATUSES = "SELECT url, status FROM clipgres.job JOIN clipgres.image ON id = image_id ORDER BY url"
IGNORED = "SELECT url FROM clipgres.job JOIN clipgres.image ON id = image_id WHERE ignored_at IS NOT NULL ORDER BY url"


@pytest.fixture
def collection(engine: Engine) -> Collection:
    return collection_named(engine)


@pytest.fixture
def added(engine: Engine, collection: Collection) -> Added:
    """Two hosts: a has four missing pictures and a broken one, b has one that is forbidden and one that is fine."""
    added = add_urls(engine, collection, *(f"a/{number}" for number in range(5)), "b/1", "b/2")
    for number in range(4):
        set_job(engine, f"a/{number}", status="failed", reason="not_found", attempts=1)
    set_job(engine, "a/4", status="failed", reason="broken_image")
    set_job(engine, "b/1", status="failed", reason="forbidden")
    set_job(engine, "b/2", status="ok")
    return added


def reasons(engine: Engine, chosen: FailureFilter) -> dict[str, int]:
    """How many failed for which reason."""
    with transaction(engine) as connection:
        return {group.reason.value: group.images for group in by_reason(connection, chosen)}


def pictures(engine: Engine, chosen: FailureFilter, limit: int = 20) -> Sequence[FailedImage]:
    with transaction(engine) as connection:
        return samples(connection, chosen, limit=limit)


def act(engine: Engine, action: Any, **named: Any) -> int:
    """Do it to what is named."""
    with transaction(engine) as connection:
        done: int = action(connection, FailureFilter(**named))
    return done


def test_failures_are_grouped_by_reason_with_a_few_urls(engine: Engine, added: Added) -> None:
    with transaction(engine) as connection:
        groups = by_reason(connection, FailureFilter(collection="default"))

    assert [(group.reason, group.images) for group in groups] == [
        (Reason.NOT_FOUND, 4),
        (Reason.BROKEN_IMAGE, 1),
        (Reason.FORBIDDEN, 1),
    ]
    assert len(set(groups[0].urls) & {f"http://a/{number}" for number in range(4)}) == 3
    assert groups[1].urls == ("http://a/4",)
    assert groups[0].gloss == "the host says it is not there (404)"
    assert groups[0].advice.startswith("Nothing to mend here")


def test_filters_narrow_each_other_down(engine: Engine, added: Added) -> None:
    other = collection_named(engine, "other")
    later = add_urls(engine, other, "a/0")
    query(engine, "UPDATE clipgres.job SET status = 'failed', reason = 'gone' WHERE collection_id = :id", id=other.id)

    assert reasons(engine, FailureFilter(collection="default", host="b")) == {"forbidden": 1}
    assert reasons(engine, FailureFilter(batch=added.batch)) == {"not_found": 4, "broken_image": 1, "forbidden": 1}
    assert reasons(engine, FailureFilter(batch=later.batch)) == {"gone": 1}
    assert reasons(engine, FailureFilter(collection="other")) == {"gone": 1}
    assert reasons(engine, FailureFilter(batch=added.batch, host="a", reason="broken_image")) == {"broken_image": 1}
    assert reasons(engine, FailureFilter(batch=later.batch, host="b")) == {}
    assert sum(reasons(engine, EVERYTHING).values()) == 7
    with transaction(engine) as connection:
        assert totals(connection, FailureFilter(host="a")) == Totals(failed=6, ignored=0)


def test_failures_are_grouped_by_host(engine: Engine, added: Added) -> None:
    query(engine, "INSERT INTO clipgres.host (name, paused_until) VALUES ('a', '2100-01-01Z'), ('b', '2000-01-01Z')")
    with transaction(engine) as connection:
        hosts = by_host(connection, EVERYTHING)
        missing = by_host(connection, FailureFilter(reason="forbidden"))

    assert [(host.host, host.images) for host in hosts] == [("a", 5), ("b", 1)]
    assert list(hosts[0].reasons.items()) == [(Reason.NOT_FOUND, 4), (Reason.BROKEN_IMAGE, 1)]
    assert [host.paused_until for host in hosts] == [datetime(2100, 1, 1, tzinfo=UTC), None]
    assert [(host.host, host.images) for host in missing] == [("b", 1)]


def test_failures_are_grouped_by_batch_and_count_in_each(engine: Engine, collection: Collection, added: Added) -> None:
    later = add_urls(engine, collection, "a/0", "a/4", "c/1")
    with transaction(engine) as connection:
        first, second = by_batch(connection, EVERYTHING)

    assert (first.batch, first.images, first.reasons) == (later.batch, 2, {"not_found": 1, "broken_image": 1})
    assert (second.batch, second.images, second.source) == (added.batch, 6, "test")


def test_single_failures_come_with_the_words_of_the_last_attempt(engine: Engine, added: Added) -> None:
    query(engine, "UPDATE clipgres.image SET http_status = 404, next_check = '2100-01-01Z' WHERE url = 'http://a/3'")
    query(
        engine,
        """
        INSERT INTO clipgres.fetch_attempt (image_id, at, reason, detail)
        SELECT id, CAST(told.at AS timestamptz), told.reason, detail FROM clipgres.image, (VALUES
            ('2026-01-01Z', 'not_found', 'the first time'), ('2026-03-01Z', 'timeout', 'of another kind'),
            ('2026-02-01Z', 'not_found', 'no such page')) AS told (at, reason, detail)
        WHERE url = 'http://a/3'
        """,
    )

    last, before = pictures(engine, FailureFilter(reason="not_found"), limit=2)

    assert (last.url, last.host, last.http_status, last.attempts, last.recorded) == ("http://a/3", "a", 404, 1, 3)
    assert (last.collection, last.reason, last.words) == ("default", Reason.NOT_FOUND, "no such page")
    assert last.next_check == datetime(2100, 1, 1, tzinfo=UTC)
    assert (before.url, before.detail, before.words, before.recorded) == (
        "http://a/2",
        None,
        "the host says it is not there (404)",
        0,
    )


def test_retry_makes_failed_images_due_with_all_attempts_before_them(engine: Engine, added: Added) -> None:
    assert act(engine, retry, collection="default") == 6

    sql = "SELECT DISTINCT attempts, reason, next_attempt_at <= now() FROM clipgres.job WHERE status = 'pending'"
    assert query(engine, sql) == [(0, None, True)]
    assert query(engine, "SELECT status, count(*) FROM clipgres.job GROUP BY 1 ORDER BY 1") == [
        ("ok", 1),
        ("pending", 6),
    ]


@pytest.mark.parametrize(
    ("narrowed", "chosen"),
    [
        ({"reason": Reason.NOT_FOUND}, {"http://a/0", "http://a/1", "http://a/2", "http://a/3"}),
        ({"host": "b"}, {"http://b/1"}),
        ({"host": "a", "reason": "broken_image"}, {"http://a/4"}),
        ({"host": "nowhere"}, set()),
        (
            {"batch": 1, "host": "a", "reason": "not_found", "collection": "default"},
            {f"http://a/{n}" for n in range(4)},
        ),
    ],
)
def test_retry_and_ignore_take_the_same_filters(
    engine: Engine, added: Added, narrowed: dict[str, Any], chosen: set[str]
) -> None:
    assert act(engine, ignore, **narrowed) == len(chosen)
    assert set(query(engine, IGNORED)) == chosen
    assert act(engine, retry, **narrowed, ignored=True) == len(chosen)
    assert {url for url, status in query(engine, STATUSES) if status == "pending"} == chosen
    assert query(engine, IGNORED) == []


def test_what_is_ignored_leaves_counts_lists_and_retries(engine: Engine, collection: Collection, added: Added) -> None:
    failed_at = pictures(engine, FailureFilter(host="a"))[0].failed_at
    assert act(engine, ignore, host="a") == 5
    assert act(engine, ignore, host="a") == 0  # once is enough

    assert reasons(engine, EVERYTHING) == {"forbidden": 1}
    assert [each.url for each in pictures(engine, EVERYTHING)] == ["http://b/1"]
    assert reasons(engine, FailureFilter(ignored=True)) == {"not_found": 4, "broken_image": 1}
    shown = pictures(engine, FailureFilter(ignored=True))
    assert (shown[0].failed_at, shown[0].ignored_at is not None) == (failed_at, True)
    with transaction(engine) as connection:
        assert totals(connection, EVERYTHING) == Totals(failed=1, ignored=5)
        batch, held = progress(connection, added.batch), collection_statistics(connection, collection)
    assert (batch.total, batch.ok, batch.failed, batch.ignored, batch.left) == (7, 1, 1, 5, 0)
    assert (batch.failed_by_reason, batch.is_done) == ({Reason.FORBIDDEN: 1}, True)
    assert (held.failed, held.ignored) == (1, 5)
    assert act(engine, retry) == 1
    assert act(engine, retry, ignored=True) == 5


def test_ignoring_everything_or_what_is_ignored_is_refused(engine: Engine, added: Added) -> None:
    with pytest.raises(BadRequest, match="say what to ignore"):
        act(engine, ignore)
    with pytest.raises(BadRequest, match="ignored already"):
        act(engine, ignore, host="a", ignored=True)
    assert query(engine, IGNORED) == []


def test_retry_of_a_batch_leaves_other_batches_alone(engine: Engine, collection: Collection, added: Added) -> None:
    batch = add_urls(engine, collection, "a/4", "b/1", "c/1").batch
    assert act(engine, retry, batch=batch) == 2


def test_retry_brings_forward_what_was_put_off(engine: Engine, collection: Collection) -> None:
    add_urls(engine, collection, "a/1", "a/2")
    query(engine, "UPDATE clipgres.job SET reason = 'dns_failed', next_attempt_at = now() + interval '1 hour'")

    assert act(engine, retry, reason="dns_failed") == 2
    assert query(engine, "SELECT DISTINCT next_attempt_at <= now() FROM clipgres.job") == [True]


def test_retry_asks_a_host_anew_that_failed_but_not_one_that_asked_for_time(engine: Engine, added: Added) -> None:
    query(
        engine,
        "INSERT INTO clipgres.host (name, paused_until, trips) VALUES "
        "('a', '2100-01-01Z', 5), ('b', '2100-01-01Z', 0), ('c', '2100-01-01Z', 5)",
    )
    assert act(engine, retry) == 6
    assert query(engine, "SELECT name FROM clipgres.host ORDER BY name") == ["b", "c"]


def test_retry_wakes_the_feeder(engine: Engine, added: Added, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as listener:
        listener.execute("LISTEN clipgres_work")
        act(engine, retry)
        assert len(list(listener.notifies(timeout=5, stop_after=1))) == 1


def test_retry_and_ignore_pass_over_a_job_that_somebody_holds(engine: Engine, added: Added) -> None:
    with transaction(engine) as holder:
        holder.exec_driver_sql("SELECT 1 FROM clipgres.job WHERE reason = 'not_found' FOR UPDATE")
        assert act(engine, ignore, host="a") == 1
        assert act(engine, retry) == 1


@pytest.mark.parametrize(
    ("fields", "host"),
    [
        ({"host": " A.Example "}, "a.example"),
        ({"host": "https://A.example/dog.jpg"}, "a.example"),
        ({"host": "bücher.example."}, "xn--bcher-kva.example"),
        ({"host": "2001:DB8::1"}, "2001:db8::1"),
        ({"host": "[2001:db8::1]"}, "2001:db8::1"),
    ],
)
def test_a_host_may_be_written_as_people_write_it(fields: dict[str, Any], host: str) -> None:
    assert parse_filter(fields).host == host


@pytest.mark.parametrize(
    "unknown", [{"batch": 99}, {"batch": 2**63 - 1}, {"collection": "nope"}, {"collection": "a;b"}]
)
def test_what_is_not_there_is_said(engine: Engine, unknown: dict[str, Any]) -> None:
    with pytest.raises(NotFound, match="there is no"):
        reasons(engine, FailureFilter(**unknown))


def overview(engine: Engine) -> Backlog:
    with transaction(engine) as connection:
        return backlog(connection)


def test_the_backlog_of_an_empty_database(engine: Engine) -> None:
    now = overview(engine)
    assert (now.due, now.leased, now.waiting, now.rate, now.eta_s) == (0, 0, 0, 0, 0)
    assert (now.oldest_wait_s, now.next_due_in_s, now.hosts, now.collections) == (None, None, (), ())


def test_the_backlog_says_what_waits_and_why(engine: Engine, collection: Collection) -> None:
    paused = collection_named(engine, "photos")
    add_urls(engine, collection, *(f"a/{number}" for number in range(8)))
    add_urls(engine, paused, "p/1", "p/2")
    query(engine, "UPDATE clipgres.collection SET paused_at = now() WHERE id = :id", id=paused.id)
    query(engine, "UPDATE clipgres.job SET next_attempt_at = now() - interval '1 minute'")
    set_job(engine, "a/0", status="ok")
    set_job(engine, "a/1", status="failed", reason="gone")
    set_job(engine, "a/2", reason="dns_failed", attempts=0, next_attempt_at="2100-01-01Z")
    set_job(engine, "a/3", reason="timeout", attempts=2, next_attempt_at="2100-01-02Z")
    set_job(engine, "a/4", status="leased", lease_token="0" * 32, leased_until="2100-01-01Z")
    query(
        engine,
        "INSERT INTO clipgres.host (name, paused_until, trips, reason) "
        "VALUES ('a', now() + interval '1 minute', 2, 'timeout'), ('b', now() - interval '1 second', 0, NULL)",
    )

    now = overview(engine)

    assert (now.due, now.leased, now.waiting, now.held) == (3, 1, 2, 1)
    assert [(one.collection, one.due) for one in now.paused] == [("photos", 2)]
    assert now.oldest_wait_s is not None and 60 <= now.oldest_wait_s < 600
    assert now.next_due_in_s is not None and now.next_due_in_s > 1_000_000
    assert now.eta_s == 4 / now.rate
    assert [(host.name, host.trips, host.reason) for host in now.hosts] == [("a", 2, Reason.TIMEOUT)]
    assert now.to_dict()["oldest_wait_s"] == now.oldest_wait_s


FILL_SQL = """
    INSERT INTO clipgres.image (url, url_key, host, state, reason)
    SELECT 'http://h' || n % 500 || '/' || n, sha256(n::text::bytea), 'h' || n % 500,
           CASE WHEN n % 10 = 0 THEN 'failed' ELSE 'ok' END, CASE WHEN n % 10 = 0 THEN 'not_found' END
    FROM generate_series(1, 100000) n;
    INSERT INTO clipgres.job (collection_id, image_id, key, status, reason, updated_at, ignored_at)
    SELECT 1, id, id::text,
           CASE WHEN id % 10 = 0 THEN 'failed' WHEN id % 50 = 1 THEN 'pending' ELSE 'ok' END,
           CASE WHEN id % 100 = 0 THEN 'gone' WHEN id % 10 = 0 THEN 'not_found' END,
           now() - id * interval '1 minute', CASE WHEN id % 200 = 0 THEN now() END
    FROM clipgres.image;
"""


def test_on_100_000_rows_counting_reads_the_rows_of_failures_alone(engine: Engine, collection: Collection) -> None:
    query(engine, FILL_SQL)
    with autocommit(engine) as connection:
        connection.exec_driver_sql("VACUUM ANALYZE clipgres.job")
        connection.exec_driver_sql("VACUUM ANALYZE clipgres.image")

    assert reasons(engine, EVERYTHING) == {"not_found": 9_000, "gone": 500}
    with transaction(engine) as connection:
        assert totals(connection, EVERYTHING) == Totals(failed=9_500, ignored=500)
    assert scans_of(engine, "job", totals, EVERYTHING) == {("Index Only Scan", "job_failed_idx")}
    assert scans_of(engine, "job", by_reason, EVERYTHING) == {
        ("Index Only Scan", "job_failed_idx"),
        ("Index Scan", "job_failed_idx"),  # of three samples
    }
    assert scans_of(engine, "job", samples, EVERYTHING) == {("Index Scan", "job_ended_idx")}
    assert ("Seq Scan", None) not in scans_of(engine, "job", by_host, FailureFilter(host="h10"))
    due, leased = scans_of(engine, "job", backlog), ("Index Only Scan", "job_due_idx")
    assert leased in due and ("Seq Scan", None) not in due
    assert {index for _, index in due} == {"job_due_idx", "job_ended_idx", "job_lease_idx"}


def scans_of(engine: Engine, table: str, ask: Any, *arguments: Any) -> set[tuple[str, str | None]]:
    """How the statements of a question read a table, as the planner says it."""
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_more: Any) -> None:
        asked.append((statement, parameters))

    with transaction(engine) as connection:
        event.listen(connection, "before_cursor_execute", note)
        ask(connection, *arguments)
        event.remove(connection, "before_cursor_execute", note)
        plans = [
            connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {sql}", values).scalar_one() for sql, values in asked
        ]
    return {found for [plan] in plans for found in scans(plan["Plan"], table)}


def scans(node: dict[str, Any], table: str) -> set[tuple[str, str | None]]:
    below = {found for child in node.get("Plans", ()) for found in scans(child, table)}
    if node["Node Type"] == "Bitmap Index Scan" and node["Index Name"].startswith(f"{table}_"):
        return {("Bitmap Index Scan", node["Index Name"])}
    is_heap_of_bitmap = node["Node Type"] == "Bitmap Heap Scan"
    if node.get("Relation Name") == table and not is_heap_of_bitmap:
        below.add((node["Node Type"], node.get("Index Name")))
    return below
