"""The one write of the pipeline: what became of claimed jobs, in a transaction that a lost lease cannot pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from pgvector import HalfVector
from sqlalchemy import Connection, text

from clipgres import placeholders
from clipgres.attempts import as_detail
from clipgres.collections import Collection
from clipgres.database import driver_connection
from clipgres.encoder import Vectors
from clipgres.images import write_images
from clipgres.reasons import Reason
from clipgres.schema import JobStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What fetching and decoding found of an image that is there; `length` in bytes.

    `final_url` is where a permanent redirect led; None where the image is still where its URL says.
    """

    http_status: int
    content_type: str | None
    etag: str | None
    length: int
    width: int
    height: int
    sha256: bytes
    phash: int
    thumbnail: bytes | None
    last_modified: str | None = None
    final_url: str | None = None
    x_robots_tag: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one job: `ok` with its embedding, `failed` for a reason, or `pending` again after `delay_s`.

    `embedding` is float32 [dimension], unit length. An attempt that is not counted leaves the job as it was claimed.
    `detail` says a failure in the error's own words, and `took_ms` how long the fetch took; None where there was none.
    """

    image_id: int
    status: JobStatus
    reason: Reason | None = None
    http_status: int | None = None
    delay_s: float = 0
    is_counted: bool = True
    facts: Facts | None = None
    embedding: Vectors | None = None
    detail: str | None = None
    took_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """How many jobs ended or were put off; those of a lost lease were not written at all."""

    ok: int = 0
    failed: int = 0
    put_off: int = 0
    lost: int = 0

    def __str__(self) -> str:
        return f"{self.ok:,} embedded, {self.failed:,} failed, {self.put_off:,} put off, {self.lost:,} lost to another"

    def __add__(self, other: Written) -> Written:
        return Written(
            ok=self.ok + other.ok,
            failed=self.failed + other.failed,
            put_off=self.put_off + other.put_off,
            lost=self.lost + other.lost,
        )


# Images are locked along with their jobs, in one order: two collections may be writing the same ones.
# Here and below the collection is a subquery: one that the statistics do not know yet, and by its number would be taken
# for empty, is not read whole for each batch.
HELD_SQL = text("""
    SELECT j.image_id
    FROM clipgres.job j
    JOIN clipgres.image im ON im.id = j.image_id
    WHERE j.collection_id = (SELECT CAST(:collection AS integer)) AND j.image_id = ANY (:images)
      AND j.status = 'leased' AND j.lease_token = :token
    ORDER BY j.image_id
    FOR NO KEY UPDATE OF j, im
""")

STAGING_SQL = text("""
    CREATE TEMP TABLE IF NOT EXISTS outcome (
        image_id bigint, status text, reason text, http_status smallint, delay_s float8, is_counted boolean,
        is_alive boolean, content_type text, etag text, bytes bigint, width integer, height integer, sha256 bytea,
        phash bigint, webp bytea, last_modified text, final_url text, x_robots_tag text, embedding halfvec, detail text,
        took_ms integer
    ) ON COMMIT DELETE ROWS
""")
LOST_SQL = text("DELETE FROM outcome WHERE image_id <> ALL (:held)")
COPY_SQL = "COPY outcome FROM STDIN (FORMAT BINARY)"
COPY_TYPES = (
    "int8", "text", "text", "int2", "float8", "bool",
    "bool", "text", "text", "int8", "int4", "int4", "bytea",
    "int8", "bytea", "text", "text", "text", "halfvec", "text",
    "int4",
)  # fmt: skip

# An unchanged row is not written again: each update of an item enters the HNSW graph anew.
ITEM_SQL = """
    INSERT INTO {items} AS item (namespace, key, image_id, metadata, embedding)
    SELECT j.namespace, j.key, j.image_id, j.metadata, o.embedding
    FROM outcome o
    JOIN clipgres.job j ON j.collection_id = (SELECT CAST(:collection AS integer)) AND j.image_id = o.image_id
    WHERE o.status = 'ok'
    ORDER BY j.namespace, j.key
    ON CONFLICT (namespace, key) DO UPDATE
    SET image_id = excluded.image_id, metadata = excluded.metadata, embedding = excluded.embedding
    WHERE (item.image_id, item.metadata, item.embedding)
       IS DISTINCT FROM (excluded.image_id, excluded.metadata, excluded.embedding)
"""
# A scalar subquery is an index lookup whatever the planner thinks of the temporary table, which has no statistics.
CAPTION_JOB_SQL = """
    INSERT INTO clipgres.caption_job (collection_id, image_id)
    SELECT CAST(:collection AS integer), o.image_id
    FROM outcome o
    WHERE o.status = 'ok' AND (
        SELECT true FROM clipgres.caption c
        WHERE c.image_id = o.image_id AND NOT EXISTS (SELECT FROM {captions} e WHERE e.caption_id = c.id)
        LIMIT 1
    )
    ORDER BY o.image_id
    ON CONFLICT DO NOTHING
"""
JOB_SQL = text("""
    UPDATE clipgres.job j
    SET status = o.status, reason = o.reason, lease_token = NULL, leased_until = NULL,
        attempts = greatest(j.attempts - CASE WHEN o.is_counted THEN 0 ELSE 1 END, 0),
        next_attempt_at = now() + make_interval(secs => o.delay_s), updated_at = now()
    FROM outcome o
    WHERE j.collection_id = (SELECT CAST(:collection AS integer)) AND j.image_id = o.image_id
""")


def write_outcomes(
    connection: Connection, collection: Collection, token: UUID, outcomes: Sequence[Outcome], *, recheck_days: float
) -> Written:
    """Record what became of jobs held under `token`, all of it or nothing, in the caller's transaction.

    A job that is no longer held under it, or not there any more, is left alone: its new holder has the word.
    """
    by_image = {outcome.image_id: outcome for outcome in outcomes}
    ours = {"collection": collection.id}
    stage(connection, list(by_image.values()))
    rows = connection.execute(HELD_SQL, {**ours, "token": token, "images": list(by_image)})
    held = [by_image[image_id] for image_id in rows.scalars()]
    hidden = 0
    if held:
        keep_held(connection, held, len(by_image) - len(held))
        hidden = placeholders.mark_outcomes(connection, collection)
        write_images(connection, recheck_days=recheck_days)
        connection.execute(text(ITEM_SQL.format(items=collection.item_table)), ours)
        connection.execute(text(CAPTION_JOB_SQL.format(captions=collection.caption_table)), ours)
        connection.execute(JOB_SQL, ours)
    count = Counter(outcome.status for outcome in held)
    return Written(
        ok=count[JobStatus.OK] - hidden,
        failed=count[JobStatus.FAILED] + hidden,
        put_off=count[JobStatus.PENDING],
        lost=len(by_image) - len(held),
    )


def stage(connection: Connection, outcomes: Sequence[Outcome]) -> None:
    """Put outcomes where the statements of this transaction find them: in the temporary table `outcome`.

    It comes before any lock: no timeout ends the session of a process that was stopped while it sends.
    """
    connection.execute(STAGING_SQL)
    with driver_connection(connection).cursor() as cursor, cursor.copy(COPY_SQL) as copy:
        copy.set_types(COPY_TYPES)
        for outcome in outcomes:
            copy.write_row(_copied(outcome))


def keep_held(connection: Connection, held: Sequence[Outcome], lost: int) -> None:
    """Take back what was staged of those that are held no longer, if there are any."""
    if lost:
        connection.execute(LOST_SQL, {"held": [outcome.image_id for outcome in held]})


def _copied(outcome: Outcome) -> tuple[object, ...]:
    facts = outcome.facts
    found: tuple[object, ...] = (None,) * 11
    if facts is not None:
        size = (facts.length, facts.width, facts.height)
        said = (facts.last_modified, facts.final_url, facts.x_robots_tag)
        found = (facts.content_type, facts.etag, *size, facts.sha256, facts.phash, facts.thumbnail, *said)
    return (
        outcome.image_id,
        outcome.status.value,
        outcome.reason and outcome.reason.value,
        facts.http_status if facts else outcome.http_status,
        outcome.delay_s,
        outcome.is_counted,
        facts is not None,
        *found,
        None if outcome.embedding is None else HalfVector(outcome.embedding),
        as_detail(outcome.detail),
        outcome.took_ms,
    )
