"""A client of Redis that does not wait for long, and what every key of ours begins with."""

from __future__ import annotations

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

PREFIX = "clipgres:"
REDIS_TIMEOUT_S = 10


def connect_redis(redis_url: str, timeout_s: float = REDIS_TIMEOUT_S) -> Redis:
    """A client that connects on first use and gives up on a server that does not answer in time."""
    # By itself it would ask a silent server eleven times; a connection that a restart closed is worth a second one.
    retry = Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,))
    return Redis.from_url(redis_url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, retry=retry)
