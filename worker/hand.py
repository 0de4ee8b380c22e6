"""The jobs in a worker's hands: which are there, since when, under which lease; and what keeps the lease alive."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Lock, Thread
from typing import TypeVar
from uuid import UUID

from sqlalchemy import Engine

from clipgres.database import transaction
from clipgres.errors import ClipgresError, Unavailable
from clipgres.jobs import Claimed, renew

log = logging.getLogger(__name__)
T = TypeVar("T")

# A lease is not renewed for ever: what is in hand for so long is left to the sweep.
LONGEST_HOLD_S = 600.0
# A database that restarts is back within this time.
PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """A job claimed once: claimed again it is another row, so that a late result is never taken for the new one's."""

    job: Claimed
    token: UUID
    claimed_at: float = field(default_factory=time.monotonic)

    @property
    def age_s(self) -> float:
        """Seconds since it was claimed."""
        return time.monotonic() - self.claimed_at


class Hand:
    """The rows in hand; only the pipeline's own thread changes it, others may look."""

    def __init__(self) -> None:
        self._rows: dict[int, Row] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, row: Row) -> bool:
        return self._rows.get(row.job.image_id) is row

    def take(self, rows: Iterable[Row]) -> None:
        """Take rows that were just claimed."""
        with self._lock:
            self._rows.update((row.job.image_id, row) for row in rows)

    def drop(self, rows: Iterable[Row]) -> None:
        """Let go of rows; one that is not in hand any more is no error."""
        with self._lock:
            for row in rows:
                if row in self:
                    del self._rows[row.job.image_id]

    def rows(self) -> list[Row]:
        """All rows in hand."""
        with self._lock:
            return list(self._rows.values())

    def tokens(self) -> set[UUID]:
        """The leases worth renewing."""
        return {row.token for row in self.rows() if row.age_s < LONGEST_HOLD_S}


def by_token(rows: Iterable[Row]) -> dict[UUID, list[Row]]:
    """Rows by the lease they are held under."""
    grouped: defaultdict[UUID, list[Row]] = defaultdict(list)
    for row in rows:
        grouped[row.token].append(row)
    return grouped


@contextmanager
def renewed(engine: Engine, hand: Hand, lease_s: float) -> Iterator[None]:
    """Renew the leases of what is in hand while the block runs, three times in the life of one."""
    done = Event()
    thread = Thread(target=_renew_until, args=(done, engine, hand, lease_s), name="leases", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()


def _renew_until(done: Event, engine: Engine, hand: Hand, lease_s: float) -> None:
    is_failing = False
    while not done.wait(1 if is_failing else lease_s / 3):
        try:
            if tokens := hand.tokens():
                with transaction(engine) as connection:
                    renew(connection, tokens, lease_s=lease_s)
            is_failing = False
        except ClipgresError as error:
            if not is_failing:
                log.warning("leases cannot be renewed now: %s", error)
            is_failing = True


def patiently(action: Callable[[], T]) -> T:
    """Do what needs the database, again and again while it is away, for half a minute.

    Raises:
        Unavailable: it is still away.
    """
    deadline = time.monotonic() + PATIENCE_S
    wait_s = 0.25
    while True:
        try:
            return action()
        except Unavailable as error:
            if time.monotonic() > deadline:
                raise
            log.warning("waiting for the database: %s", error)
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, 4)
