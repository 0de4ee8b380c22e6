"""Says in Redis, every few seconds, that this worker is alive and what it has loaded."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from datetime import UTC, datetime
from threading import Event

from redis import Redis
from redis.exceptions import RedisError

from clipgres.presence import PRESENCE_TTL_S, WorkerInfo, announce, withdraw
from worker.models import Models
from worker.outage import Outage

log = logging.getLogger(__name__)


def announce_until(stopping: Event, redis: Redis, name: str, slots: int, models: Models) -> None:
    """Announce the worker until told to stop, then take it back."""
    since = datetime.now(UTC)
    outage = Outage(log, "the queue")
    while not stopping.is_set():
        worker = WorkerInfo(
            name=name, slots=slots, pid=os.getpid(), since=since, model=models.loaded(), trouble=models.trouble()
        )
        try:
            announce(redis, worker)
            outage.end()
        except RedisError as error:
            outage.begin(error)
        stopping.wait(PRESENCE_TTL_S / 6)
    with suppress(RedisError):
        withdraw(redis, name)
