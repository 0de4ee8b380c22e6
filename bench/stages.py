"""The stages of an import, each alone and all together, with the time and the CPU time that each takes."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil
from sqlalchemy import text

from clipgres.collections import Collection, find_or_create
from clipgres.database import transaction
from clipgres.encoder import Encoder
from clipgres.enqueue import enqueue
from clipgres.errors import ImageError
from clipgres.fetching import Fetched
from clipgres.jobs import Claimed
from clipgres.lists import open_list
from clipgres.writes import write_outcomes
from worker.claims import claim_next
from worker.outcome import Result, outcome_of
from worker.pipeline import run
from worker.results import WRITE_ROWS
from worker.stages import Embedded, Obtaining, Picture, embed
from worker.tools import Tools

T = TypeVar("T")

ENDS_SQL = text("SELECT status, reason FROM clipgres.job WHERE collection_id = :collection")


@dataclass(frozen=True, slots=True)
class Cost:
    """What some work took: seconds, and CPU seconds of this process with the servers it started, and of all others."""

    seconds: float
    cpu_seconds: float
    others_cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What the stages work with; `folder` is for the lists."""

    encoder: Encoder
    tools: Tools
    folder: Path

    def alone(self, run_name: str, urls: Sequence[str]) -> dict[str, Cost]:
        """The cost of each stage with nothing beside it, each on what the one before gave."""
        costs: dict[str, Cost] = {}
        fetched, costs["download"] = metered(lambda: self._download(urls))
        obtained, costs["decode"] = metered(lambda: self._decode(fetched))
        results, costs["model"] = metered(lambda: self._embed(obtained))
        collection = self._enqueue(run_name, urls)
        _, costs["write"] = metered(lambda: self._write(collection, results))
        return costs

    def together(self, run_name: str, urls: Sequence[str]) -> tuple[Counter[str], Cost]:
        """The cost of the worker's pipeline from the first claim to the last write, and how the jobs ended."""
        collection = self._enqueue(run_name, urls)
        _, cost = metered(lambda: run(collection, self.encoder, self.tools))
        with transaction(self.tools.engine) as connection:
            rows = connection.execute(ENDS_SQL, {"collection": collection.id})
            return Counter(" ".join(filter(None, row)) for row in rows), cost

    def _download(self, urls: Sequence[str]) -> dict[str, Fetched | ImageError]:
        return _each(self._fetch, urls, self.tools.settings.fetch_threads)

    def _fetch(self, url: str) -> Fetched | ImageError:
        try:
            return self.tools.fetch(url)
        except ImageError as error:
            return error

    def _decode(self, fetched: Mapping[str, Fetched | ImageError]) -> dict[str, Picture | ImageError]:
        """Decode, make the thumbnail, and prepare for the model."""
        bodies = {url: reply for url, reply in fetched.items() if isinstance(reply, Fetched)}
        failures = {url: reply for url, reply in fetched.items() if isinstance(reply, ImageError)}
        decoders, how = self.tools.decoders, self.encoder.preprocessing
        obtain = Obtaining(bodies.__getitem__, decoders, how, self.tools.settings)
        return {**failures, **_each(lambda url: obtain(_job(url)), list(bodies), cores())}

    def _embed(self, obtained: Mapping[str, Picture | ImageError]) -> dict[str, Result]:
        pictures = {url: picture for url, picture in obtained.items() if isinstance(picture, Picture)}
        results: dict[str, Result] = {url: end for url, end in obtained.items() if isinstance(end, ImageError)}
        for group in _portions(list(pictures.items()), self.tools.settings.model_batch):
            vectors = embed([picture.pixels for _, picture in group], self.encoder)
            results |= {
                url: Embedded(vector, picture.facts) for (url, picture), vector in zip(group, vectors, strict=True)
            }
        return results

    def _write(self, collection: Collection, results: Mapping[str, Result]) -> None:
        """Claim and write in the pipeline's portions."""
        engine, network, settings = self.tools.engine, self.tools.network, self.tools.settings
        while rows := claim_next(engine, collection, network, settings):
            for group in _portions(rows, WRITE_ROWS):
                outcomes = [outcome_of(row.job, results[row.job.url], network, settings) for row in group]
                with transaction(engine) as connection:
                    days = settings.recheck_days
                    write_outcomes(connection, collection, rows[0].token, outcomes, recheck_days=days)

    def _enqueue(self, run_name: str, urls: Sequence[str]) -> Collection:
        path = self.folder / f"{run_name}.tsv"
        path.write_text("".join(f"a photo\t{url}\n" for url in urls), "utf-8")
        with transaction(self.tools.engine) as connection:
            collection = find_or_create(connection, run_name, self.encoder.space)
        enqueue(self.tools.engine, collection, open_list(path, caption_max_chars=100))
        return collection


def metered(work: Callable[[], T]) -> tuple[T, Cost]:
    """What the work returns, and what it took."""
    others, ours, started = _busy_seconds(), _cpu_seconds(), time.perf_counter()
    result = work()
    seconds, ours = time.perf_counter() - started, _cpu_seconds() - ours
    return result, Cost(seconds, ours, max(_busy_seconds() - others - ours, 0.0))


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))


def _busy_seconds() -> float:
    """CPU seconds of the whole machine, those included that its host took away."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq + times.steal)


def _cpu_seconds() -> float:
    me = psutil.Process()
    return sum(_cpu_seconds_of(process) for process in (me, *me.children(recursive=True)))


def _cpu_seconds_of(process: psutil.Process) -> float:
    """Those of the children that it has outlived are its own by now."""
    with suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        return float(times.user + times.system + times.children_user + times.children_system)
    return 0.0


def _portions(rows: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (rows[start : start + size] for start in range(0, len(rows), size))


def _each(work: Callable[[str], T], urls: Sequence[str], threads: int) -> dict[str, T]:
    with ThreadPoolExecutor(threads) as pool:
        return dict(zip(urls, pool.map(work, urls), strict=True))


def _job(url: str) -> Claimed:
    return Claimed(image_id=0, url=url, host="", attempts=1, put_off_s=0, is_suspect=False, thumbnail=None)
