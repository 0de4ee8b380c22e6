"""The history of an image: what came of the last times it was fetched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from clipgres.reasons import Reason

KEPT = 10
DETAIL_MAX_CHARS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try to fetch an image; without a reason it was there, with status 304 unchanged since the last look."""

    at: datetime
    reason: Reason | None
    http_status: int | None
    detail: str | None
    took_ms: int | None


# What was embedded from its thumbnail was not fetched: it has no status. Nor was anything of a host that is given up,
# which is not counted. What the model failed on was fetched well. The arrays are looked up by index whatever the
# planner thinks of the temporary table, which has no statistics.
RECORD_SQL = text("""
    WITH fetched AS MATERIALIZED (
        SELECT o.image_id, CASE WHEN NOT o.is_alive THEN o.reason END AS reason, o.http_status,
               CASE WHEN NOT o.is_alive THEN o.detail END AS detail, o.took_ms
        FROM outcome o
        WHERE (o.http_status IS NOT NULL OR o.reason <> 'encoder_failed')
          AND (o.is_counted OR o.status = 'pending' OR o.took_ms IS NOT NULL)
    ), forgotten AS (
        DELETE FROM clipgres.fetch_attempt
        WHERE id = ANY (ARRAY(
            SELECT older.id
            FROM fetched f
            CROSS JOIN LATERAL (
                SELECT a.id FROM clipgres.fetch_attempt a
                WHERE a.image_id = f.image_id
                ORDER BY a.at DESC, a.id DESC
                OFFSET :kept - 1
            ) older
        ))
    )
    INSERT INTO clipgres.fetch_attempt (image_id, reason, http_status, detail, took_ms)
    SELECT image_id, reason, http_status, detail, took_ms FROM fetched
    ORDER BY image_id
""")
OF_IMAGE_SQL = text("""
    SELECT at, reason, http_status, detail, took_ms FROM clipgres.fetch_attempt
    WHERE image_id = :image
    ORDER BY at DESC, id DESC
""")


def record(connection: Connection) -> None:
    """Add what the staged outcomes say of each fetch, and forget all but the last ten of an image."""
    connection.execute(RECORD_SQL, {"kept": KEPT})


def of_image(connection: Connection, image_id: int) -> Sequence[Attempt]:
    """The last fetches of an image, the newest first."""
    rows = connection.execute(OF_IMAGE_SQL, {"image": image_id}).mappings()
    return [Attempt(**{**row, "reason": row["reason"] and Reason.stored_as(row["reason"])}) for row in rows]


def as_detail(words: str | None) -> str | None:
    """The words of an error as they are kept: on one line, without control characters, cut at 300; None: nothing."""
    kept = "".join(character for character in " ".join((words or "").split()) if character.isprintable())
    return kept[:DETAIL_MAX_CHARS] or None
