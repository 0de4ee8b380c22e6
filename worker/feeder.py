"""The feeder: keeps a few messages a worker slot in the queue for what is due, and gives back what dead workers held.

Every worker process runs one. It looks every few seconds and at once when an import says that there is work, so a
queue that was flushed fills up again by itself. An advisory lock keeps two from feeding at once; it is held for no
longer than that takes, so that a worker that was stopped or hangs stops no other.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event

from celery import Celery
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import Connection, Engine, text

from clipgres.database import autocommit, driver_connection
from clipgres.errors import ClipgresError, Unavailable
from clipgres.jobs import Due, due, sweep
from clipgres.presence import workers
from clipgres.queue import queued, send_work
from worker.outage import Outage

log = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0
SWEEP_EVERY_S = 10.0
MESSAGES_PER_SLOT = 4
STOP_CHECK_S = 0.5
FIRST_WAIT_S = 0.5
# One that is stopped while it feeds, or whose machine went without a word, leaves its place to another after so long.
SILENCE_S = 20
LONGEST_WAIT_S = 10.0

LOCK_SQL = text("SELECT pg_try_advisory_lock(hashtextextended('clipgres.feeder', 4714))")
UNLOCK_SQL = text("SELECT pg_advisory_unlock(hashtextextended('clipgres.feeder', 4714))")
LISTEN_SQL = text("LISTEN clipgres_work")
SILENCE_SQL = text("SELECT set_config('idle_session_timeout', :seconds, false)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Feeder:
    """What feeding needs; `batch_images` is how many jobs one message is worth."""

    engine: Engine
    redis: Redis
    app: Celery
    batch_images: int

    def run(self, stopping: Event) -> None:
        """Feed until told to stop, through restarts of PostgreSQL and Redis."""
        outage = Outage(log, "the database")
        wait_s = FIRST_WAIT_S
        while not stopping.is_set():
            try:
                with self._session() as connection:
                    for _ in self._rounds(stopping, connection):
                        outage.end()
                        wait_s = FIRST_WAIT_S
            except ClipgresError as error:
                outage.begin(error)
                stopping.wait(wait_s)
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    @contextmanager
    def _session(self) -> Iterator[Connection]:
        """A connection of its own, closed at the end: a lock would go with it."""
        with autocommit(self.engine) as connection:
            connection.execute(LISTEN_SQL)
            connection.execute(SILENCE_SQL, {"seconds": f"{SILENCE_S}s"})
            try:
                yield connection
            finally:
                connection.invalidate()

    def _rounds(self, stopping: Event, connection: Connection) -> Iterator[None]:
        """Sweep and feed, wait for work, again and again; yields after each time."""
        outage = Outage(log, "the queue")
        swept_at = float("-inf")
        while not stopping.is_set():
            if time.monotonic() - swept_at >= SWEEP_EVERY_S:
                _sweep(connection)
                swept_at = time.monotonic()
            if connection.execute(LOCK_SQL).scalar_one():
                try:
                    self.feed(connection)
                    outage.end()
                except (RedisError, Unavailable) as error:
                    outage.begin(error)
                connection.execute(UNLOCK_SQL)
            _wait_for_work(connection, stopping)
            yield

    def feed(self, connection: Connection) -> None:
        """Top the queue up once."""
        slots = sum(worker.slots for worker in workers(self.redis)) or 1
        dues = due(connection, cap=slots * self.batch_images)
        if dues:
            for collection_id in wanted(dues, queued(self.redis), slots, self.batch_images):
                send_work(self.app, collection_id)


def wanted(dues: Sequence[Due], waiting: Counter[int], slots: int, batch_images: int) -> list[int]:
    """Which messages to add: in turn one for each collection, never more of it than its jobs or the slots call for.

    However few the slots, each collection may have one that waits: the first ones must not shut out the rest.
    """
    missing = {
        entry.collection_id: min(slots, -(-entry.jobs // batch_images)) - waiting[entry.collection_id] for entry in dues
    }
    rounds = [collection for turn in range(slots) for collection, count in missing.items() if count > turn]
    room = max(MESSAGES_PER_SLOT * slots, len(dues)) - waiting.total()
    return rounds[: max(room, 0)]


def _sweep(connection: Connection) -> None:
    if given_back := sweep(connection):
        log.warning("%d jobs came back from a worker that died or lost the database", given_back)


def _wait_for_work(connection: Connection, stopping: Event) -> None:
    """Wait for a nudge, or a few seconds; raises the driver's error once the connection is lost."""
    look_at = time.monotonic() + LOOK_EVERY_S
    is_nudged = False
    while not (is_nudged or stopping.is_set() or time.monotonic() >= look_at):
        is_nudged = any(True for _ in driver_connection(connection).notifies(timeout=STOP_CHECK_S, stop_after=1))
