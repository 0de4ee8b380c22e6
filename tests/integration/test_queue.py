"""The rules of delivery against a real Redis, and the presence of workers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from redis import Redis

from clipgres.errors import Unavailable
from clipgres.presence import WorkerInfo, announce, withdraw, workers
from clipgres.queue import QUEUE, make_app, queued, send_work
from clipgres.redis_client import PREFIX, connect_redis

ONE = WorkerInfo(name="one@host", slots=2, pid=7, since=datetime(2026, 1, 1, tzinfo=UTC), model=None)


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with connect_redis(redis_url) as client:
        yield client


def test_messages_are_counted_by_collection(redis: Redis, redis_url: str) -> None:
    with make_app(redis_url) as app:
        for collection in (1, 2, 2):
            send_work(app, collection)
    assert queued(redis).total() == 3
    assert queued(redis) == {1: 1, 2: 2}


def test_a_message_that_is_not_ours_is_counted_apart(redis: Redis) -> None:
    redis.rpush(PREFIX + QUEUE, b"\xff nonsense", b'{"headers": []}')
    assert queued(redis) == {0: 2}


def test_sending_goes_on_after_a_flush(redis: Redis, redis_url: str) -> None:
    with make_app(redis_url) as app:
        send_work(app, 1)
        redis.flushall()
        send_work(app, 1)
    assert queued(redis).total() == 1


def test_all_keys_begin_with_our_name(redis: Redis, redis_url: str) -> None:
    with make_app(redis_url) as app:
        send_work(app, 1)
    announce(redis, ONE)
    assert all(key.startswith(PREFIX.encode()) for key in redis.keys())


def test_a_queue_that_is_away_says_so() -> None:
    with make_app("unix:///nowhere/redis.sock?db=0") as app, pytest.raises(Unavailable, match="the queue cannot take"):
        send_work(app, 1)


def test_a_full_queue_says_so(redis: Redis, redis_url: str) -> None:
    with make_app(redis_url) as app:
        send_work(app, 1)
        redis.config_set("maxmemory", 1)
        try:
            with pytest.raises(Unavailable):
                send_work(app, 1)
        finally:
            redis.config_set("maxmemory", 0)


def test_workers_come_and_go(redis: Redis) -> None:
    announce(redis, ONE)
    assert workers(redis) == [ONE]
    assert 0 < redis.ttl("clipgres:worker:one@host") <= 30
    withdraw(redis, ONE.name)
    assert workers(redis) == []
