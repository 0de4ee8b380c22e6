"""The history of an image: a row a fetch, the last ten of them, found by index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import uuid4

import numpy as np
import pytest
from sqlalchemy import Engine, text

from clipgres import attempts
from clipgres.attempts import KEPT, RECORD_SQL, as_detail
from clipgres.collections import Collection
from clipgres.database import transaction
from clipgres.jobs import claim
from clipgres.reasons import Reason
from clipgres.schema import JobStatus
from clipgres.writes import STAGING_SQL, Facts, Outcome, write_outcomes
from tests.adding import query
from tests.ingest import add_urls, new_collection, scalar

FACTS = Facts(
    http_status=200, content_type="image/png", etag=None, length=1, width=64, height=48, sha256=b"s" * 32, phash=0,
    thumbnail=b"webp",
)  # fmt: skip
FREE_SQL = """
    UPDATE clipgres.job SET status = 'pending', lease_token = NULL, leased_until = NULL, next_attempt_at = now()
"""
VECTOR = np.eye(1, 512, dtype=np.float32)[0]


def write(engine: Engine, collection: Collection, *outcomes: Outcome) -> None:
    """Claim everything and write these outcomes."""
    token = uuid4()
    query(engine, FREE_SQL)
    with transaction(engine) as connection:
        claim(connection, collection.id, token, limit=100, lease_s=30)
        assert write_outcomes(connection, collection, token, outcomes, recheck_days=30).lost == 0


def history(engine: Engine, image: int) -> Sequence[attempts.Attempt]:
    with transaction(engine) as connection:
        return attempts.of_image(connection, image)


def test_each_fetch_is_a_row_of_its_image(engine: Engine) -> None:
    collection = new_collection(engine)
    images = add_urls(engine, collection, [f"http://example.org/{number}" for number in range(7)])
    fine, failed, held, thumbnail, unusable, unasked, unknown = images
    alive = Outcome(image_id=fine, status=JobStatus.OK, embedding=VECTOR, facts=FACTS, took_ms=12)
    dead = Outcome(
        image_id=failed, status=JobStatus.FAILED, reason=Reason.NOT_FOUND, http_status=404, detail="a\x00b\r\n c" * 99
    )
    dns = Outcome(
        image_id=held, status=JobStatus.PENDING, reason=Reason.DNS_FAILED, is_counted=False, took_ms=5, delay_s=60
    )
    write(
        engine,
        collection,
        alive,
        dead,
        dns,
        Outcome(image_id=thumbnail, status=JobStatus.OK, embedding=VECTOR),
        Outcome(image_id=unusable, status=JobStatus.PENDING, reason=Reason.ENCODER_FAILED, facts=FACTS, took_ms=3),
        Outcome(image_id=unasked, status=JobStatus.FAILED, reason=Reason.TIMEOUT, is_counted=False),
        replace(dns, image_id=unknown, reason=Reason.ENCODER_FAILED, took_ms=None),
    )
    rows = [[(each.reason, each.http_status, each.took_ms) for each in history(engine, image)] for image in images]
    assert rows == [
        [(None, 200, 12)],
        [(Reason.NOT_FOUND, 404, None)],
        [(Reason.DNS_FAILED, None, 5)],
        [],
        [(None, 200, 3)],
        [],
        [],
    ]
    assert history(engine, failed)[0].detail == ("ab c" * 99)[:300]


def test_the_last_ten_of_each_image_are_kept(engine: Engine) -> None:
    collection = new_collection(engine)
    busy, idle = add_urls(engine, collection, ["http://example.org/1", "http://example.org/2"])
    outcomes = [
        Outcome(image_id=image, status=JobStatus.PENDING, reason=Reason.TIMEOUT, took_ms=0) for image in (busy, idle)
    ]
    write(engine, collection, *outcomes)
    for number in range(1, KEPT + 3):
        write(engine, collection, replace(outcomes[0], took_ms=number))
    assert [each.took_ms for each in history(engine, busy)] == list(range(KEPT + 2, 2, -1))
    assert len(history(engine, idle)) == 1
    query(engine, "DELETE FROM clipgres.job")
    query(engine, "DELETE FROM clipgres.image")
    assert scalar(engine, "SELECT count(*) FROM clipgres.fetch_attempt") == 0


def test_forgetting_reads_no_more_than_the_history_of_its_images(engine: Engine) -> None:
    query(
        engine,
        """
        WITH images AS (
            INSERT INTO clipgres.image (url, url_key, host)
            SELECT 'http://a/' || n, sha256(n::text::bytea), 'a' FROM generate_series(1, 2000) n RETURNING id
        )
        INSERT INTO clipgres.fetch_attempt (image_id) SELECT id FROM images, generate_series(1, 10)
        """,
    )
    query(engine, "ANALYZE clipgres.fetch_attempt")
    with transaction(engine) as connection:
        connection.execute(STAGING_SQL)
        plan = connection.execute(text(f"EXPLAIN {RECORD_SQL.text}"), {"kept": KEPT}).scalars().all()
    assert [line for line in plan if "Seq Scan on fetch_attempt" in line] == []
    assert [line for line in plan if "fetch_attempt_image_idx" in line] != []


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (None, None),
        ("", None),
        ("\x00\x1b", None),
        ("a\ud800b", "ab"),
        (" one\n\ttwo ", "one two"),
        ("ж" * 400, "ж" * 300),
    ],
)
def test_the_words_of_an_error_are_one_line_that_can_be_stored(words: str | None, kept: str | None) -> None:
    assert as_detail(words) == kept
