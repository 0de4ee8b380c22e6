"""What is to be done still: due, under way, put off, paused and held, how fast it goes, and how long it has waited."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from clipgres.batches import NETWORK_REASONS, RATE_WINDOW_S
from clipgres.reasons import Reason

SHOWN_HOSTS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionBacklog:
    """What one collection wants: `due` now, `waiting` for a later attempt, and of these `held` for the network."""

    collection: str
    paused_at: datetime | None
    due: int
    leased: int
    waiting: int
    held: int
    oldest_due_at: datetime | None
    next_due_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PausedHost:
    """A host that is left alone until a moment, and why; `trips` in a row."""

    name: str
    paused_until: datetime
    trips: int
    reason: Reason | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """The whole of it at one moment of the database's clock; `rate` is in images a second over the last minute.

    `hosts` are those that will be left alone longest, `paused_hosts` how many there are.
    """

    at: datetime
    collections: tuple[CollectionBacklog, ...]
    rate: float
    hosts: tuple[PausedHost, ...]
    paused_hosts: int

    @property
    def running(self) -> Sequence[CollectionBacklog]:
        """The collections that are not paused."""
        return [one for one in self.collections if one.paused_at is None]

    @property
    def paused(self) -> Sequence[CollectionBacklog]:
        """The collections that are: nothing of theirs is claimed."""
        return [one for one in self.collections if one.paused_at is not None]

    @property
    def due(self) -> int:
        """The images that any worker may claim now."""
        return sum(one.due for one in self.running)

    @property
    def leased(self) -> int:
        """The images in the hands of workers."""
        return sum(one.leased for one in self.collections)

    @property
    def waiting(self) -> int:
        """The images that are put off."""
        return sum(one.waiting for one in self.running)

    @property
    def held(self) -> int:
        """The images of these that wait for a sign that the network works."""
        return sum(one.held for one in self.running)

    @property
    def oldest_wait_s(self) -> float | None:
        """For how many seconds the oldest has been due; None while nothing is."""
        oldest = [one.oldest_due_at for one in self.running if one.oldest_due_at]
        return (self.at - min(oldest)).total_seconds() if oldest else None

    @property
    def next_due_in_s(self) -> float | None:
        """In how many seconds the first of those that wait is due."""
        upcoming = [one.next_due_at for one in self.running if one.next_due_at]
        return (min(upcoming) - self.at).total_seconds() if upcoming else None

    @property
    def eta_s(self) -> float | None:
        """Seconds until all that can be done now is, at the present rate; unknown while nothing moves."""
        left = self.due + self.leased
        if not left:
            return 0.0
        return left / self.rate if self.rate else None

    def to_dict(self) -> dict[str, Any]:
        """All of it for programs."""
        sums = ("due", "leased", "waiting", "held", "oldest_wait_s", "next_due_in_s", "eta_s")
        return {name: getattr(self, name) for name in sums} | asdict(self)


# Ranges of the two partial indexes on pending and leased jobs; only those that are put off are looked at themselves.
COLLECTIONS_SQL = text("""
    SELECT coalesce((SELECT min(a.name) FROM clipgres.alias a WHERE a.collection_id = c.id), c.id::text) AS collection,
           c.paused_at, d.due, coalesce(l.leased, 0) AS leased, w.waiting, w.held, d.oldest_due_at, w.next_due_at
    FROM clipgres.collection c
    CROSS JOIN LATERAL (
        SELECT count(*) AS due, min(j.next_attempt_at) AS oldest_due_at
        FROM clipgres.job j
        WHERE j.collection_id = c.id AND j.status = 'pending' AND j.next_attempt_at <= now()
    ) d
    CROSS JOIN LATERAL (
        SELECT count(*) AS waiting, min(j.next_attempt_at) AS next_due_at,
               count(*) FILTER (WHERE j.reason = ANY (:network) AND j.attempts = 0) AS held
        FROM clipgres.job j
        WHERE j.collection_id = c.id AND j.status = 'pending' AND j.next_attempt_at > now()
    ) w
    LEFT JOIN (
        SELECT j.collection_id, count(*) AS leased
        FROM clipgres.job j
        WHERE j.status = 'leased'
        GROUP BY j.collection_id
    ) l ON l.collection_id = c.id
    WHERE c.state = 'ready'
    ORDER BY collection
""")

# What began less than a window ago is measured from its beginning.
RATE_SQL = text("""
    SELECT now() AS at,
           count(*) / greatest(1, coalesce(extract(epoch FROM now() - min(j.updated_at)), 1))::float8 AS rate
    FROM clipgres.job j
    WHERE j.status IN ('ok', 'failed') AND j.updated_at > now() - make_interval(secs => :window_s)
""")

HOSTS_SQL = text("""
    SELECT name, paused_until, trips, reason, count(*) OVER () AS paused_hosts
    FROM clipgres.host
    WHERE paused_until > now()
    ORDER BY paused_until DESC, name
    LIMIT :limit
""")


def backlog(connection: Connection) -> Backlog:
    """Look at what is to be done, in all collections."""
    collections = connection.execute(COLLECTIONS_SQL, {"network": NETWORK_REASONS}).mappings()
    pace = connection.execute(RATE_SQL, {"window_s": RATE_WINDOW_S}).one()
    hosts = connection.execute(HOSTS_SQL, {"limit": SHOWN_HOSTS}).all()
    return Backlog(
        at=pace.at,
        collections=tuple(CollectionBacklog(**row) for row in collections),
        rate=pace.rate,
        hosts=tuple(
            PausedHost(
                name=row.name,
                paused_until=row.paused_until,
                trips=row.trips,
                reason=Reason.stored_as(row.reason) if row.reason else None,
            )
            for row in hosts
        ),
        paused_hosts=hosts[0].paused_hosts if hosts else 0,
    )
