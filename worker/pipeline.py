"""The pipeline of one collection: claim, obtain, embed and write, each while the others go on.

A few threads obtain pictures, one runs the model, and the caller's own thread claims and writes. The queues between
them need no bound of their own: no more is claimed while a batch's worth has not ended. So the slowest stage sets the
speed, and the next batch downloads while the model works on this one.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Thread

from clipgres.collections import Collection
from clipgres.encoder import Encoder
from clipgres.errors import ImageError, SetupError, TransientImageError
from clipgres.jobs import Claimed
from clipgres.reasons import Reason
from clipgres.writes import Written
from worker.claims import claim_next
from worker.hand import Hand, Row, patiently, renewed
from worker.host import LeftAlone
from worker.line import Line
from worker.network import PROBE_EVERY_S
from worker.pace import Pace
from worker.results import Results
from worker.stages import Arrival, Obtaining, Picture, embed_arrivals
from worker.tools import Tools

TICK_S = 0.2
POLL_S = 1.0
# So many batches waiting for the model are enough.
ENOUGH_BATCHES = 2
# From then on a download is slow, and what waits behind it makes room for others where room is short.
SLOW_S = 5.0
PUT_BACK_S = 20.0
# So many jobs of a slow host in hand keep it busy until others of it come back.
BEHIND_SLOW_HOST = 8
# What waiting for a decoder may take on top of the fetcher's and the decoder's own limits.
WAITING_S = 5.0
WIND_DOWN_S = 5.0


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
        SetupError: the model or the decoders cannot be used; what was in hand was given back.
        Unavailable: the database is away for long; what was in hand is swept when its lease runs out.
    """
    flow = _Flow(collection, encoder, tools)
    with renewed(tools.engine, flow.hand, tools.settings.lease_s), flow.threads():
        try:
            while not is_stopping() and flow.goes_on(may_claim()):
                flow.step()
            flow.wind_down(WIND_DOWN_S)
        except SetupError:
            flow.wind_down(0)
            raise
    return flow.results.written


class _Flow:
    """One run: the caller's thread steps it, those of the stages only put into its queues."""

    def __init__(self, collection: Collection, encoder: Encoder, tools: Tools) -> None:
        self.hand = Hand()
        self.results = Results(collection, tools, self.hand)
        self._collection = collection
        self._encoder = encoder
        self._tools = tools
        self._settings = tools.settings
        self._arrivals: SimpleQueue[Arrival[Row] | None] = SimpleQueue()
        pace = Pace(
            lambda: self._arrivals.qsize() >= ENOUGH_BATCHES * self._settings.model_batch,
            most=2 * tools.decoders.processes,  # so that the next picture is there when a decoder has done one
        )
        self._obtained = Obtaining(tools.fetch, tools.decoders, encoder.preprocessing, tools.settings, pace)
        self._next_poll = 0.0
        self._is_alone = False
        self._is_empty_handed = False

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
            self.results.give_back(self._line.withdraw())
        elif network.is_suspected:
            self.results.give_back(self._line.withdraw(lambda row: not network.is_local(row.job.host)))
        if may_claim and self._has_room() and time.monotonic() >= self._next_poll:
            self._claim()
        return len(self.hand) > 0

    def step(self) -> None:
        """Wait a moment for results and write them once there are enough."""
        wait_s, self._is_empty_handed = 0 if self._is_empty_handed else TICK_S, False
        self.results.collect(wait_s)
        self._let_go_of_slow_rows()
        self.results.write_if_due()

    def wind_down(self, seconds: float) -> None:
        """Give back what has not begun, wait so long for what has, write what ended and give back the rest."""
        self.results.give_back(self._line.withdraw())
        deadline = time.monotonic() + seconds
        while len(self.hand) > len(self.results) and time.monotonic() < deadline:
            self.results.collect(TICK_S)
        self.results.write()
        self.results.give_back(self.hand.rows())

    def _has_room(self) -> bool:
        return not self.hand or not (self._is_alone or len(self.hand) > self._settings.batch_images)

    def _claim(self) -> None:
        network = self._tools.network
        rows = patiently(lambda: claim_next(self._tools.engine, self._collection, network, self._settings))
        if not rows:
            # To find what needs no network among millions that do takes the database seconds.
            self._next_poll = time.monotonic() + (PROBE_EVERY_S if network.is_suspected else POLL_S)
        self.hand.take(rows)
        free = self._without_those_to_wait(rows)
        # A claim that was all for hosts that are left alone is no reason to wait for the next.
        self._is_empty_handed = bool(rows) and not free
        # What may have taken a worker down is tried with nothing beside it.
        self._is_alone = any(row.job.is_suspect for row in free)
        if self._is_alone and len(self.hand) > len(rows):
            self.results.give_back(free)
        else:
            self._line.add(free)

    def _without_those_to_wait(self, rows: list[Row]) -> list[Row]:
        """The rows that may be begun; for the others there is a word already, or they are given back for a while."""
        stops = patiently(lambda: self._tools.breaker.look([row.job for row in rows]))
        slow_hosts = _slow_hosts(self._line.running())
        behind = Counter(_place(row) for row in self.hand.rows() if _place(row) in slow_hosts)
        free = []
        for row in reversed(rows):
            stop = stops.get(row.job.image_id)
            if not stop and behind[_place(row)] > BEHIND_SLOW_HOST:
                stop = LeftAlone(PUT_BACK_S)
                behind[_place(row)] -= 1
            if stop:
                self.results.settle(row, stop)
            else:
                free.append(row)
        return free[::-1]

    def _obtain(self, row: Row) -> None:
        """Runs in the threads of the line."""
        try:
            picture = self._obtain_unless_left_alone(row.job)
        except SetupError as error:
            self.results.fail(error)
            return
        if isinstance(picture, Picture):
            self._arrivals.put(Arrival(row, picture))
        else:
            self.results.end(row, picture)

    def _obtain_unless_left_alone(self, job: Claimed) -> Picture | ImageError | LeftAlone:
        breaker = self._tools.breaker
        if job.thumbnail is not None:
            return self._obtained(job)
        if stop := breaker.stop(job.host):
            return stop
        picture = self._obtained(job)
        return breaker.note(job.host, picture if isinstance(picture, ImageError) else None) or picture

    def _embed(self) -> None:
        """Runs in the model's thread."""
        try:
            embed_arrivals(self._arrivals, self.results.end, self._encoder, self._settings.model_batch)
        except Exception as error:
            self.results.fail(error)

    def _let_go_of_slow_rows(self) -> None:
        """Take what waits behind slow hosts out of the way, and end what has hung for longer than it may."""
        running = self._line.running()
        slow_hosts = _slow_hosts(running)
        if not slow_hosts:
            return
        limit_s = self._settings.fetch_total_timeout_s + self._settings.decode_timeout_s + WAITING_S
        patience_s = limit_s if self._has_room() else SLOW_S
        behind = self._line.withdraw(lambda row: row.age_s > patience_s and _place(row) in slow_hosts)
        self.results.give_back(behind, delay_s=PUT_BACK_S)
        for row in (row for row, seconds in running.items() if seconds > limit_s):
            self.results.settle(row, TransientImageError(Reason.STUCK))


def _slow_hosts(running: Mapping[Row, float]) -> set[str]:
    return {_place(row) for row, seconds in running.items() if seconds > SLOW_S}


def _place(row: Row) -> str:
    """The host a row is fetched from; a thumbnail is fetched from nowhere."""
    return f"thumbnail {row.job.image_id}" if row.job.thumbnail is not None else row.job.host
