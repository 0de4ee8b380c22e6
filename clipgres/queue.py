"""The rules of delivery in one place: how Celery is set up and how work is announced.

A message says only that a collection has work. It may be lost or come twice: the rows of `clipgres.job` are the record.
So messages are acknowledged early, hold no results and wait nowhere but in the queue itself.
"""

from __future__ import annotations

import json
from collections import Counter
from urllib.parse import parse_qs, urlsplit

from celery import Celery
from kombu.exceptions import OperationalError
from redis import Redis
from redis.exceptions import RedisError

from clipgres.errors import Unavailable
from clipgres.redis_client import PREFIX, REDIS_TIMEOUT_S

QUEUE = "clipgres"
EMBED = "clipgres.embed"
COLLECTION_HEADER = "clipgres_collection"


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
