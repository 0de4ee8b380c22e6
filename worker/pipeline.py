"""The pipeline of one collection: claim, obtain, embed and write, each while the others go on.

A few threads obtain pictures, one runs the model, and the caller's own thread claims and writes. The queues between
them need no bound of their own: no more is claimed while a batch's worth has not ended. So the slowest stage sets the
speed, and the next batch downloads while the model works on this one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from uuid import UUID

from PIL import Image
from sqlalchemy import Engine

from clipgres.collections import Collection
from clipgres.database import transaction
from clipgres.encoder import Encoder
from clipgres.errors import ModelError, TransientImageError, Unavailable
from clipgres.fetch import Fetched
from clipgres.jobs import release
from clipgres.reasons import Reason
from clipgres.settings import Settings
from clipgres.writes import Outcome, Written, write_outcomes
from worker.claims import claim_next
from worker.hand import Hand, Row, by_token, patiently, renewed
from worker.line import Line
from worker.network import PROBE_EVERY_S, Network
from worker.outcome import Result, outcome_of
from worker.pace import Pace
from worker.stages import Arrival, Obtaining, Picture, embed_arrivals
from worker.witness import look_in_background

TICK_S = 0.2
POLL_S = 1.0
WRITE_ROWS = 64
WRITE_EVERY_S = 1.0
# So many batches waiting for the model are enough.
ENOUGH_BATCHES = 2
# From then on a download is slow, and what waits behind it makes room for others where room is short.
SLOW_S = 5.0
PUT_BACK_S = 20.0
# What decoding may take on top of the fetcher's own limit.
DECODING_S = 15.0
WIND_DOWN_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What the pipeline works with; `fetch` raises ImageErrors alone."""

    engine: Engine
    fetch: Callable[[str], Fetched]
    network: Network
    settings: Settings


def run(
    collection: Collection,
    encoder: Encoder,
    tools: Tools,
    *,
    may_claim: Callable[[], bool] = lambda: True,
    is_stopping: Callable[[], bool] = lambda: False,
) -> Written:
    """Work on a collection until nothing is due, or until `may_claim` says no and what is in hand has ended.

    Once `is_stopping` it ends within seconds, giving back what has not ended.

    Raises:
        ModelError: the model cannot be used; what was in hand was given back.
        Unavailable: the database is away for long; what was in hand is swept when its lease runs out.
    """
    flow = _Flow(collection, encoder, tools)
    with renewed(tools.engine, flow.hand, tools.settings.lease_s), flow.threads():
        try:
            while not is_stopping() and flow.goes_on(may_claim()):
                flow.step()
            flow.wind_down(WIND_DOWN_S)
        except ModelError:
            flow.wind_down(0)
            raise
    return flow.written


class _Flow:
    """One run: the caller's thread steps it, those of the stages only put into its queues."""

    def __init__(self, collection: Collection, encoder: Encoder, tools: Tools) -> None:
        self.hand = Hand()
        self.written = Written()
        self._collection = collection
        self._encoder = encoder
        self._tools = tools
        self._settings = tools.settings
        # A picture prepared tells the side of the model's input.
        side = len(encoder.prepare(Image.new("RGB", (64, 64))))
        self._arrivals: SimpleQueue[Arrival[Row] | None] = SimpleQueue()
        pace = Pace(lambda: self._arrivals.qsize() >= ENOUGH_BATCHES * self._settings.model_batch)
        self._obtained = Obtaining(tools.fetch, encoder, tools.settings, side, pace)
        self._ended: SimpleQueue[tuple[Row, Result] | Exception] = SimpleQueue()
        self._results: dict[Row, Result] = {}
        self._wrote_at = time.monotonic()
        self._next_poll = 0.0
        self._is_alone = False

    @contextmanager
    def threads(self) -> Iterator[None]:
        """Keep the threads of the stages while the block runs."""
        settings = self._settings
        self._line = Line(self._obtain, _place, threads=settings.fetch_threads, per_host=settings.fetch_per_host)
        Thread(target=self._embed, name="model", daemon=True).start()
        try:
            yield
        finally:
            self._line.close()
            self._arrivals.put(None)

    def goes_on(self, may_claim: bool) -> bool:
        """Claim more if there is room, and say whether anything is in hand."""
        network = self._tools.network
        if not may_claim:
            self._give_back(self._line.withdraw())
        elif network.is_suspected:
            self._give_back(self._line.withdraw(lambda row: not network.is_local(row.job.host)))
        if may_claim and self._has_room() and time.monotonic() >= self._next_poll:
            self._claim()
        return len(self.hand) > 0

    def step(self) -> None:
        """Wait a moment for results and write them once there are enough."""
        self._collect(TICK_S)
        self._let_go_of_slow_rows()
        self._write_if_due()

    def wind_down(self, seconds: float) -> None:
        """Give back what has not begun, wait so long for what has, write what ended and give back the rest."""
        self._give_back(self._line.withdraw())
        deadline = time.monotonic() + seconds
        while len(self.hand) > len(self._results) and time.monotonic() < deadline:
            self._collect(TICK_S)
        self._write()
        self._give_back(self.hand.rows())

    def _has_room(self) -> bool:
        return not self.hand or not (self._is_alone or len(self.hand) > self._settings.batch_images)

    def _claim(self) -> None:
        network = self._tools.network
        rows = patiently(lambda: claim_next(self._tools.engine, self._collection, network, self._settings))
        if not rows:
            # To find what needs no network among millions that do takes the database seconds.
            self._next_poll = time.monotonic() + (PROBE_EVERY_S if network.is_suspected else POLL_S)
        # What may have taken a worker down is tried with nothing beside it.
        self._is_alone = any(row.job.is_suspect for row in rows)
        is_beside_others = self._is_alone and len(self.hand) > 0
        self.hand.take(rows)
        if is_beside_others:
            self._give_back(rows)
        else:
            self._line.add(rows)

    def _obtain(self, row: Row) -> None:
        """Runs in the threads of the line."""
        picture = self._obtained(row.job)
        if isinstance(picture, Picture):
            self._arrivals.put(Arrival(row, picture))
        else:
            self._end(row, picture)

    def _embed(self) -> None:
        """Runs in the model's thread."""
        try:
            embed_arrivals(self._arrivals, self._end, self._encoder, self._settings.model_batch)
        except Exception as error:
            self._ended.put(error)

    def _end(self, row: Row, result: Result) -> None:
        self._ended.put((row, result))

    def _collect(self, wait_s: float) -> None:
        with suppress(Empty):
            self._note(self._ended.get(timeout=wait_s))
            while True:
                self._note(self._ended.get_nowait())

    def _note(self, ended: tuple[Row, Result] | Exception) -> None:
        if isinstance(ended, Exception):
            raise ended
        row, result = ended
        if row in self.hand:
            self._results.setdefault(row, result)

    def _let_go_of_slow_rows(self) -> None:
        """Take what waits behind slow hosts out of the way, and end what has hung for longer than it may."""
        running = self._line.running()
        slow_hosts = {_place(row) for row, seconds in running.items() if seconds > SLOW_S}
        if not slow_hosts:
            return
        limit_s = self._settings.fetch_total_timeout_s + DECODING_S
        patience_s = limit_s if self._has_room() else SLOW_S
        behind = self._line.withdraw(lambda row: row.age_s > patience_s and _place(row) in slow_hosts)
        self._give_back(behind, delay_s=PUT_BACK_S)
        for row in (row for row, seconds in running.items() if seconds > limit_s and row in self.hand):
            self._results.setdefault(row, TransientImageError(Reason.STUCK))

    def _write_if_due(self) -> None:
        is_old = time.monotonic() - self._wrote_at > WRITE_EVERY_S
        if self._results and (is_old or len(self._results) >= min(WRITE_ROWS, len(self.hand))):
            self._write()

    def _write(self) -> None:
        network = self._tools.network
        for row, result in self._results.items():
            network.note(row.job.host, result)
        for token, rows in by_token(self._results).items():
            results = {row.job: self._results[row] for row in rows}
            outcomes = [outcome_of(job, result, network, self._settings) for job, result in results.items()]
            self.written += patiently(partial(self._write_claim, token, outcomes))
            self.hand.drop(rows)
        self._results = {}
        self._wrote_at = time.monotonic()
        if network.wants_a_look():
            look_in_background(self._tools.engine, self._tools.fetch, network)

    def _write_claim(self, token: UUID, outcomes: list[Outcome]) -> Written:
        with transaction(self._tools.engine) as connection:
            return write_outcomes(connection, self._collection, token, outcomes)

    def _give_back(self, rows: list[Row], delay_s: float = 0) -> None:
        """Without the database the leases run out instead."""
        with suppress(Unavailable):
            for token, held in by_token(rows).items():
                with transaction(self._tools.engine) as connection:
                    release(connection, token, [row.job.image_id for row in held], delay_s=delay_s)
        self.hand.drop(rows)


def _place(row: Row) -> str:
    """The host a row is fetched from; a thumbnail is fetched from nowhere."""
    return f"thumbnail {row.job.image_id}" if row.job.thumbnail is not None else row.job.host
