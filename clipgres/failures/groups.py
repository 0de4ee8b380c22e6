"""Failures counted: by reason with a few URLs, by host, by batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from clipgres.failures.choice import FailureFilter, Grouping, condition
from clipgres.reasons import Reason

SAMPLE_URLS = 3
SHOWN_GROUPS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """How many images failed: those that stand, and those that are ignored."""

    failed: int
    ignored: int


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

    @property
    def advice(self) -> str:
        """What a person can do about it."""
        return self.reason.advice


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFailures:
    """How many images of one host failed, and for which reasons, the most frequent first.

    `paused_until` is there while the host is left alone.
    """

    host: str
    images: int
    reasons: dict[Reason, int]
    paused_until: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchFailures:
    """How many images of one batch failed, and for which reasons; an image of two batches counts in both."""

    batch: int
    source: str
    started_at: datetime
    images: int
    reasons: dict[Reason, int]


Group = FailureGroup | HostFailures | BatchFailures

# An index on (collection, reason, ignored) where failed answers all three of these without the rows.
TOTALS_SQL = """
    SELECT count(*) FILTER (WHERE j.ignored_at IS NULL) AS failed, count(j.ignored_at) AS ignored
    FROM clipgres.job j
    WHERE j.status = 'failed' AND {condition}
"""

BY_REASON_SQL = """
    WITH counted AS (
        SELECT j.collection_id, j.reason, count(*) AS images
        FROM clipgres.job j
        WHERE {failed} AND {condition}
        GROUP BY j.collection_id, j.reason
    ), reasons AS (
        SELECT reason, sum(images)::bigint AS images, array_agg(collection_id) AS collections
        FROM counted
        GROUP BY reason
    )
    SELECT r.reason, r.images,
           ARRAY(
               SELECT im.url
               FROM clipgres.job j
               JOIN clipgres.image im ON im.id = j.image_id
               WHERE {failed} AND j.collection_id = ANY (r.collections) AND j.reason = r.reason AND {condition}
               LIMIT :samples
           ) AS urls
    FROM reasons r
    ORDER BY r.images DESC, r.reason
"""

BY_HOST_SQL = """
    WITH counted AS (
        SELECT im.host, j.reason, count(*) AS images
        FROM clipgres.job j
        JOIN clipgres.image im ON im.id = j.image_id
        WHERE {failed} AND {condition}
        GROUP BY im.host, j.reason
    ), hosts AS (
        SELECT host, sum(images)::bigint AS images, jsonb_object_agg(reason, images) AS reasons
        FROM counted
        GROUP BY host
        ORDER BY images DESC, host
        LIMIT :limit
    )
    SELECT hosts.*, h.paused_until
    FROM hosts
    LEFT JOIN clipgres.host h ON h.name = hosts.host AND h.paused_until > now()
    ORDER BY hosts.images DESC, hosts.host
"""

BY_BATCH_SQL = """
    WITH counted AS (
        SELECT bj.batch_id, j.reason, count(*) AS images
        FROM clipgres.job j
        JOIN clipgres.batch_job bj USING (collection_id, image_id)
        WHERE {failed} AND {condition}
        GROUP BY bj.batch_id, j.reason
    ), batches AS (
        SELECT batch_id AS batch, sum(images)::bigint AS images, jsonb_object_agg(reason, images) AS reasons
        FROM counted
        GROUP BY batch_id
        ORDER BY batch_id DESC
        LIMIT :limit
    )
    SELECT batches.*, b.source, b.started AS started_at
    FROM batches
    JOIN clipgres.batch b ON b.id = batches.batch
    ORDER BY batches.batch DESC
"""


def totals(connection: Connection, chosen: FailureFilter) -> Totals:
    """How many of the chosen images failed, ignored or not."""
    where, given = condition(connection, chosen)
    row = connection.execute(text(TOTALS_SQL.format(condition=where)), given).one()
    return Totals(failed=row.failed, ignored=row.ignored)


def by_reason(connection: Connection, chosen: FailureFilter) -> Sequence[FailureGroup]:
    """The failed images by reason, the most frequent first."""
    rows = _rows(connection, BY_REASON_SQL, chosen, samples=SAMPLE_URLS)
    return [
        FailureGroup(reason=Reason.stored_as(row["reason"]), images=row["images"], urls=(*row["urls"],)) for row in rows
    ]


def by_host(connection: Connection, chosen: FailureFilter, *, limit: int = SHOWN_GROUPS) -> Sequence[HostFailures]:
    """The hosts with the most failed images."""
    rows = _rows(connection, BY_HOST_SQL, chosen, limit=limit)
    return [HostFailures(**{**row, "reasons": _most_first(row["reasons"])}) for row in rows]


def by_batch(connection: Connection, chosen: FailureFilter, *, limit: int = SHOWN_GROUPS) -> Sequence[BatchFailures]:
    """The latest batches with failed images."""
    rows = _rows(connection, BY_BATCH_SQL, chosen, limit=limit)
    return [BatchFailures(**{**row, "reasons": _most_first(row["reasons"])}) for row in rows]


def grouped(
    connection: Connection, chosen: FailureFilter, by: Grouping, *, limit: int = SHOWN_GROUPS
) -> Sequence[Group]:
    """The failed images by what is asked for; there are never many reasons, so the limit is of hosts and batches."""
    if by is Grouping.REASON:
        return by_reason(connection, chosen)
    return (by_host if by is Grouping.HOST else by_batch)(connection, chosen, limit=limit)


def failed_condition(chosen: FailureFilter) -> str:
    """The status of what is chosen, over `clipgres.job j`."""
    return f"j.status = 'failed' AND j.ignored_at IS {'NOT NULL' if chosen.ignored else 'NULL'}"


def _rows(connection: Connection, sql: str, chosen: FailureFilter, **more: int) -> list[Mapping[str, Any]]:
    where, given = condition(connection, chosen)
    statement = text(sql.format(failed=failed_condition(chosen), condition=where))
    return [dict(row) for row in connection.execute(statement, {**given, **more}).mappings()]


def _most_first(reasons: Mapping[str, int]) -> dict[Reason, int]:
    ordered = sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0]))
    return {Reason.stored_as(reason): images for reason, images in ordered}
