"""Images that failed: counted by reason and by host, shown by example, and tried again when a person says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from clipgres import jobs
from clipgres.collections import Collection
from clipgres.reasons import Reason

SAMPLE_URLS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureGroup:
    """How many images failed for one reason, with a few of their URLs."""

    reason: Reason
    images: int
    urls: tuple[str, ...]

    @property
    def gloss(self) -> str:
        """The reason in words."""
        return self.reason.gloss


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFailures:
    """How many images of one host failed, and for which reasons, the most frequent first."""

    host: str
    images: int
    reasons: dict[Reason, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedImage:
    """One image that failed, with what is known of the last attempt."""

    collection: str
    key: str
    url: str
    reason: Reason
    attempts: int
    http_status: int | None
    failed_at: datetime


# Each filter counts only where it is given; the planner drops those that are NULL.
_WHERE = """
    (CAST(:collection AS integer) IS NULL OR j.collection_id = :collection)
    AND (CAST(:reason AS text) IS NULL OR j.reason = :reason)
    AND (CAST(:host AS text) IS NULL OR j.image_id IN (SELECT i.id FROM clipgres.image i WHERE i.host = :host))
    AND (CAST(:batch AS bigint) IS NULL
         OR (j.collection_id, j.image_id) IN
            (SELECT b.collection_id, b.image_id FROM clipgres.batch_job b WHERE b.batch_id = :batch))
"""

BY_REASON_SQL = text(f"""
    WITH counted AS (
        SELECT j.reason, count(*) AS images FROM clipgres.job j WHERE j.status = 'failed' AND {_WHERE} GROUP BY j.reason
    )
    SELECT c.reason, c.images,
           ARRAY(
               SELECT im.url
               FROM clipgres.job j
               JOIN clipgres.image im ON im.id = j.image_id
               WHERE j.status = 'failed' AND j.reason = c.reason AND {_WHERE}
               LIMIT :samples
           ) AS urls
    FROM counted c
    ORDER BY c.images DESC, c.reason
""")  # noqa: S608

BY_HOST_SQL = text(f"""
    WITH counted AS (
        SELECT im.host, j.reason, count(*) AS images
        FROM clipgres.job j
        JOIN clipgres.image im ON im.id = j.image_id
        WHERE j.status = 'failed' AND {_WHERE}
        GROUP BY im.host, j.reason
    )
    SELECT host, sum(images)::bigint AS images, array_agg(reason ORDER BY images DESC, reason) AS reasons,
           array_agg(images ORDER BY images DESC, reason) AS counts
    FROM counted
    GROUP BY host
    ORDER BY images DESC, host
    LIMIT :limit
""")  # noqa: S608

SAMPLES_SQL = text(f"""
    SELECT (SELECT min(a.name) FROM clipgres.alias a WHERE a.collection_id = j.collection_id) AS collection,
           j.key, im.url, j.reason, j.attempts, im.http_status, j.updated_at AS failed_at
    FROM clipgres.job j
    JOIN clipgres.image im ON im.id = j.image_id
    WHERE j.status = 'failed' AND {_WHERE}
    ORDER BY j.updated_at DESC, j.image_id
    LIMIT :limit
""")  # noqa: S608

# A job that a worker or another retry holds at this moment is passed over: it is on its way already.
RETRY_SQL = text(f"""
    WITH chosen AS (
        SELECT j.collection_id, j.image_id
        FROM clipgres.job j
        WHERE (j.status = 'failed' OR (j.status = 'pending' AND j.next_attempt_at > now())) AND {_WHERE}
        FOR UPDATE SKIP LOCKED
    )
    UPDATE clipgres.job j
    SET status = 'pending', reason = NULL, attempts = 0, next_attempt_at = now(), updated_at = now()
    FROM chosen c
    WHERE j.collection_id = c.collection_id AND j.image_id = c.image_id
""")  # noqa: S608


def by_reason(
    connection: Connection, collection: Collection | None = None, *, host: str | None = None, batch: int | None = None
) -> Sequence[FailureGroup]:
    """The failed images by reason, the most frequent first; no collection means all of them."""
    parameters = {**_filters(collection, host=host, batch=batch), "samples": SAMPLE_URLS}
    rows = connection.execute(BY_REASON_SQL, parameters)
    return [FailureGroup(reason=Reason.stored_as(row.reason), images=row.images, urls=tuple(row.urls)) for row in rows]


def by_host(
    connection: Connection,
    collection: Collection | None = None,
    *,
    reason: Reason | None = None,
    batch: int | None = None,
    limit: int = 20,
) -> Sequence[HostFailures]:
    """The hosts with the most failed images."""
    parameters = {**_filters(collection, reason=reason, batch=batch), "limit": limit}
    return [
        HostFailures(
            host=row.host,
            images=row.images,
            reasons=dict(zip(map(Reason.stored_as, row.reasons), row.counts, strict=True)),
        )
        for row in connection.execute(BY_HOST_SQL, parameters)
    ]


def samples(
    connection: Connection,
    collection: Collection | None = None,
    *,
    reason: Reason | None = None,
    host: str | None = None,
    batch: int | None = None,
    limit: int = 20,
) -> Sequence[FailedImage]:
    """Single failed images, the latest first."""
    parameters = {**_filters(collection, reason=reason, host=host, batch=batch), "limit": limit}
    rows = connection.execute(SAMPLES_SQL, parameters).mappings()
    return [FailedImage(**{**row, "reason": Reason.stored_as(row["reason"])}) for row in rows]


def retry(
    connection: Connection,
    *,
    collection: Collection | None,
    reason: Reason | None = None,
    host: str | None = None,
    batch: int | None = None,
) -> int:
    """Make failed and put-off images due now, with all their attempts before them; returns how many."""
    filters = _filters(collection, reason=reason, host=host, batch=batch)
    retried = connection.execute(RETRY_SQL, filters).rowcount
    jobs.announce(connection)
    return retried


def _filters(
    collection: Collection | None,
    *,
    reason: Reason | None = None,
    host: str | None = None,
    batch: int | None = None,
) -> dict[str, object]:
    return {"collection": collection.id if collection else None, "reason": reason, "host": host, "batch": batch}
