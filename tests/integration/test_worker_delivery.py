"""A worker that no message reaches any more connects to the queue anew, and only then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from threading import Event, Thread

import pytest
from redis import Redis

from clipgres.queue import make_app, send_work
from clipgres.redis_client import connect_redis
from tests.ingest import wait_until
from worker.delivery import Delivery


@pytest.fixture
def redis(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Redis]:
    monkeypatch.setattr("worker.delivery.LOOK_EVERY_S", 0.02)
    with connect_redis(redis_url) as client:
        yield client


@contextmanager
def watching(redis: Redis, tasks_begun: Callable[[], int | None]) -> Iterator[Event]:
    """A watch over a worker that has begun so many tasks; the event tells that it wants to connect anew."""
    stopping, reconnects = Event(), Event()
    delivery = Delivery(redis=redis, tasks_begun=tasks_begun, reconnect=reconnects.set)
    thread = Thread(target=delivery.watch_until, args=(stopping,))
    thread.start()
    try:
        yield reconnects
    finally:
        stopping.set()
        thread.join(10)


def test_a_message_that_nobody_takes(redis: Redis, redis_url: str) -> None:
    with make_app(redis_url) as app, watching(redis, lambda: 7) as reconnects:
        assert not reconnects.wait(0.2)
        send_work(app, 1)
        assert reconnects.wait(10)


def test_a_worker_that_is_at_work(redis: Redis, redis_url: str) -> None:
    with make_app(redis_url) as app, watching(redis, lambda: None) as reconnects:
        send_work(app, 1)
        assert not reconnects.wait(0.2)


def test_a_worker_that_goes_on_taking_messages(redis: Redis, redis_url: str) -> None:
    begun = count()
    with make_app(redis_url) as app, watching(redis, lambda: next(begun)) as reconnects:
        send_work(app, 1)
        assert wait_until(lambda: next(begun) > 10)
        assert not reconnects.is_set()


def test_a_queue_that_is_away(redis: Redis) -> None:
    with connect_redis("redis://127.0.0.1:1") as nobody, watching(nobody, lambda: 7) as reconnects:
        assert not reconnects.wait(0.2)
