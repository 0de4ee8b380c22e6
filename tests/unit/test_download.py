"""Downloads side by side: everything arrives, hosts take turns, and one that hangs holds up nobody."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from clipgres.download import download
from clipgres.errors import TransientImageError
from clipgres.fetch import Fetched, Fetcher
from clipgres.reasons import Reason
from clipgres.settings import Settings
from tests.hostile import hostile_server


def fetched(url: str) -> Fetched:
    return Fetched(url.encode(), None, 200, url, None, None)


def urls(count: int, hosts: int = 10) -> list[str]:
    return [f"http://host{n % hosts}.test/{n}" for n in range(count)]


def test_every_job_comes_back_once() -> None:
    jobs = list(enumerate(urls(500)))
    done = list(download(jobs, lambda job: job[1], fetched, threads=8, per_host=2))

    assert sorted(each.job for each in done) == jobs
    assert all(isinstance(each.result, Fetched) and each.result.final_url == each.job[1] for each in done)


def test_no_jobs_are_no_downloads() -> None:
    assert list(download([], str, fetched, threads=2, per_host=1)) == []


def test_a_failure_is_a_result() -> None:
    def fetch(url: str) -> Fetched:
        if url.endswith("/3"):
            raise TransientImageError(Reason.TIMEOUT)
        return fetched(url)

    results = {each.job: each.result for each in download(urls(6), str, fetch, threads=2, per_host=1)}
    failed = results.pop("http://host3.test/3")
    assert isinstance(failed, TransientImageError)
    assert len(results) == 5


def test_any_other_exception_is_raised() -> None:
    def fetch(url: str) -> Fetched:
        raise KeyError(url)

    with pytest.raises(KeyError):
        list(download(urls(3), str, fetch, threads=2, per_host=1))


def test_no_host_has_more_than_its_share_at_once() -> None:
    lock = threading.Lock()
    at_once: Counter[str] = Counter()
    most: Counter[str] = Counter()

    def fetch(url: str) -> Fetched:
        host = url.split("/")[2]
        with lock:
            at_once[host] += 1
            most[host] = max(most[host], at_once[host])
        time.sleep(0.001)
        with lock:
            at_once[host] -= 1
        return fetched(url)

    assert len(list(download(urls(200, hosts=3), str, fetch, threads=16, per_host=2))) == 200
    assert max(most.values()) == 2


def test_a_host_that_hangs_holds_up_nobody() -> None:
    released = threading.Event()

    def fetch(url: str) -> Fetched:
        if "//hangs.test" in url:
            released.wait(10)
        return fetched(url)

    jobs = [f"http://hangs.test/{n}" for n in range(20)] + urls(100)
    results = download(jobs, str, fetch, threads=4, per_host=2)
    first = [next(results).job for _ in range(100)]
    released.set()

    assert not any("hangs" in job for job in first)
    assert len(list(results)) == 20


def test_jobs_are_read_only_a_little_ahead() -> None:
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield f"http://host{read}.test/"

    results = download(endless(), str, fetched, threads=2, per_host=1)
    for _ in range(10):
        next(results)
    assert read <= 10 + 16


def test_the_real_fetcher_is_polite_to_one_host() -> None:
    with hostile_server() as server:
        settings = Settings(fetch_allow=f"127.0.0.1:{server.port}")
        with Fetcher(settings) as fetcher:
            jobs = [server.url(f"slow-picture?{n}") for n in range(12)]
            done = list(download(jobs, str, fetcher.fetch, threads=8, per_host=3))
        assert all(isinstance(each.result, Fetched) for each in done)
        assert server.most_in_hand == 3
        assert server.connections <= 4
