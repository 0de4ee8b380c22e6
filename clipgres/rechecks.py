"""Links over time: which are due for another look, and what a look at them changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine, text

from clipgres import jobs
from clipgres.collections import Collection
from clipgres.database import transaction
from clipgres.hosts import GIVEN_UP_TRIPS
from clipgres.images import NEXT_CHECK_SQL, SECONDS_A_DAY, write_images
from clipgres.reasons import Reason
from clipgres.schema import JobStatus
from clipgres.writes import Outcome, keep_held, stage


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Due:
    """A link in this worker's hands. `next_check` is what the claim set: whoever changes it takes the link away.

    Its host may be `given_up` for a reason: then it is taken for dead without being asked. Without `etag` and
    `last_modified` whatever is there is fetched: what they said of a link that died is no matter.
    """

    image_id: int
    url: str
    host: str
    etag: str | None
    last_modified: str | None
    final_url: str | None
    failed_checks: int
    next_check: datetime
    given_up: Reason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rechecked:
    """How many links were found alive or dead, or put off; and the jobs that this made due."""

    alive: int = 0
    dead: int = 0
    put_off: int = 0
    lost: int = 0
    jobs: int = 0

    def __add__(self, other: Rechecked) -> Rechecked:
        return Rechecked(**{name: value + getattr(other, name) for name, value in asdict(self).items()})

    def __str__(self) -> str:
        return (
            f"{self.alive:,} alive, {self.dead:,} dead, {self.put_off:,} put off; {self.jobs:,} pictures to embed anew"
        )


# A link that nobody asks for now is passed over for a day, one of a host that is left alone until it may be asked: they
# do not stand before the others at the next claim.
CLAIM_SQL = text("""
    WITH due AS (
        SELECT im.id, im.host,
               (
                   SELECT true FROM clipgres.job j
                   JOIN clipgres.collection c ON c.id = j.collection_id
                   WHERE j.image_id = im.id AND c.state = 'ready' AND c.paused_at IS NULL
                   LIMIT 1
               ) AS is_wanted
        FROM clipgres.image im
        WHERE im.next_check <= now()
        ORDER BY im.next_check
        LIMIT :limit
        FOR NO KEY UPDATE OF im SKIP LOCKED
    ), judged AS (
        SELECT d.id, d.is_wanted AND (h.paused_until IS NULL OR h.trips >= :given_up_trips) AS is_ours,
               CASE WHEN NOT coalesce(d.is_wanted, false) THEN now() + interval '1 day'
                    WHEN h.trips < :given_up_trips THEN h.paused_until
                    ELSE now() + make_interval(secs => :lease_s) END AS next_check,
               CASE WHEN h.trips >= :given_up_trips THEN h.reason END AS given_up
        FROM due d
        LEFT JOIN clipgres.host h ON h.name = d.host AND h.paused_until > now()
    ), claimed AS (
        UPDATE clipgres.image im SET next_check = j.next_check
        FROM judged j
        WHERE im.id = j.id
        RETURNING im.id AS image_id, im.url, im.host, im.final_url, im.failed_checks, im.next_check,
                  CASE WHEN im.is_valid THEN im.etag END AS etag,
                  CASE WHEN im.is_valid THEN im.last_modified END AS last_modified,
                  j.is_ours, j.given_up
    )
    SELECT image_id, url, host, etag, last_modified, final_url, failed_checks, next_check, given_up
    FROM claimed
    WHERE is_ours
    ORDER BY image_id
""")
RELEASE_SQL = text("""
    UPDATE clipgres.image im SET next_check = now() + make_interval(secs => held.delay_s)
    FROM unnest(CAST(:images AS bigint[]), CAST(:claims AS timestamptz[]), CAST(:delays AS float8[]))
      AS held (image_id, next_check, delay_s)
    WHERE im.id = held.image_id AND im.next_check = held.next_check
""")

# Jobs before images, both in order of the image: nobody who writes outcomes holds an image without its job.
LOCK_JOBS_SQL = text("""
    SELECT FROM clipgres.job
    WHERE image_id = ANY (CAST(:images AS bigint[]))
    ORDER BY image_id, collection_id
    FOR NO KEY UPDATE
""")
HELD_SQL = text("""
    SELECT im.id
    FROM clipgres.image im
    JOIN unnest(CAST(:images AS bigint[]), CAST(:claims AS timestamptz[])) AS held (image_id, next_check)
      ON im.id = held.image_id AND im.next_check = held.next_check
    ORDER BY im.id
    FOR NO KEY UPDATE OF im
""")
# Other bytes are another picture: each collection embeds it anew, and one that a worker holds at this moment is taken
# from it, since it has the old one. A link that is back gives the jobs another chance that failed by its death, but not
# one that shows the same placeholder again.
AFRESH_SQL = text("""
    UPDATE clipgres.job j
    SET status = 'pending', reason = NULL, attempts = 0, lease_token = NULL, leased_until = NULL,
        next_attempt_at = now(), updated_at = now()
    FROM outcome o
    JOIN clipgres.image im ON im.id = o.image_id
    WHERE j.image_id = o.image_id AND o.is_alive AND (
        (j.status IN ('ok', 'leased') AND im.sha256 <> o.sha256)
        OR (j.status = 'failed' AND j.reason <> 'encoder_failed' AND j.ignored_at IS NULL AND NOT im.is_valid
            AND (j.reason <> 'placeholder' OR im.sha256 IS DISTINCT FROM o.sha256))
    )
""")
UNCHANGED_SQL = text(f"""
    UPDATE clipgres.image im
    SET last_seen_alive = now(), checked_at = now(), same_checks = least(im.same_checks + 1, 9999), failed_checks = 0,
        next_check = {NEXT_CHECK_SQL.format(share="", same="im.same_checks + 1")}
    FROM outcome o
    WHERE im.id = o.image_id AND o.status = 'ok' AND NOT o.is_alive
""")  # noqa: S608
PUT_OFF_SQL = text("""
    UPDATE clipgres.image im
    SET failed_checks = im.failed_checks + CASE WHEN o.is_counted THEN 1 ELSE 0 END,
        next_check = now() + make_interval(secs => o.delay_s)
    FROM outcome o
    WHERE im.id = o.image_id AND o.status = 'pending'
""")

PORTION = 10_000
MAKE_DUE_SQL = text("""
    WITH chosen AS (
        SELECT im.id
        FROM clipgres.image im
        WHERE im.id > :after AND im.state <> 'new' AND (NOT :is_dead OR im.state = 'failed')
          AND (CAST(:host AS text) IS NULL OR im.host = :host)
          AND (CAST(:reason AS text) IS NULL OR im.reason = :reason)
          AND EXISTS (
            SELECT FROM clipgres.job j
            WHERE j.image_id = im.id AND (CAST(:collection AS integer) IS NULL OR j.collection_id = :collection)
          )
        ORDER BY im.id
        LIMIT :portion
        FOR NO KEY UPDATE OF im
    )
    UPDATE clipgres.image im SET next_check = now() FROM chosen c WHERE im.id = c.id
    RETURNING im.id
""")


def claim_due(connection: Connection, *, limit: int, lease_s: float) -> list[Due]:
    """Take up to `limit` links that are due; those not written within `lease_s` seconds are due again."""
    parameters = {"limit": limit, "lease_s": lease_s, "given_up_trips": GIVEN_UP_TRIPS}
    rows = connection.execute(CLAIM_SQL, parameters).mappings()
    return [Due(**{**row, "given_up": row["given_up"] and Reason.stored_as(row["given_up"])}) for row in rows]


def release_due(connection: Connection, delays: Mapping[Due, float]) -> None:
    """Give back links that were not looked at, each due again after so many seconds."""
    connection.execute(RELEASE_SQL, {**_claims(list(delays)), "delays": list(delays.values())})


def write_checks(connection: Connection, found: Mapping[Due, Outcome], *, recheck_days: float) -> Rechecked:
    """Record what a look at links found, in the caller's transaction.

    An outcome is `ok` with facts, or without them where nothing has changed; `failed`: the link is dead; `pending`: it
    is looked at again after `delay_s`, and stays what it is until then. A link that is no longer held is left alone.
    """
    outcomes = {due.image_id: outcome for due, outcome in found.items()}
    stage(connection, list(outcomes.values()))
    connection.execute(LOCK_JOBS_SQL, {"images": [image for image, outcome in outcomes.items() if outcome.facts]})
    held = [outcomes[image] for image in connection.execute(HELD_SQL, _claims(list(found))).scalars()]
    if not held:
        return Rechecked(lost=len(found))
    keep_held(connection, held, len(outcomes) - len(held))
    afresh = connection.execute(AFRESH_SQL).rowcount
    write_images(connection, recheck_days=recheck_days)
    connection.execute(UNCHANGED_SQL, {"recheck_s": recheck_days * SECONDS_A_DAY})
    connection.execute(PUT_OFF_SQL)
    if afresh:
        jobs.announce(connection)
    count = Counter(outcome.status for outcome in held)
    return Rechecked(
        alive=count[JobStatus.OK],
        dead=count[JobStatus.FAILED],
        put_off=count[JobStatus.PENDING],
        lost=len(found) - len(held),
        jobs=afresh,
    )


def make_due(
    engine: Engine, *, collection: Collection | None, host: str | None, reason: Reason | None, is_dead: bool
) -> Iterator[int]:
    """Make links due now, in portions of a transaction each; yields how many each had.

    Without a collection, host or reason those of all; with `is_dead` only dead ones.
    """
    chosen = {"collection": collection and collection.id, "host": host, "reason": reason, "is_dead": is_dead}
    after: int | None = 0
    while after is not None:
        with transaction(engine) as connection:
            made = connection.execute(MAKE_DUE_SQL, {**chosen, "after": after, "portion": PORTION}).scalars().all()
        yield len(made)
        after = max(made, default=None)


def _claims(due: Sequence[Due]) -> dict[str, list[object]]:
    return {"images": [one.image_id for one in due], "claims": [one.next_check for one in due]}
