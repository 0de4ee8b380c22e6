"""The rules of delivery in one place: how Celery is set up, how work is announced, and which workers are alive.

A message says only that a collection has work. It may be lost or come twice: the rows of `clipgres.job` are the record.
So messages are acknowledged early, hold no results and wait nowhere but in the queue itself.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from celery import Celery
from kombu.exceptions import OperationalError
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.retry import Retry

from clipgres.errors import Unavailable

PREFIX = "clipgres:"
QUEUE = "clipgres"
EMBED = "clipgres.embed"
COLLECTION_HEADER = "clipgres_collection"
PRESENCE_TTL_S = 30
REDIS_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerInfo:
    """A worker that was alive within the last half minute; `model` is what it has in memory, if anything.

    `trouble` is why it cannot embed for some collection, in words that say what to do.
    """

    name: str
    slots: int
    pid: int
    since: datetime
    model: str | None
    trouble: str | None = None


def make_app(redis_url: str) -> Celery:
    """Make the Celery application that sends and takes our messages; it connects on first use."""
    app = Celery("clipgres", broker=broker_url(redis_url), set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_default_queue=QUEUE,
        task_acks_late=False,
        task_create_missing_queues=False,
        worker_pool="threads",  # a model and its collaborators are shared, not forked
        worker_concurrency=1,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "global_keyprefix": PREFIX,
            "socket_timeout": REDIS_TIMEOUT_S,
            "socket_connect_timeout": REDIS_TIMEOUT_S,
            "max_retries": 1,
        },
    )
    return app


def broker_url(redis_url: str) -> str:
    """The same server as Celery names it, which has a form of its own for a Unix socket."""
    parts = urlsplit(redis_url)
    if parts.scheme != "unix":
        return redis_url
    database = parse_qs(parts.query).get("db", ["0"])[0]
    return f"redis+socket://{parts.netloc}{parts.path}?virtual_host={database}"


def connect_redis(redis_url: str, timeout_s: float = REDIS_TIMEOUT_S) -> Redis:
    """A client that connects on first use and gives up on a server that does not answer in time."""
    # By itself it would ask a silent server eleven times; a connection that a restart closed is worth a second one.
    retry = Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,))
    return Redis.from_url(redis_url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, retry=retry)


def send_work(app: Celery, collection_id: int) -> None:
    """Announce that a collection has jobs that are due.

    Raises:
        Unavailable: Redis is away, full or read-only.
    """
    try:
        app.send_task(EMBED, args=[collection_id], headers={COLLECTION_HEADER: collection_id}, retry=False)
    except (OperationalError, RedisError) as error:
        raise Unavailable(f"the queue cannot take work now: {error}") from error


def queued(redis: Redis) -> Counter[int]:
    """How many messages wait for each collection; one that is not ours to read counts for collection 0."""
    messages: list[bytes] = redis.lrange(PREFIX + QUEUE, 0, -1)  # type: ignore[assignment]
    return Counter(_collection_of(message) for message in messages)


def are_messages_waiting(redis: Redis) -> bool:
    """Whether any message waits to be taken."""
    return bool(redis.llen(PREFIX + QUEUE))


def _collection_of(message: bytes) -> int:
    try:
        return int(json.loads(message)["headers"][COLLECTION_HEADER])
    except (ValueError, KeyError, TypeError):
        return 0


def presence_key(worker: str) -> str:
    """Where a worker says that it is alive."""
    return f"{PREFIX}worker:{worker}"


def announce(redis: Redis, worker: WorkerInfo) -> None:
    """Say that this worker is alive and can work, for the next half minute."""
    fields: dict[str, Any] = asdict(worker) | {"since": worker.since.isoformat()}
    redis.set(presence_key(worker.name), json.dumps(fields), ex=PRESENCE_TTL_S)


def withdraw(redis: Redis, worker: str) -> None:
    """Say that this worker is gone."""
    redis.delete(presence_key(worker))


def workers(redis: Redis) -> list[WorkerInfo]:
    """The workers that are alive, by name."""
    keys = sorted(redis.scan_iter(match=presence_key("*"), count=1_000))
    return list(_read_presence(redis.mget(keys))) if keys else []  # type: ignore[arg-type]


def _read_presence(values: list[bytes | None]) -> Iterator[WorkerInfo]:
    for value in values:
        if value is not None:
            fields = json.loads(value)
            yield WorkerInfo(**fields | {"since": datetime.fromisoformat(fields["since"])})
