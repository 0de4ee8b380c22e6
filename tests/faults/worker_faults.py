"""Faults of workers: killed, told to end, stopped past their leases, at the wrong time, or felled by a picture."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGQUIT, SIGSTOP, SIGTERM, Signals

import psutil

from clipgres.reasons import Reason
from tests.faults.invariants import is_ended
from tests.faults.scene import Broken, Fault, Scene
from tests.faults.site import HOSTS
from tests.faults.stack import Stack, Worker

FAKETIME = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)
FAKED = {"LD_PRELOAD": str(FAKETIME), "FAKETIME_CACHE_DURATION": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
POISON_DEATHS = 5
TAKEN_OVER_WITHIN_S = 60.0

LEASES_SQL = "SELECT DISTINCT lease_token FROM clipgres.job WHERE status = 'leased'"
HELD_SQL = "SELECT count(*) FROM clipgres.job WHERE lease_token = ANY (%s)"


def kill(scene: Scene) -> None:
    """Kill -9 of one worker or both."""
    for worker in scene.some_workers():
        _signal(scene, worker, SIGKILL)


def end_warm(scene: Scene) -> None:
    """SIGTERM to a worker: the warm end."""
    _signal(scene, scene.worker(), SIGTERM)


def end_cold(scene: Scene) -> None:
    """SIGQUIT to a worker: the cold end."""
    _signal(scene, scene.worker(), SIGQUIT)


def end_twice(scene: Scene) -> None:
    """SIGTERM to a worker, and again a moment later."""
    worker = scene.worker()
    process = scene.process(worker)
    process.send_signal(SIGTERM)
    scene.pause(0.1, 1)
    with suppress(psutil.NoSuchProcess):
        process.send_signal(SIGTERM)


def stop(scene: Scene) -> None:
    """SIGSTOP of a worker past its lease, until its jobs were taken over, then SIGCONT."""
    process = scene.process(scene.worker())
    process.send_signal(SIGSTOP)
    try:
        with scene.stack.admin() as connection:
            before = {row[0] for row in connection.execute(LEASES_SQL)}
            scene.wait(
                "the jobs of a stopped worker are taken over",
                lambda: connection.execute(HELD_SQL, [list(before)]).fetchone() == (0,),
                TAKEN_OVER_WITHIN_S,
            )
            scene.pause(0, 1)
    finally:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(SIGCONT)


def kill_decoders(scene: Scene) -> None:
    """Kill -9 of the decoders of a worker, twice: a third time might rightly end a picture."""
    worker, killed = scene.worker(), 0
    for _ in range(2):
        for decoder in scene.process(worker).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                decoder.kill()
                killed += 1
        scene.pause(0.1, 0.5)
    if not killed:
        raise Broken("there was no decoder to kill")


def poison(scene: Scene) -> float:
    """Kill -9 of any worker at the moment it downloads one certain picture, until that is given up."""
    url = scene.stack.site.url(HOSTS[0], "poison", scene.name, 0)
    deaths: list[float] = []

    def take_down(port: int) -> None:
        for connection in psutil.net_connections("tcp4"):
            if connection.laddr and connection.laddr[1] == port and connection.pid not in (None, os.getpid()):
                deaths.append(time.monotonic())
                psutil.Process(connection.pid).kill()

    poisoned = scene.ledger.write(f"{scene.name}-poison", {url: Reason.STUCK})
    scene.stack.site.on_poison = take_down
    try:
        scene.ledger.add(poisoned)
        job = (scene.ledger.collections[poisoned.collection].id, url)
        scene.wait(
            "a picture that takes its worker down is given up",
            lambda: job in scene.watch.found and is_ended(scene.watch.found[job]),
            300,
        )
    finally:
        scene.stack.site.on_poison = lambda _port: None
    if len(deaths) > POISON_DEATHS:
        raise Broken(f"a picture took its worker down {len(deaths)} times before it was given up")
    return deaths[-1]


def jump(scene: Scene) -> float:
    """The clock of one worker jumps an hour ahead or back, then back again."""
    worker = scene.worker()
    clock = scene.stack.home.logs / f"{worker.name}.clock"
    clock.write_text("+0")
    before = dict(worker.environment)
    worker.environment.update(FAKED, FAKETIME_TIMESTAMP_FILE=str(clock))
    try:
        _start_again(scene, worker)
        clock.write_text(scene.rng.choice(["+3600", "-3600"]))
        scene.pause(3, 5)
        clock.write_text("+0")
        over_at = time.monotonic()
        scene.pause(1, 2)
    finally:
        worker.environment.clear()
        worker.environment.update(before)
    _start_again(scene, worker)
    return over_at


def no_faketime(_stack: Stack) -> str | None:
    """Why no clock can jump."""
    return None if FAKETIME else "libfaketime is not installed (apt-get install faketime)"


def _start_again(scene: Scene, worker: Worker) -> None:
    scene.stack.end(worker.name, SIGTERM)
    scene.process(worker)
    scene.stack.wait_for(worker.name)


def _signal(scene: Scene, worker: Worker, number: Signals) -> None:
    scene.process(worker).send_signal(number)


FAULTS = (
    Fault("worker-killed", kill),
    Fault("worker-sigterm", end_warm),
    Fault("worker-sigquit", end_cold),
    Fault("worker-sigterm-twice", end_twice),
    Fault("worker-stopped", stop),
    Fault("decoder-killed", kill_decoders),
    Fault("poison", poison, is_alone=True),
    Fault("clock-jump", jump, is_alone=True, lacks=no_faketime),
)
