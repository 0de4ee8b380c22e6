"""The progress of a batch on a real PostgreSQL, counted from its jobs."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, text

from clipgres.batches import PUT_OFF_S, BatchProgress, progress, recent, refusals
from clipgres.collections import Collection
from clipgres.database import transaction
from clipgres.errors import NotFound
from clipgres.lists import RefusedLine
from clipgres.reasons import Reason
from tests.adding import add, add_urls, collection_named, query, set_job

TOKEN = "00000000-0000-0000-0000-000000000001"
LATER = "now() + interval '1 hour'"


@pytest.fixture
def collection(engine: Engine) -> Collection:
    return collection_named(engine)


def progress_of(engine: Engine, batch: int) -> BatchProgress:
    with transaction(engine) as connection:
        return progress(connection, batch)


def put_off(engine: Engine, path: str, reason: str, attempts: int) -> None:
    set_job(engine, path, reason=reason, attempts=attempts)
    query(engine, f"UPDATE clipgres.job SET next_attempt_at = {LATER} WHERE reason = :reason", reason=reason)


def test_a_batch_counts_its_rows_and_its_jobs(engine: Engine, collection: Collection) -> None:
    paths = [f"a/{number}" for number in range(6)]
    added = add(engine, collection, *({"url": f"http://{path}"} for path in [*paths, "a/0"]), {"url": "x"})
    set_job(engine, "a/0", status="ok")
    set_job(engine, "a/1", status="failed", reason="not_found")
    set_job(engine, "a/2", status="failed", reason="gone")
    set_job(engine, "a/3", status="failed", reason="not_found")
    set_job(engine, "a/4", status="leased", lease_token=TOKEN, leased_until="2100-01-01")

    found = progress_of(engine, added.batch)

    assert (found.id, found.collection, found.source) == (added.batch, "default", "test")
    assert (found.lines, found.accepted, found.merged, found.refused) == (8, 6, 1, 1)
    counts = (found.total, found.pending, found.leased, found.ok, found.failed, found.left)
    assert counts == (6, 1, 1, 1, 3, 2)
    assert list(found.failed_by_reason.items()) == [(Reason.NOT_FOUND, 2), (Reason.GONE, 1)]
    assert not found.is_done


def test_a_batch_is_done_when_its_list_is_read_and_no_job_is_left(engine: Engine, collection: Collection) -> None:
    batch = add_urls(engine, collection, "a/1", "a/2").batch
    set_job(engine, "a/1", status="ok")
    assert not progress_of(engine, batch).is_done
    set_job(engine, "a/2", status="failed", reason="gone")
    assert progress_of(engine, batch).is_done
    assert progress_of(engine, batch).eta_s == 0

    query(engine, "UPDATE clipgres.batch SET finished = NULL")

    assert not progress_of(engine, batch).is_done


def test_jobs_of_other_batches_do_not_count(engine: Engine, collection: Collection) -> None:
    first = add_urls(engine, collection, "a/1", "a/2").batch
    second = add_urls(engine, collection, "a/2", "a/3", "a/4").batch
    other = add_urls(engine, collection_named(engine, "other"), "a/1").batch

    assert [progress_of(engine, batch).total for batch in (first, second, other)] == [2, 3, 1]


def test_images_that_are_put_off_are_waiting(engine: Engine, collection: Collection) -> None:
    batch = add_urls(engine, collection, "a/1", "a/2", "a/3").batch
    put_off(engine, "a/1", "server_error", attempts=2)
    set_job(engine, "a/2", reason="dns_failed", attempts=1)

    found = progress_of(engine, batch)

    assert (found.pending, found.waiting, found.held) == (3, 2, 0)


@pytest.mark.parametrize(
    ("reason", "attempts", "others", "is_held"),
    [
        ("dns_failed", 0, "pending", True),
        ("dns_failed", 0, "ok", False),  # something came to its end just now
        ("dns_failed", 1, "pending", False),
        ("server_error", 0, "pending", False),
    ],
)
def test_a_batch_is_held_while_nothing_moves_for_want_of_a_network(
    engine: Engine, collection: Collection, reason: str, attempts: int, others: str, is_held: bool
) -> None:
    batch = add_urls(engine, collection, "a/1", "a/2").batch
    put_off(engine, "a/1", reason, attempts)
    set_job(engine, "a/2", status=others)

    found = progress_of(engine, batch)

    assert found.is_held is is_held
    assert not found.is_done


@pytest.mark.parametrize(
    ("seconds", "columns", "is_put_off"),
    [
        (900, {}, True),
        (384, {}, False),  # the longest back-off of a link that fails by itself
        (900, {"status": "leased", "lease_token": TOKEN, "leased_until": "2100-01-01"}, False),
        (900, {"next_attempt_at": "2000-01-01"}, False),
    ],
)
def test_a_batch_is_put_off_while_all_that_is_left_waits_for_long(
    engine: Engine, collection: Collection, seconds: int, columns: dict[str, str], is_put_off: bool
) -> None:
    batch = add_urls(engine, collection, "a/1", "a/2", "a/3").batch
    query(engine, "UPDATE clipgres.job SET next_attempt_at = now() + make_interval(secs => :s)", s=seconds)
    set_job(engine, "a/1", next_attempt_at="2100-01-01")
    set_job(engine, "a/2", status="ok")
    assert progress_of(engine, batch).is_put_off is (seconds > PUT_OFF_S)

    if columns:
        set_job(engine, "a/3", **columns)

    found = progress_of(engine, batch)
    assert found.is_put_off is is_put_off
    assert (found.first_due_in_s == pytest.approx(seconds, abs=5)) is not bool(columns)
    query(engine, "UPDATE clipgres.collection SET paused_at = now()")
    assert not progress_of(engine, batch).is_put_off


def test_the_rate_counts_what_ended_within_the_last_minute(engine: Engine, collection: Collection) -> None:
    batch = add_urls(engine, collection, *(f"a/{number}" for number in range(10))).batch
    for number in range(3):
        set_job(engine, f"a/{number}", status="ok")
    query(engine, "UPDATE clipgres.job SET updated_at = now() - interval '2 minutes'")
    for number in range(3, 6):
        set_job(engine, f"a/{number}", status="failed", reason="gone")
    query(engine, "UPDATE clipgres.batch SET started = now() - interval '1 hour'")
    assert progress_of(engine, batch).rate == pytest.approx(3 / 60)
    assert progress_of(engine, batch).eta_s == pytest.approx(4 * 20)

    query(engine, "UPDATE clipgres.batch SET started = now() - interval '6 seconds'")

    assert progress_of(engine, batch).rate == pytest.approx(0.5, rel=0.2)


def test_without_movement_the_time_left_is_unknown(engine: Engine, collection: Collection) -> None:
    assert progress_of(engine, add_urls(engine, collection, "a/1").batch).eta_s is None


def test_while_all_that_is_left_waits_the_rate_tells_nothing(engine: Engine, collection: Collection) -> None:
    batch = add_urls(engine, collection, "a/1", "a/2").batch
    set_job(engine, "a/1", status="ok")
    put_off(engine, "a/2", "server_error", attempts=1)
    found = progress_of(engine, batch)
    assert (found.rate > 0, found.eta_s) == (True, None)


def test_the_latest_batches_come_first(engine: Engine, collection: Collection) -> None:
    batches = [add_urls(engine, collection, f"a/{number}").batch for number in range(3)]

    with transaction(engine) as connection:
        assert [found.id for found in recent(connection, 2)] == batches[:0:-1]


def test_a_batch_without_rows_is_done(engine: Engine, collection: Collection) -> None:
    found = progress_of(engine, add(engine, collection).batch)

    assert found.is_done
    assert (found.total, found.rate, found.failed_by_reason) == (0, 0, {})


def test_refused_lines_are_kept_with_their_reasons(engine: Engine, collection: Collection) -> None:
    batch = add(engine, collection, {"caption": "dog"}, {"url": "http://a/1"}, {"url": "http://"}).batch

    with transaction(engine) as connection:
        found = refusals(connection, batch)

    assert found[0] == RefusedLine(1, "no URL", "")
    assert [line.line for line in found] == [1, 3]


def test_an_unknown_batch_is_said(engine: Engine) -> None:
    with pytest.raises(NotFound, match="there is no batch 7; `clipgres status` lists the latest"):
        progress_of(engine, 7)


def test_a_dropped_alias_leaves_the_batch_readable(engine: Engine, collection: Collection) -> None:
    batch = add_urls(engine, collection, "a/1").batch
    with transaction(engine) as connection:
        connection.execute(text("DELETE FROM clipgres.alias"))

    assert progress_of(engine, batch).collection == ""
