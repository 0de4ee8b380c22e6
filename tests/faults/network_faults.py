"""Faults of the network between a worker and its servers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from clipgres.queue import make_app, send_work
from clipgres.servers.redis import embedded_redis_url
from tests.faults.links import Link
from tests.faults.scene import Fault, Scene

LEASED_SQL = "SELECT count(*) FROM clipgres.job WHERE collection_id = %s AND status = 'leased'"


def cut(scene: Scene) -> None:
    """Connections are reset, and none can be made for some seconds."""
    with _healed(scene.links()) as links:
        for link in links:
            link.cut()
        scene.pause(2, 10)


def slow(scene: Scene) -> None:
    """Everything takes 0.1 to 0.5 s longer."""
    with _healed(scene.links()) as links:
        for link in links:
            link.slow(scene.rng.uniform(0.1, 0.5))
        scene.pause(3, 8)


def freeze(scene: Scene) -> None:
    """Nothing comes through, and nothing says so; then it goes on."""
    with _healed(scene.links()) as links:
        for link in links:
            link.freeze()
        scene.pause(4, 20)


def lose(scene: Scene) -> None:
    """Nothing comes through, and nothing says so; then the connections turn out to be dead."""
    with _healed(scene.links()) as links:
        for link in links:
            link.freeze()
        scene.pause(4, 20)
        for link in links:
            link.reset()


def reset(scene: Scene) -> None:
    """Connections are reset in the middle of what they do, again and again."""
    links = scene.links()
    for _ in range(scene.rng.randint(3, 12)):
        scene.rng.choice(links).reset()
        scene.pause(0.05, 0.6)


def lose_queue(scene: Scene) -> None:
    """No worker reaches Redis, from the middle of what it does until it has nothing left to do."""
    links = [worker.redis for worker in scene.stack.workers]
    [before, *_] = [collection.id for collection in scene.ledger.collections.values()]
    # Each worker has a message in hand that it can neither begin nor acknowledge before it is cut off.
    with make_app(embedded_redis_url(scene.stack.settings)) as app:
        for _ in range(4 * len(links)):
            send_work(app, before)
    scene.pause(0.2, 0.4)
    with _healed(links):
        for link in links:
            link.cut()
        with scene.stack.admin() as connection:
            scene.wait(
                "what is at work ends without a queue",
                lambda: connection.execute(LEASED_SQL, [before]).fetchone() == (0,),
                90,
            )
        scene.pause(1, 2)


@contextmanager
def _healed(links: list[Link]) -> Iterator[list[Link]]:
    try:
        yield links
    finally:
        for link in links:
            link.heal()


FAULTS = (
    Fault("network-cut", cut),
    Fault("network-slow", slow),
    Fault("network-frozen", freeze),
    Fault("network-lost", lose),
    Fault("network-reset", reset),
    Fault("network-without-queue", lose_queue),
)
