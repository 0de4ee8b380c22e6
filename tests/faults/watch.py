"""Looks at the jobs of a round several times a second, and holds them to what must be true at every moment."""

from __future__ import annotations

import time
from contextlib import suppress
from threading import Event, Thread

import psycopg

from clipgres.collections import Collection
from tests.faults.invariants import Job, State, Verdict, check_rows, is_ended, jobs
from tests.faults.ledger import Ledger
from tests.faults.stack import Stack

LOOK_EVERY_S = 0.15
ROWS_EVERY_S = 1.0


class Watch:
    """A thread beside one round."""

    def __init__(self, stack: Stack, ledger: Ledger) -> None:
        self.verdict = Verdict()
        self.found: dict[Job, State] = {}
        self.seen_at = float("-inf")
        self._stack = stack
        self._ledger = ledger
        self._ended: dict[Job, State] = {}
        self._counts: list[tuple[float, int]] = [(float("-inf"), 0)]
        self._over = Event()
        self._thread = Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def done(self) -> int:
        """How many jobs have ended."""
        return self._counts[-1][1]

    def is_finished(self) -> bool:
        """Whether every URL that was taken has ended, seen since the last one was."""
        found = self.found
        return all(job in found and is_ended(found[job]) for job in self._ledger.ends())

    def moved_after(self, moment: float) -> float | None:
        """When the first job ended that had not ended at that moment; None if none has."""
        before = max(done for at, done in self._counts if at <= moment)
        return next((at for at, done in self._counts if at > moment and done > before), None)

    def finished_at(self) -> float:
        """When the last job ended."""
        return next(at for at, done in self._counts if done == self.done)

    def _run(self) -> None:
        rows_at = 0.0
        while not self._over.wait(LOOK_EVERY_S):
            with suppress(psycopg.Error), self._stack.admin() as connection:
                while not self._over.wait(LOOK_EVERY_S):
                    collections = list(self._ledger.collections.values())
                    self._look(connection, collections)
                    if time.monotonic() - rows_at > ROWS_EVERY_S:
                        check_rows(connection, collections, self.verdict)
                        rows_at = time.monotonic()

    def _look(self, connection: psycopg.Connection[tuple[object, ...]], collections: list[Collection]) -> None:
        found = jobs(connection, collections)
        changed = [(job[1], before, found.get(job)) for job, before in self._ended.items() if found.get(job) != before]
        self.verdict.other += self.verdict.say("ends that changed", len(changed), changed[:3])
        self._ended = {job: state for job, state in found.items() if is_ended(state)}
        self.found = found
        self._counts.append((time.monotonic(), len(self._ended)))
