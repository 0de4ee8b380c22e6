"""Faults of Redis: killed, emptied, full, read-only, slow, another password. Lists are accepted all the while."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from signal import SIGKILL

from redis import Redis
from redis.exceptions import RedisError

from clipgres.queue import QUEUE, make_app, send_work
from clipgres.redis_client import PREFIX
from clipgres.servers.redis import embedded_redis_url
from tests.faults.scene import Fault, Scene

SECRET = "another-one"


def kill(scene: Scene) -> None:
    """Kill -9 of Redis, which comes back with its append-only file."""
    _kill(scene)


def kill_stale(scene: Scene) -> None:
    """Kill -9 of Redis, which comes back with what it knew a while ago."""
    with scene.stack.redis() as client:
        client.config_set("appendonly", "no")
    scene.pause(1, 2)
    _kill(scene)


def kill_empty(scene: Scene) -> None:
    """Kill -9 of Redis, which comes back with an empty disk."""
    scene.stack.before["redis"] = lambda: _empty(scene)
    _kill(scene)


def flush(scene: Scene) -> None:
    """FLUSHALL, several times."""
    for _ in range(scene.rng.randint(1, 4)):
        with scene.stack.redis() as client:
            client.flushall()
        scene.pause(0.1, 1)


def delete_queue(scene: Scene) -> None:
    """DEL of the queue and of what Celery keeps beside it, several times."""
    for _ in range(scene.rng.randint(2, 6)):
        with scene.stack.redis() as client:
            client.delete(*(PREFIX + name for name in (QUEUE, "unacked", "unacked_index", "unacked_mutex")))
        scene.pause(0.1, 1)


def fill(scene: Scene) -> None:
    """Redis is full: maxmemory 1 without eviction."""
    with scene.stack.redis() as client, _configured(client, "maxmemory", "1"):
        scene.pause(3, 8)


def make_read_only(scene: Scene) -> None:
    """Redis is read-only: a replica of nobody."""
    with scene.stack.redis() as client:
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        try:
            scene.pause(3, 8)
        finally:
            client.execute_command("REPLICAOF", "NO", "ONE")


def pause(scene: Scene) -> None:
    """Redis answers nobody for some seconds."""
    with scene.stack.redis() as client:
        client.execute_command("DEBUG", "SLEEP", f"{scene.rng.uniform(2, 14):.1f}")


def change_password(scene: Scene) -> None:
    """Redis wants another password."""
    with scene.stack.redis() as client, _configured(client, "requirepass", SECRET):
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        scene.pause(3, 8)


def repeat_messages(scene: Scene) -> None:
    """Each message comes many times."""
    app = make_app(embedded_redis_url(scene.stack.settings))
    collections = [collection.id for collection in scene.ledger.collections.values()]
    with app:
        for _ in range(scene.rng.randint(20, 60)):
            with suppress(RedisError):
                send_work(app, scene.rng.choice([*collections, 4_711]))


def _kill(scene: Scene) -> None:
    scene.stack.end("redis", SIGKILL)
    scene.pause(0, 1)
    scene.stack.process("redis")
    scene.stack.wait_for("redis")


def _empty(scene: Scene) -> None:
    for path in scene.stack.home.redis.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextmanager
def _configured(client: Redis, name: str, value: str) -> Iterator[None]:
    [before] = client.config_get(name).values()
    client.config_set(name, value)
    if name == "requirepass":
        client.execute_command("AUTH", value)
    try:
        yield
    finally:
        client.config_set(name, before)


FAULTS = (
    Fault("redis-killed", kill),
    Fault("redis-killed-stale", kill_stale),
    Fault("redis-killed-empty", kill_empty),
    Fault("redis-flushed", flush),
    Fault("redis-queue-deleted", delete_queue),
    Fault("redis-full", fill),
    Fault("redis-read-only", make_read_only),
    Fault("redis-slow", pause),
    Fault("redis-password", change_password),
    Fault("messages-repeated", repeat_messages),
)
