"""What became of the rows in hand, from when a stage says so until it is in the database."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from uuid import UUID

from clipgres.collections import Collection
from clipgres.database import transaction
from clipgres.errors import Unavailable
from clipgres.jobs import release
from clipgres.writes import Outcome, Written, write_outcomes
from worker.hand import Hand, Row, by_token, patiently
from worker.host import LeftAlone
from worker.outcome import Result, outcome_of
from worker.tools import Tools
from worker.witness import look_in_background

WRITE_ROWS = 64
WRITE_EVERY_S = 1.0
# What waits for the same host comes back spread over a while.
JITTER, LONGEST_JITTER_S = 0.2, 60.0


class Results:
    """Takes the ends of rows from the threads of the stages, writes them, and gives back rows that did not end.

    Those of a host that is left alone are among the latter.

    `end` and `fail` are for any thread, the rest is for the pipeline's own.
    """

    def __init__(self, collection: Collection, tools: Tools, hand: Hand) -> None:
        self.written = Written()
        self._collection = collection
        self._tools = tools
        self._hand = hand
        self._ended: SimpleQueue[tuple[Row, Result | LeftAlone] | Exception] = SimpleQueue()
        self._results: dict[Row, Result] = {}
        self._left_alone: dict[Row, float] = {}
        self._wrote_at = time.monotonic()

    def __len__(self) -> int:
        return len(self._results)

    def end(self, row: Row, result: Result | LeftAlone) -> None:
        """Hand over what became of a row."""
        self._ended.put((row, result))

    def fail(self, error: Exception) -> None:
        """Hand over what ended a stage: whoever collects gets it raised."""
        self._ended.put(error)

    def collect(self, wait_s: float) -> None:
        """Take whatever was handed over, waiting so long for the first, and give back what is to be left alone."""
        with suppress(Empty):
            self._take(self._ended.get(timeout=wait_s))
            while True:
                self._take(self._ended.get_nowait())
        self._tools.breaker.publish()
        if self._left_alone:
            self._release(self._left_alone)
            self._left_alone = {}

    def settle(self, row: Row, result: Result | LeftAlone) -> None:
        """Note what became of a row in hand; the first word counts."""
        if row not in self._hand or row in self._results:
            return
        if isinstance(result, LeftAlone):
            self._left_alone[row] = result.seconds + min(JITTER * result.seconds, LONGEST_JITTER_S) * random.random()  # noqa: S311 - no secret
        else:
            self._results[row] = result

    def write_if_due(self) -> None:
        """Write once there are enough results, or some are old."""
        is_old = time.monotonic() - self._wrote_at > WRITE_EVERY_S
        if self._results and (is_old or len(self._results) >= min(WRITE_ROWS, len(self._hand))):
            self.write()

    def write(self) -> None:
        """Write all results and let go of their rows."""
        network, settings = self._tools.network, self._tools.settings
        for row, result in self._results.items():
            network.note(row.job.host, result)
        for token, rows in by_token(self._results).items():
            results = {row.job: self._results[row] for row in rows}
            outcomes = [outcome_of(job, result, network, settings) for job, result in results.items()]
            self.written += patiently(partial(self._write_claim, token, outcomes))
            self._hand.drop(rows)
        self._results = {}
        self._wrote_at = time.monotonic()
        if network.wants_a_look():
            look_in_background(self._tools.engine, self._tools.fetch, network)

    def give_back(self, rows: Sequence[Row], delay_s: float = 0) -> None:
        """Give back rows that have not ended, to be claimed again after so long."""
        self._release(dict.fromkeys(rows, delay_s))

    def _release(self, delays: Mapping[Row, float]) -> None:
        """Without the database the leases run out instead."""
        with suppress(Unavailable):
            for token, rows in by_token(delays).items():
                with transaction(self._tools.engine) as connection:
                    release(connection, token, {row.job.image_id: delays[row] for row in rows})
        self._hand.drop(delays)

    def _take(self, ended: tuple[Row, Result | LeftAlone] | Exception) -> None:
        if isinstance(ended, Exception):
            raise ended
        self.settle(*ended)

    def _write_claim(self, token: UUID, outcomes: list[Outcome]) -> Written:
        days = self._tools.settings.recheck_days
        with transaction(self._tools.engine) as connection:
            return write_outcomes(connection, self._collection, token, outcomes, recheck_days=days)
