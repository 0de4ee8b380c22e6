"""The fenced write: everything of a claim or nothing, and nothing of a lost lease."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID, uuid4

import numpy as np
import pytest
from sqlalchemy import Connection, Engine, text

from clipgres.collections import Collection, delete
from clipgres.database import transaction
from clipgres.encoder import Vectors, unit
from clipgres.jobs import claim
from clipgres.reasons import Reason
from clipgres.schema import JobStatus
from clipgres.writes import Facts, Outcome, Written, stage, write_outcomes
from tests.ingest import add_urls, ends, items, new_collection, scalar

FACTS = Facts(
    http_status=200, content_type="image/png", etag='"e"', length=123, width=64, height=48, sha256=b"s" * 32,
    phash=-5, thumbnail=b"webp",
)  # fmt: skip


def vector(seed: int = 0) -> Vectors:
    return unit(np.random.default_rng(seed).normal(size=(1, 512)).astype(np.float32))[0]


def ok(image: int, seed: int = 0) -> Outcome:
    return Outcome(image_id=image, status=JobStatus.OK, facts=FACTS, embedding=vector(seed))


def failed(image: int, reason: Reason = Reason.NOT_FOUND) -> Outcome:
    return Outcome(image_id=image, status=JobStatus.FAILED, reason=reason, http_status=404)


def put_off(image: int, *, is_counted: bool = True) -> Outcome:
    return Outcome(image_id=image, status=JobStatus.PENDING, reason=Reason.TIMEOUT, delay_s=60, is_counted=is_counted)


def claim_urls(engine: Engine, collection: Collection, count: int) -> tuple[list[int], UUID]:
    images, token = add_urls(engine, collection, [f"http://example.org/{n}" for n in range(count)]), uuid4()
    with transaction(engine) as connection:
        claim(connection, collection.id, token, limit=count, lease_s=30)
    return images, token


def write(engine: Engine, collection: Collection, token: UUID, *outcomes: Outcome) -> Written:
    with transaction(engine) as connection:
        return write_outcomes(connection, collection, token, outcomes, recheck_days=30)


def test_each_outcome_lands_where_it_belongs(engine: Engine) -> None:
    collection = new_collection(engine)
    (first, second, third), token = claim_urls(engine, collection, 3)
    assert write(engine, collection, token, ok(first), failed(second), put_off(third)) == Written(
        ok=1, failed=1, put_off=1
    )
    assert ends(engine, collection) == {"ok": 1, "failed not_found": 1, "pending timeout": 1}
    assert items(engine, collection) == 1


def test_nothing_is_locked_while_outcomes_are_sent(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def stage_beside_another(connection: Connection, outcomes: Sequence[Outcome]) -> None:
        with transaction(engine) as other:
            assert other.execute(text("SELECT image_id FROM clipgres.job FOR UPDATE NOWAIT")).scalars().all() == [image]
            other.execute(text("SELECT FROM clipgres.image FOR UPDATE NOWAIT"))
        stage(connection, outcomes)

    monkeypatch.setattr("clipgres.writes.stage", stage_beside_another)
    collection = new_collection(engine)
    [image], token = claim_urls(engine, collection, 1)
    assert write(engine, collection, token, ok(image)) == Written(ok=1)


def test_an_image_keeps_what_was_found(engine: Engine) -> None:
    collection = new_collection(engine)
    [image], token = claim_urls(engine, collection, 1)
    write(engine, collection, token, ok(image))
    with transaction(engine) as connection:
        row = connection.execute(text("SELECT * FROM clipgres.image")).one()
    assert (row.state, row.is_valid, row.http_status, row.bytes, row.width, row.height) == (
        "ok",
        True,
        200,
        123,
        64,
        48,
    )
    assert (row.phash, row.sha256, row.etag, row.content_type) == (-5, b"s" * 32, '"e"', "image/png")
    assert row.last_seen_alive is not None
    assert scalar(engine, "SELECT webp FROM clipgres.thumbnail") == b"webp"


def test_a_vector_comes_back_as_it_was(engine: Engine) -> None:
    collection = new_collection(engine)
    [image], token = claim_urls(engine, collection, 1)
    write(engine, collection, token, ok(image, seed=7))
    stored = scalar(engine, f"SELECT embedding FROM {collection.item_table}")
    assert np.abs(stored.to_numpy().astype(np.float32) - vector(7)).max() < 1e-4  # type: ignore[attr-defined]


def test_an_item_gets_the_key_and_metadata_of_its_job(engine: Engine) -> None:
    collection = new_collection(engine)
    [image], token = claim_urls(engine, collection, 1)
    with transaction(engine) as connection:
        connection.execute(text("UPDATE clipgres.job SET key = 'dog-1', namespace = 'dogs', metadata = '{\"a\": 1}'"))
    write(engine, collection, token, ok(image))
    with transaction(engine) as connection:
        row = connection.execute(text(f"SELECT * FROM {collection.item_table}")).one()
    assert (row.key, row.namespace, row.metadata, row.image_id) == ("dog-1", "dogs", {"a": 1}, image)


def test_a_late_writer_writes_nothing(engine: Engine) -> None:
    collection = new_collection(engine)
    images, token = claim_urls(engine, collection, 2)
    with transaction(engine) as connection:
        connection.execute(text("UPDATE clipgres.job SET lease_token = :new"), {"new": uuid4()})
    assert write(engine, collection, token, *map(ok, images)) == Written(lost=2)
    assert items(engine, collection) == 0
    assert scalar(engine, "SELECT count(*) FROM clipgres.image WHERE state <> 'new'") == 0


def test_the_same_write_twice_is_one(engine: Engine) -> None:
    collection = new_collection(engine)
    [image], token = claim_urls(engine, collection, 1)
    write(engine, collection, token, ok(image))
    assert write(engine, collection, token, ok(image)) == Written(lost=1)
    assert items(engine, collection) == 1


def test_an_image_twice_in_one_write_counts_once(engine: Engine) -> None:
    collection = new_collection(engine)
    [image], token = claim_urls(engine, collection, 1)
    assert write(engine, collection, token, ok(image), ok(image)).ok == 1


def test_writing_the_same_vector_again_leaves_the_item_alone(engine: Engine) -> None:
    collection = new_collection(engine)
    [image], token = claim_urls(engine, collection, 1)
    write(engine, collection, token, ok(image))
    version = scalar(engine, f"SELECT xmin::text FROM {collection.item_table}")
    for seed, is_same in ((0, True), (1, False)):
        with transaction(engine) as connection:
            connection.execute(text("UPDATE clipgres.job SET status = 'pending'"))
            claim(connection, collection.id, token, limit=1, lease_s=30)
        write(engine, collection, token, ok(image, seed))
        assert (scalar(engine, f"SELECT xmin::text FROM {collection.item_table}") == version) is is_same


def test_an_uncounted_attempt_leaves_the_count_as_it_was(engine: Engine) -> None:
    collection = new_collection(engine)
    (held, tried), token = claim_urls(engine, collection, 2)
    write(engine, collection, token, put_off(held, is_counted=False), put_off(tried))
    assert scalar(engine, "SELECT array_agg(attempts ORDER BY image_id) FROM clipgres.job") == [0, 1]
    assert scalar(engine, "SELECT bool_and(next_attempt_at > now() + interval '50 s') FROM clipgres.job")


def test_what_the_model_fails_on_is_not_held_against_the_image(engine: Engine) -> None:
    collection = new_collection(engine)
    [image], token = claim_urls(engine, collection, 1)
    write(engine, collection, token, failed(image, Reason.ENCODER_FAILED))
    assert ends(engine, collection) == {"failed encoder_failed": 1}
    assert scalar(engine, "SELECT state FROM clipgres.image") == "new"


def test_a_collection_deleted_meanwhile_is_no_error(engine: Engine) -> None:
    collection = new_collection(engine)
    images, token = claim_urls(engine, collection, 2)
    with transaction(engine) as connection:
        delete(connection, collection.name)
    assert write(engine, collection, token, *map(ok, images)) == Written(lost=2)


def test_every_reason_can_be_stored(engine: Engine) -> None:
    collection = new_collection(engine)
    images, token = claim_urls(engine, collection, len(Reason))
    outcomes = [failed(image, reason) for image, reason in zip(images, Reason, strict=True)]
    assert write(engine, collection, token, *outcomes).failed == len(Reason)
