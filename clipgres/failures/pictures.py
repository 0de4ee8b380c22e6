"""Single images that failed, each with the words of its last attempt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from clipgres.failures.choice import FailureFilter, condition
from clipgres.failures.groups import failed_condition
from clipgres.reasons import Reason

SHOWN_PICTURES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedImage:
    """One image that failed, with what is known of its last attempt.

    `attempts` is how often it was tried since it was last due anew, `recorded` how many attempts its history holds, and
    `next_check` when its link is looked at again. `detail` says the failure in words, where they are on record.
    """

    collection: str | None
    key: str
    url: str
    host: str
    reason: Reason
    detail: str | None
    http_status: int | None
    attempts: int
    recorded: int
    failed_at: datetime
    next_check: datetime | None
    ignored_at: datetime | None

    @property
    def words(self) -> str:
        """What the last attempt said, or what its reason means."""
        return self.detail or self.reason.gloss


# The ordered, limited scan by itself; only what it returns is joined.
SAMPLES_SQL = """
    WITH latest AS (
        SELECT j.collection_id, j.image_id, j.key, j.reason, j.attempts, j.updated_at, j.ignored_at
        FROM clipgres.job j
        WHERE {failed} AND {condition}
        ORDER BY j.updated_at DESC, j.image_id
        LIMIT :limit
    )
    SELECT (SELECT min(a.name) FROM clipgres.alias a WHERE a.collection_id = l.collection_id) AS collection,
           l.key, im.url, im.host, l.reason, last.detail, im.http_status, l.attempts,
           (SELECT count(*) FROM clipgres.fetch_attempt f WHERE f.image_id = l.image_id) AS recorded,
           l.updated_at AS failed_at, im.next_check, l.ignored_at
    FROM latest l
    JOIN clipgres.image im ON im.id = l.image_id
    LEFT JOIN LATERAL (
        SELECT f.detail
        FROM clipgres.fetch_attempt f
        WHERE f.image_id = l.image_id AND f.reason = l.reason
        ORDER BY f.at DESC, f.id DESC
        LIMIT 1
    ) last ON true
    ORDER BY l.updated_at DESC, l.image_id
"""


def samples(connection: Connection, chosen: FailureFilter, *, limit: int = SHOWN_PICTURES) -> Sequence[FailedImage]:
    """Single failed images, the latest first."""
    where, given = condition(connection, chosen)
    statement = text(SAMPLES_SQL.format(failed=failed_condition(chosen), condition=where))
    rows = connection.execute(statement, {**given, "limit": limit}).mappings()
    return [FailedImage(**{**row, "reason": Reason.stored_as(row["reason"])}) for row in rows]
