"""Failures on a real PostgreSQL: counted by reason and host, and tried again when a person says so."""

from __future__ import annotations

import psycopg
import pytest
from sqlalchemy import Engine

from clipgres.collections import Collection
from clipgres.database import transaction
from clipgres.enqueue import Added
from clipgres.failures import by_host, by_reason, retry, samples
from clipgres.reasons import Reason
from tests.adding import add_urls, collection_named, query, set_job

STATUSES = "SELECT url, status FROM clipgres.job JOIN clipgres.image ON id = image_id ORDER BY url"


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


def test_failures_are_grouped_by_reason_with_a_few_urls(engine: Engine, collection: Collection, added: Added) -> None:
    with transaction(engine) as connection:
        groups = by_reason(connection, collection)

    assert [(group.reason, group.images) for group in groups] == [
        (Reason.NOT_FOUND, 4),
        (Reason.BROKEN_IMAGE, 1),
        (Reason.FORBIDDEN, 1),
    ]
    assert len(set(groups[0].urls) & {f"http://a/{number}" for number in range(4)}) == 3
    assert groups[1].urls == ("http://a/4",)
    assert groups[0].gloss == "the host says it is not there (404)"


def test_failures_can_be_narrowed_to_a_host_a_batch_and_a_collection(
    engine: Engine, collection: Collection, added: Added
) -> None:
    other = collection_named(engine, "other")
    later = add_urls(engine, other, "a/0")
    query(engine, "UPDATE clipgres.job SET status = 'failed', reason = 'gone' WHERE collection_id = :id", id=other.id)

    with transaction(engine) as connection:
        assert [group.reason for group in by_reason(connection, collection, host="b")] == [Reason.FORBIDDEN]
        assert [group.images for group in by_reason(connection, batch=added.batch)] == [4, 1, 1]
        assert [group.reason for group in by_reason(connection, batch=later.batch)] == [Reason.GONE]
        assert [group.reason for group in by_reason(connection, other)] == [Reason.GONE]
        assert sum(group.images for group in by_reason(connection)) == 7


def test_failures_are_grouped_by_host(engine: Engine, collection: Collection, added: Added) -> None:
    with transaction(engine) as connection:
        hosts = by_host(connection, collection)
        missing = by_host(connection, reason=Reason.FORBIDDEN)

    assert [(host.host, host.images) for host in hosts] == [("a", 5), ("b", 1)]
    assert list(hosts[0].reasons.items()) == [(Reason.NOT_FOUND, 4), (Reason.BROKEN_IMAGE, 1)]
    assert [(host.host, host.images) for host in missing] == [("b", 1)]


def test_single_failures_come_with_what_is_known_of_them(engine: Engine, collection: Collection, added: Added) -> None:
    query(engine, "UPDATE clipgres.image SET http_status = 404 WHERE url = 'http://a/3'")

    with transaction(engine) as connection:
        found = samples(connection, collection, reason=Reason.NOT_FOUND, limit=2)

    assert [(each.url, each.http_status, each.attempts) for each in found] == [
        ("http://a/3", 404, 1),
        ("http://a/2", None, 1),
    ]
    assert (found[0].collection, found[0].reason) == ("default", Reason.NOT_FOUND)


def test_retry_makes_failed_images_due_with_all_attempts_before_them(
    engine: Engine, collection: Collection, added: Added
) -> None:
    with transaction(engine) as connection:
        assert retry(connection, collection=collection) == 6

    sql = "SELECT DISTINCT attempts, reason, next_attempt_at <= now() FROM clipgres.job WHERE status = 'pending'"
    assert query(engine, sql) == [(0, None, True)]
    assert query(engine, "SELECT status, count(*) FROM clipgres.job GROUP BY 1 ORDER BY 1") == [
        ("ok", 1),
        ("pending", 6),
    ]


@pytest.mark.parametrize(
    ("narrowed", "retried"),
    [
        ({"reason": Reason.NOT_FOUND}, {"http://a/0", "http://a/1", "http://a/2", "http://a/3"}),
        ({"host": "b"}, {"http://b/1"}),
        ({"host": "a", "reason": Reason.BROKEN_IMAGE}, {"http://a/4"}),
        ({"host": "nowhere"}, set()),
    ],
)
def test_retry_can_be_narrowed(
    engine: Engine, collection: Collection, added: Added, narrowed: dict[str, str], retried: set[str]
) -> None:
    with transaction(engine) as connection:
        assert retry(connection, collection=collection, **narrowed) == len(retried)  # type: ignore[arg-type]

    assert {url for url, status in query(engine, STATUSES) if status == "pending"} == retried


def test_retry_of_a_batch_leaves_other_batches_alone(engine: Engine, collection: Collection, added: Added) -> None:
    batch = add_urls(engine, collection, "a/4", "b/1", "c/1").batch

    with transaction(engine) as connection:
        assert retry(connection, collection=None, batch=batch) == 2


def test_retry_brings_forward_what_was_put_off(engine: Engine, collection: Collection) -> None:
    add_urls(engine, collection, "a/1", "a/2")
    query(engine, "UPDATE clipgres.job SET reason = 'dns_failed', next_attempt_at = now() + interval '1 hour'")

    with transaction(engine) as connection:
        assert retry(connection, collection=collection, reason=Reason.DNS_FAILED) == 2

    assert query(engine, "SELECT DISTINCT next_attempt_at <= now() FROM clipgres.job") == [True]


def test_retry_wakes_the_feeder(engine: Engine, collection: Collection, added: Added, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as listener:
        listener.execute("LISTEN clipgres_work")
        with transaction(engine) as connection:
            retry(connection, collection=collection)
        assert len(list(listener.notifies(timeout=5, stop_after=1))) == 1


def test_retry_passes_over_a_job_that_somebody_holds(engine: Engine, collection: Collection, added: Added) -> None:
    with transaction(engine) as holder:
        holder.exec_driver_sql("SELECT 1 FROM clipgres.job WHERE reason = 'not_found' FOR UPDATE")
        with transaction(engine) as connection:
            assert retry(connection, collection=collection) == 2
