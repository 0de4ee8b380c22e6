"""Notices when messages wait and none reaches this worker, and has Celery connect to the queue anew.

Celery acknowledges a message when its task begins. If Redis is away at that moment, the message counts as one in hand
for good, and a worker that takes one at a time is never given another: it lives, and hears of nothing any more.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event

from redis import Redis
from redis.exceptions import RedisError

from clipgres.queue import are_messages_waiting

log = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What watching needs; `tasks_begun` is None while one is at work."""

    redis: Redis
    tasks_begun: Callable[[], int | None]
    reconnect: Callable[[], None]

    def watch_until(self, stopping: Event) -> None:
        """Watch until told to stop: an idle worker takes what waits at once, not seconds later."""
        before: int | None = None
        while not stopping.wait(LOOK_EVERY_S):
            begun = self.tasks_begun() if self._are_messages_waiting() else None
            if begun is not None and begun == before:
                log.warning("messages wait in the queue and none arrives here: connecting to it anew")
                self.reconnect()
                begun = None
            before = begun

    def _are_messages_waiting(self) -> bool:
        try:
            return are_messages_waiting(self.redis)
        except RedisError:
            return False
