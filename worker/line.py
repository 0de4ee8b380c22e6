"""A line of jobs before a few threads, with a share for each host: a slow one never holds up the others."""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Hashable, Iterable
from threading import Condition, Thread
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class Line(Generic[T]):
    """Threads that do `work` on each job added, at most `per_host` at once for the same host.

    `work` must not raise. The threads are daemons, since a job that hangs must not keep the process from ending.
    """

    def __init__(self, work: Callable[[T], None], host_of: Callable[[T], str], *, threads: int, per_host: int) -> None:
        self._work = work
        self._host_of = host_of
        self._per_host = per_host
        self._changed = Condition()
        self._ready: deque[T] = deque()
        self._behind: defaultdict[str, deque[T]] = defaultdict(deque)
        self._places: Counter[str] = Counter()
        self._begun: dict[T, float] = {}
        self._is_open = True
        for number in range(threads):
            Thread(target=self._serve, name=f"download-{number}", daemon=True).start()

    def add(self, jobs: Iterable[T]) -> None:
        """Put jobs at the end of the line."""
        with self._changed:
            for job in jobs:
                self._admit(job)
            self._changed.notify_all()

    def withdraw(self, chosen: Callable[[T], bool] = lambda _job: True) -> list[T]:
        """Take back the jobs that have not begun, all or the chosen ones."""
        with self._changed:
            waiting = [*self._ready, *(job for jobs in self._behind.values() for job in jobs)]
            for job in self._ready:
                self._places[self._host_of(job)] -= 1
            self._ready.clear()
            self._behind.clear()
            taken = [job for job in waiting if chosen(job)]
            for job in waiting:
                if not chosen(job):
                    self._admit(job)
            self._changed.notify_all()
            return taken

    def running(self) -> dict[T, float]:
        """The jobs being worked on, each with the seconds since it began."""
        now = time.monotonic()
        with self._changed:
            return {job: now - begun for job, begun in self._begun.items()}

    def close(self) -> None:
        """Let the threads end, each after the job it has begun; what still waits is never begun."""
        with self._changed:
            self._is_open = False
            self._changed.notify_all()

    def _admit(self, job: T) -> None:
        host = self._host_of(job)
        if self._places[host] < self._per_host:
            self._places[host] += 1
            self._ready.append(job)
        else:
            self._behind[host].append(job)

    def _serve(self) -> None:
        while (job := self._next()) is not None:
            self._work(job)
            self._finish(job)

    def _next(self) -> T | None:
        with self._changed:
            self._changed.wait_for(lambda: self._ready or not self._is_open)
            if not self._is_open:
                return None
            job = self._ready.popleft()
            self._begun[job] = time.monotonic()
            return job

    def _finish(self, job: T) -> None:
        host = self._host_of(job)
        with self._changed:
            del self._begun[job]
            if self._behind[host]:
                self._ready.append(self._behind[host].popleft())
                self._changed.notify()
                return
            del self._behind[host]
            self._places[host] -= 1
            if not self._places[host]:
                del self._places[host]
