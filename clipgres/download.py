"""Run many downloads at once, a few from each host, so that one slow host never holds up the others."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Generic, TypeVar

from clipgres.errors import ImageError
from clipgres.fetch import Fetched

T = TypeVar("T")
READ_AHEAD_PER_THREAD = 8


@dataclass(frozen=True, slots=True)
class Download(Generic[T]):
    """A job and what its URL gave: the bytes, or the reason why there are none."""

    job: T
    result: Fetched | ImageError


def download(
    jobs: Iterable[T], url_of: Callable[[T], str], fetch: Callable[[str], Fetched], threads: int, per_host: int
) -> Iterator[Download[T]]:
    """Fetch the jobs' URLs and yield each as it completes, in any order.

    `jobs` is read only a little ahead of what is being fetched, and no further while nobody takes the results.
    An exception of `fetch` other than an ImageError ends the run and is raised.
    """
    done: SimpleQueue[tuple[str, Download[T] | Exception]] = SimpleQueue()
    line: _Line[T] = _Line(per_host)
    waiting = iter(jobs)

    def run(host: str, job: T) -> None:
        done.put((host, _outcome(job, url_of(job), fetch)))

    pool = ThreadPoolExecutor(threads, thread_name_prefix="download")
    try:
        while True:
            line.fill(((_host(url_of(job)), job) for job in waiting), READ_AHEAD_PER_THREAD * threads)
            while line.ready and line.running < threads:
                pool.submit(run, *line.start())
            if not line.running:
                return
            host, outcome = done.get()
            line.finish(host)
            if isinstance(outcome, Exception):
                raise outcome
            yield outcome
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


class _Line(Generic[T]):
    """The jobs in hand: those that may start, in turn, and behind them those whose host has its share already."""

    def __init__(self, per_host: int) -> None:
        self.ready: deque[tuple[str, T]] = deque()
        self.running = 0
        self._per_host = per_host
        self._places: Counter[str] = Counter()
        self._behind: defaultdict[str, deque[T]] = defaultdict(deque)
        self._in_hand = 0

    def fill(self, jobs: Iterator[tuple[str, T]], limit: int) -> None:
        """Read jobs until `limit` are in hand or none is left."""
        while self._in_hand < limit and (following := next(jobs, None)):
            host, job = following
            self._in_hand += 1
            if self._places[host] < self._per_host:
                self._places[host] += 1
                self.ready.append((host, job))
            else:
                self._behind[host].append(job)

    def start(self) -> tuple[str, T]:
        """Take the job whose turn it is."""
        self.running += 1
        return self.ready.popleft()

    def finish(self, host: str) -> None:
        """Pass the place of a finished job to the next one of its host, at the end of the line."""
        self.running -= 1
        self._in_hand -= 1
        if self._behind[host]:
            self.ready.append((host, self._behind[host].popleft()))
            return
        del self._behind[host]
        self._places[host] -= 1


def _outcome(job: T, url: str, fetch: Callable[[str], Fetched]) -> Download[T] | Exception:
    try:
        return Download(job, fetch(url))
    except ImageError as error:
        return Download(job, error)
    except Exception as error:
        return error


def _host(url: str) -> str:
    return url.partition("://")[2].partition("/")[0]
