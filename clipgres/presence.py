"""Which workers are alive: each says so in Redis, for half a minute at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from redis import Redis

from clipgres.redis_client import PREFIX

PRESENCE_TTL_S = 30


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
