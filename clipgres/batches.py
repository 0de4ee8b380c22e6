"""Batches: how far each import is, what failed and why, how fast it goes, and which lines were refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, RowMapping, text

from clipgres.errors import NotFound
from clipgres.lists import RefusedLine
from clipgres.reasons import Reason

RATE_WINDOW_S = 60
# Longer than a link that fails by itself ever waits for its next try, 320 s and a fifth: its host is left alone.
PUT_OFF_S = 400
NETWORK_REASONS = [reason.value for reason in Reason if reason.needs_network_witness]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchProgress:
    """One import at one moment.

    `lines` to `refused` count the rows of its list, `total` to `ignored` its images: `failed` are those that a person
    does not ignore. `waiting` images are pending and put off, `held` ones wait for a sign that the network works; where
    `is_paused`, nobody works on its collection. The first of those that are pending is due in `first_due_in_s` seconds,
    the last in `last_due_in_s`. `rate` is in images a second over the last minute.
    """

    id: int
    collection: str
    source: str
    started_at: datetime
    finished_at: datetime | None
    lines: int
    accepted: int
    merged: int
    refused: int
    total: int
    pending: int
    leased: int
    ok: int
    failed: int
    ignored: int
    waiting: int
    held: int
    first_due_in_s: float | None
    last_due_in_s: float | None
    rate: float
    is_paused: bool
    failed_by_reason: dict[Reason, int]

    @property
    def left(self) -> int:
        """The images that have not come to their end."""
        return self.pending + self.leased

    @property
    def eta_s(self) -> float | None:
        """Seconds until all have, at the present rate; unknown while nothing moves or all that is left waits."""
        if self.is_done:
            return 0.0
        return self.left / self.rate if self.rate and self.left > self.waiting else None

    @property
    def is_done(self) -> bool:
        """Whether the list was read to its end and every image came to its own."""
        return self.finished_at is not None and self.left == 0

    @property
    def is_held(self) -> bool:
        """Whether it waits for the network: some was tried in vain, and nothing moves until it is back."""
        return self.finished_at is not None and self.held > 0 and self.rate == 0

    @property
    def is_put_off(self) -> bool:
        """Whether all that is left waits for hosts that are left alone for long."""
        is_under_way = self.finished_at is None or self.leased > 0 or self.is_paused
        return not is_under_way and (self.first_due_in_s or 0) > PUT_OFF_S


# `finished` of a batch is the moment when its list was read to the end.
PROGRESS_SQL = text("""
    SELECT b.id, coalesce(a.name, '') AS collection, b.source, b.started AS started_at, b.finished AS finished_at,
           b.lines, b.accepted, b.merged, b.refused,
           t.total, t.pending, t.leased, t.ok, t.failed, t.ignored, t.waiting, t.held, t.failed_by_reason,
           extract(epoch FROM t.first_due_at - now())::float8 AS first_due_in_s,
           extract(epoch FROM t.last_due_at - now())::float8 AS last_due_in_s,
           c.paused_at IS NOT NULL AS is_paused,
           t.ended / greatest(1, least(:window_s, extract(epoch FROM now() - b.started)))::float8 AS rate
    FROM (
        SELECT * FROM clipgres.batch
        WHERE CAST(:batch AS bigint) IS NULL OR id = :batch
        ORDER BY id DESC LIMIT :limit
    ) b
    JOIN clipgres.collection c ON c.id = b.collection_id
    LEFT JOIN LATERAL (
        SELECT min(name) AS name FROM clipgres.alias WHERE collection_id = b.collection_id
    ) a ON true
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(g.jobs), 0)::bigint AS total,
               coalesce(sum(g.jobs) FILTER (WHERE g.status = 'pending'), 0)::bigint AS pending,
               coalesce(sum(g.jobs) FILTER (WHERE g.status = 'leased'), 0)::bigint AS leased,
               coalesce(sum(g.jobs) FILTER (WHERE g.status = 'ok'), 0)::bigint AS ok,
               coalesce(sum(g.jobs) FILTER (WHERE g.is_failed), 0)::bigint AS failed,
               coalesce(sum(g.jobs) FILTER (WHERE g.is_ignored), 0)::bigint AS ignored,
               coalesce(sum(g.jobs) FILTER (WHERE g.is_put_off), 0)::bigint AS waiting,
               coalesce(sum(g.jobs) FILTER (WHERE g.is_held), 0)::bigint AS held,
               coalesce(sum(g.ended), 0)::bigint AS ended,
               min(g.first_due_at) AS first_due_at, max(g.last_due_at) AS last_due_at,
               coalesce(jsonb_object_agg(g.reason, g.jobs) FILTER (WHERE g.is_failed), '{}') AS failed_by_reason
        FROM (
            SELECT j.status, j.reason,
                   j.status = 'failed' AND j.ignored_at IS NULL AS is_failed,
                   j.ignored_at IS NOT NULL AS is_ignored,
                   j.status = 'pending' AND (j.next_attempt_at > now() OR j.reason = ANY(:network)) AS is_put_off,
                   j.status = 'pending' AND j.reason = ANY(:network) AND j.attempts = 0 AS is_held,
                   count(*) AS jobs,
                   min(j.next_attempt_at) FILTER (WHERE j.status = 'pending') AS first_due_at,
                   max(j.next_attempt_at) FILTER (WHERE j.status = 'pending') AS last_due_at,
                   count(*) FILTER (
                       WHERE j.status IN ('ok', 'failed') AND j.updated_at > now() - make_interval(secs => :window_s)
                   ) AS ended
            FROM clipgres.batch_job bj
            JOIN clipgres.job j USING (collection_id, image_id)
            WHERE bj.batch_id = b.id
            GROUP BY 1, 2, 3, 4, 5, 6
        ) g
    ) t
    ORDER BY b.id DESC
""")

REFUSALS_SQL = text("""
    SELECT line, reason, excerpt FROM clipgres.refused_line WHERE batch_id = :batch ORDER BY line LIMIT :limit
""")


def progress(connection: Connection, batch_id: int) -> BatchProgress:
    """How far a batch is.

    Raises:
        NotFound: there is no such batch.
    """
    found = _progress(connection, batch=batch_id, limit=1)
    if not found:
        raise NotFound(f"there is no batch {batch_id}; `clipgres status` lists the latest")
    return found[0]


def recent(connection: Connection, limit: int = 20) -> Sequence[BatchProgress]:
    """The latest batches, the newest first."""
    return _progress(connection, batch=None, limit=limit)


def refusals(connection: Connection, batch_id: int, limit: int = 1_000) -> Sequence[RefusedLine]:
    """The first lines of a batch's list that were refused; at most 1,000 are kept."""
    rows = connection.execute(REFUSALS_SQL, {"batch": batch_id, "limit": limit})
    return [RefusedLine(row.line, row.reason, row.excerpt) for row in rows]


def _progress(connection: Connection, *, batch: int | None, limit: int) -> list[BatchProgress]:
    parameters = {"batch": batch, "limit": limit, "network": NETWORK_REASONS, "window_s": RATE_WINDOW_S}
    return [_from_row(row) for row in connection.execute(PROGRESS_SQL, parameters).mappings()]


def _from_row(row: RowMapping) -> BatchProgress:
    most_first = sorted(row["failed_by_reason"].items(), key=lambda pair: -pair[1])
    failed_by_reason = {Reason.stored_as(reason): images for reason, images in most_first}
    return BatchProgress(**{**row, "failed_by_reason": failed_by_reason})
