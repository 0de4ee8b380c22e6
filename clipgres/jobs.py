"""The record of work: claim due jobs under a lease, renew it, give jobs back, sweep what a dead worker left."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, text

from clipgres.reasons import Reason

MAX_CLAIMS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A job in this worker's hands.

    `thumbnail` is there when another collection had the image fetched; `put_off_s` is how long the job was put off the
    last time, and a suspect was in the hands of a worker that died or hung. The host is to be left alone for
    `host_paused_s` seconds more, after failing so often that it was left alone `host_trips` times in a row.
    """

    image_id: int
    url: str
    host: str
    attempts: int
    put_off_s: float
    is_suspect: bool
    thumbnail: bytes | None
    host_paused_s: float = 0
    host_trips: int = 0
    host_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Due:
    """How many jobs of a collection are due, counted up to a cap."""

    collection_id: int
    jobs: int


# One of many jobs may be what takes its worker down. So a claim with suspects is small, 16 of 256, and the next time
# one alone: the jobs beside the poisonous one come through before their own claims are used up. With `local` networks
# given, only jobs are claimed that need no other network to be fetched.
CLAIM_SQL = text(r"""
    WITH due AS (
        SELECT j.collection_id, j.image_id, j.next_attempt_at, j.next_attempt_at - j.updated_at AS put_off,
               j.reason IS NOT DISTINCT FROM 'stuck' AS is_suspect,
               CASE WHEN j.reason = 'stuck' THEN j.attempts ELSE 0 END AS suspicion
        FROM clipgres.job j
        JOIN clipgres.image im ON im.id = j.image_id
        WHERE j.collection_id = :collection AND j.status = 'pending' AND j.next_attempt_at <= now()
          AND EXISTS (SELECT FROM clipgres.collection c WHERE c.id = :collection AND c.paused_at IS NULL)
          AND (
            CAST(:local AS inet[]) IS NULL OR
            im.state = 'ok' AND EXISTS (SELECT FROM clipgres.thumbnail t WHERE t.image_id = im.id) OR
            CASE WHEN im.host ~ '^((25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(\.(?!$)|$)){4}$' OR im.host ~ ':'
                 THEN im.host::inet <<= ANY (CAST(:local AS inet[])) ELSE im.host !~ '[.]' END
          )
        ORDER BY j.next_attempt_at
        LIMIT :limit
        FOR UPDATE OF j SKIP LOCKED
    ), sized AS (
        SELECT *, row_number() OVER places AS place, max(suspicion) OVER places AS most
        FROM due
        WINDOW places AS (ORDER BY next_attempt_at, image_id ROWS UNBOUNDED PRECEDING)
    ), leased AS (
        UPDATE clipgres.job j
        SET status = 'leased', lease_token = :token, leased_until = now() + make_interval(secs => :lease_s),
            attempts = j.attempts + 1, updated_at = now()
        FROM sized s
        WHERE j.collection_id = s.collection_id AND j.image_id = s.image_id
          AND s.place <= CASE s.most WHEN 0 THEN :limit WHEN 1 THEN ceil(sqrt(:limit)) ELSE 1 END
        RETURNING j.image_id, j.attempts, s.put_off, s.is_suspect
    )
    SELECT l.image_id, l.attempts, l.is_suspect, greatest(extract(epoch FROM l.put_off)::float8, 0) AS put_off_s,
           im.url, im.host, t.webp AS thumbnail, h.reason AS host_reason, coalesce(h.trips, 0) AS host_trips,
           coalesce(greatest(extract(epoch FROM h.paused_until - now())::float8, 0), 0) AS host_paused_s
    FROM leased l
    JOIN clipgres.image im ON im.id = l.image_id
    LEFT JOIN clipgres.host h ON h.name = im.host
    LEFT JOIN clipgres.thumbnail t ON t.image_id = l.image_id AND im.state = 'ok'
""")

RENEW_SQL = text("""
    UPDATE clipgres.job SET leased_until = now() + make_interval(secs => :lease_s)
    WHERE status = 'leased' AND lease_token = ANY (:tokens)
""")

# A job that was claimed this often in a row without an end takes its worker down each time: it ends here. How often it
# was tried before with an end of its own does not count against it.
SWEEP_SQL = text("""
    WITH expired AS (
        SELECT collection_id, image_id FROM clipgres.job
        WHERE status = 'leased' AND leased_until < now()
        ORDER BY leased_until LIMIT 10000
        FOR UPDATE SKIP LOCKED
    )
    UPDATE clipgres.job j
    SET status = CASE WHEN j.reason = 'stuck' AND j.attempts >= :max_claims THEN 'failed' ELSE 'pending' END,
        attempts = CASE WHEN j.reason = 'stuck' THEN j.attempts ELSE 1 END,
        reason = 'stuck', lease_token = NULL, leased_until = NULL, next_attempt_at = now(), updated_at = now()
    FROM expired e
    WHERE j.collection_id = e.collection_id AND j.image_id = e.image_id
""")

RELEASE_SQL = text("""
    UPDATE clipgres.job j
    SET status = 'pending', attempts = greatest(j.attempts - 1, 0), lease_token = NULL, leased_until = NULL,
        next_attempt_at = now() + make_interval(secs => r.delay_s), updated_at = now()
    FROM unnest(CAST(:images AS bigint[]), CAST(:delays AS float8[])) AS r (image_id, delay_s)
    WHERE j.status = 'leased' AND j.lease_token = :token AND j.image_id = r.image_id
""")

# What waits for the network was never counted as tried; that it waited is forgotten.
HASTEN_SQL = text("""
    WITH held AS (
        SELECT collection_id, image_id FROM clipgres.job
        WHERE status = 'pending' AND next_attempt_at > now() AND attempts = 0 AND reason = ANY (:reasons)
        LIMIT 10000
        FOR UPDATE SKIP LOCKED
    )
    UPDATE clipgres.job j
    SET next_attempt_at = now(), updated_at = now()
    FROM held h
    WHERE j.collection_id = h.collection_id AND j.image_id = h.image_id
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
    WHERE c.state = 'ready' AND c.paused_at IS NULL AND d.jobs > 0
    ORDER BY c.id
""")

# A lost wake-up costs seconds: the feeder also looks by itself.
ANNOUNCE_SQL = text("NOTIFY clipgres_work")


def announce(connection: Connection) -> None:
    """Wake the feeder once this transaction commits: it has made jobs due."""
    connection.execute(ANNOUNCE_SQL)


WORK_LEFT_SQL = text("""
    SELECT EXISTS (
        SELECT FROM clipgres.job
        WHERE collection_id = :collection AND status = 'pending' AND next_attempt_at <= now()
    ) OR EXISTS (
        SELECT FROM clipgres.job WHERE collection_id = :collection AND status = 'leased'
    )
""")


def claim(
    connection: Connection,
    collection_id: int,
    token: UUID,
    *,
    limit: int,
    lease_s: float,
    local: Sequence[str] | None = None,
) -> list[Claimed]:
    """Lease up to `limit` due jobs under `token`; jobs another worker holds are passed over, not waited for.

    With `local` networks given, only jobs that can be done without any other network.
    """
    parameters = {"collection": collection_id, "token": token, "limit": limit, "lease_s": lease_s}
    rows = connection.execute(CLAIM_SQL, {**parameters, "local": None if local is None else list(local)})
    return [Claimed(**row) for row in rows.mappings()]


def renew(connection: Connection, tokens: Collection[UUID], *, lease_s: float) -> int:
    """Hold all jobs of the tokens for another `lease_s` seconds of the database's clock; returns how many there are."""
    return connection.execute(RENEW_SQL, {"tokens": list(tokens), "lease_s": lease_s}).rowcount


def release(connection: Connection, token: UUID, delays: Mapping[int, float]) -> int:
    """Give back jobs that are still held under `token`, each put off by so many seconds; returns how many.

    The attempt is not counted.
    """
    parameters = {"token": token, "images": list(delays), "delays": list(delays.values())}
    return connection.execute(RELEASE_SQL, parameters).rowcount


def sweep(connection: Connection) -> int:
    """Give back the jobs whose lease ran out; returns how many."""
    return connection.execute(SWEEP_SQL, {"max_claims": MAX_CLAIMS}).rowcount


def hasten_held(connection: Connection) -> int:
    """Make due what waits for the network, up to 10,000 jobs, since it works again; returns how many there were."""
    reasons = [reason.value for reason in Reason if reason.needs_network_witness]
    hastened = connection.execute(HASTEN_SQL, {"reasons": reasons}).rowcount
    announce(connection)
    return hastened


def due(connection: Connection, *, cap: int) -> list[Due]:
    """The collections with due jobs that are not paused, each counted up to `cap`."""
    return [Due(row.collection_id, row.jobs) for row in connection.execute(DUE_SQL, {"cap": cap})]


def is_drained(connection: Connection, collection_id: int) -> bool:
    """Whether nothing of a collection is due or in anybody's hands; what waits for a later attempt may be there."""
    return not connection.execute(WORK_LEFT_SQL, {"collection": collection_id}).scalar_one()
