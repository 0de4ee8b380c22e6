"""The record of work: claim due jobs under a lease, renew it, give jobs back, sweep what a dead worker left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, text

MAX_CLAIMS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A job in this worker's hands; `thumbnail` is there when another collection had the image fetched."""

    image_id: int
    url: str
    host: str
    attempts: int
    thumbnail: bytes | None


@dataclass(frozen=True, slots=True)
class Due:
    """How many jobs of a collection are due, counted up to a cap."""

    collection_id: int
    jobs: int


CLAIM_SQL = text("""
    WITH due AS (
        SELECT collection_id, image_id
        FROM clipgres.job
        WHERE collection_id = :collection AND status = 'pending' AND next_attempt_at <= now()
        ORDER BY next_attempt_at
        LIMIT :limit
        FOR UPDATE SKIP LOCKED
    ), leased AS (
        UPDATE clipgres.job j
        SET status = 'leased', lease_token = :token, leased_until = now() + make_interval(secs => :lease_s),
            attempts = j.attempts + 1, updated_at = now()
        FROM due
        WHERE j.collection_id = due.collection_id AND j.image_id = due.image_id
        RETURNING j.image_id, j.attempts
    )
    SELECT l.image_id, l.attempts, im.url, im.host, t.webp AS thumbnail
    FROM leased l
    JOIN clipgres.image im ON im.id = l.image_id
    LEFT JOIN clipgres.thumbnail t ON t.image_id = l.image_id AND im.state = 'ok'
""")

RENEW_SQL = text("""
    UPDATE clipgres.job SET leased_until = now() + make_interval(secs => :lease_s)
    WHERE status = 'leased' AND lease_token = :token
""")

# A job that was claimed this often without an end takes its worker down each time: it ends here.
SWEEP_SQL = text("""
    WITH expired AS (
        SELECT collection_id, image_id FROM clipgres.job
        WHERE status = 'leased' AND leased_until < now()
        ORDER BY leased_until LIMIT 10000
        FOR UPDATE SKIP LOCKED
    )
    UPDATE clipgres.job j
    SET status = CASE WHEN j.attempts >= :max_claims THEN 'failed' ELSE 'pending' END,
        reason = 'stuck', lease_token = NULL, leased_until = NULL, next_attempt_at = now(), updated_at = now()
    FROM expired e
    WHERE j.collection_id = e.collection_id AND j.image_id = e.image_id
""")

RELEASE_SQL = text("""
    UPDATE clipgres.job
    SET status = 'pending', attempts = greatest(attempts - 1, 0), lease_token = NULL, leased_until = NULL,
        next_attempt_at = now() + make_interval(secs => :delay_s), updated_at = now()
    WHERE status = 'leased' AND lease_token = :token
""")

DUE_SQL = text("""
    SELECT c.id AS collection_id, d.jobs
    FROM clipgres.collection c
    CROSS JOIN LATERAL (
        SELECT count(*) AS jobs FROM (
            SELECT 1 FROM clipgres.job j
            WHERE j.collection_id = c.id AND j.status = 'pending' AND j.next_attempt_at <= now()
            LIMIT :cap
        ) capped
    ) d
    WHERE c.state = 'ready' AND d.jobs > 0
    ORDER BY c.id
""")


def claim(connection: Connection, collection_id: int, token: UUID, *, limit: int, lease_s: float) -> Sequence[Claimed]:
    """Lease up to `limit` due jobs under `token`; jobs another worker holds are passed over, not waited for."""
    parameters = {"collection": collection_id, "token": token, "limit": limit, "lease_s": lease_s}
    return [Claimed(**row) for row in connection.execute(CLAIM_SQL, parameters).mappings()]


def renew(connection: Connection, token: UUID, *, lease_s: float) -> int:
    """Hold all jobs of `token` for another `lease_s` seconds of the database's clock; returns how many there are."""
    return connection.execute(RENEW_SQL, {"token": token, "lease_s": lease_s}).rowcount


def release(connection: Connection, token: UUID, *, delay_s: float = 0) -> int:
    """Give back every job still held under `token`, without counting the attempt."""
    return connection.execute(RELEASE_SQL, {"token": token, "delay_s": delay_s}).rowcount


def sweep(connection: Connection) -> int:
    """Give back the jobs whose lease ran out; returns how many."""
    return connection.execute(SWEEP_SQL, {"max_claims": MAX_CLAIMS}).rowcount


def due(connection: Connection, *, cap: int) -> Sequence[Due]:
    """The collections with due jobs, each counted up to `cap`."""
    return [Due(row.collection_id, row.jobs) for row in connection.execute(DUE_SQL, {"cap": cap})]
