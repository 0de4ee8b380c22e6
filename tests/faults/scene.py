"""What a fault is, and the scene it finds: a stack at work on the lists of one round."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import psutil

from tests.faults.evidence import write_evidence
from tests.faults.ledger import Ledger
from tests.faults.links import Link
from tests.faults.stack import Stack, Worker
from tests.faults.watch import Watch

POLL_S = 0.1
BOTH = 0.3


class Broken(AssertionError):
    """Something that a fault looked at was not as it must be; the text says what."""


@dataclass(frozen=True)
class Scene:
    """One round as a fault sees it; its random numbers come from the seed alone."""

    name: str
    stack: Stack
    rng: random.Random
    ledger: Ledger
    watch: Watch

    def worker(self) -> Worker:
        """One of the workers that download at this moment; any, if none does."""
        connections = psutil.net_connections("tcp4")
        busy = {each.pid for each in connections if each.raddr and each.raddr[1] == self.stack.site.port}
        workers = [worker for worker in self.stack.workers if self.process(worker).pid in busy]
        return self.rng.choice(workers or self.stack.workers)

    def some_workers(self) -> list[Worker]:
        """One worker that is at work, or both."""
        return self.stack.workers if self.rng.random() < BOTH else [self.worker()]

    def process(self, worker: Worker) -> psutil.Process:
        """The process of a worker."""
        return self.stack.process(worker.name)

    def links(self) -> list[Link]:
        """The links of one worker or both to one server or both."""
        workers, servers = self.some_workers(), self.rng.choice(["postgres", "redis", "both"])
        to_postgres = [worker.postgres for worker in workers if servers != "redis"]
        return to_postgres + [worker.redis for worker in workers if servers != "postgres"]

    def pause(self, least: float, most: float) -> None:
        """Let some time pass."""
        time.sleep(self.rng.uniform(least, most))

    def wait(self, what: str, condition: Callable[[], bool], seconds: float) -> None:
        """Return once a condition holds.

        Raises:
            Broken: it did not come to hold in time.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline or self.stack.is_over.is_set():
                write_evidence(self.stack, self.stack.home.logs / f"{self.name}.txt")
                raise Broken(f"not within {seconds:g} s: {what}")
            time.sleep(POLL_S)


@dataclass(frozen=True)
class Fault:
    """One kind of fault: `inject` makes it and returns when it was over, None for now; its docstring says what it is.

    `takes_lists` says that a list must be accepted at the first try meanwhile; `lacks` says why this machine cannot
    show it, if so; `is_alone` keeps it out of rounds of two faults.
    """

    name: str
    inject: Callable[[Scene], float | None]
    takes_lists: bool = True
    is_alone: bool = False
    lacks: Callable[[Stack], str | None] = field(default=lambda _stack: None)

    @property
    def about(self) -> str:
        """One line on what happens."""
        return (self.inject.__doc__ or "").splitlines()[0].rstrip(".")
