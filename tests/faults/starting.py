"""Start the stack of the drills under the product's own supervisor, and keep it for as long as they take."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from clipgres.migrations import upgrade
from clipgres.servers.account import user_id
from clipgres.servers.home import Home, home_of
from clipgres.servers.postgres import PORT, bootstrap, embedded_database_url, postgres_child, prepare_postgres
from clipgres.servers.programs import web_child, worker_child
from clipgres.servers.redis import SOCKET, prepare_redis, redis_child
from clipgres.servers.supervisor import Supervisor
from clipgres.settings import Settings
from tests.faults.links import Link
from tests.faults.site import picture_site
from tests.faults.stack import Stack, Worker

WORKERS = 2
BACK_OFF_S = 0.5
# Every commit is forced to the disk, as in a real one; a few connections, so that they can be used up.
PARAMETERS = {"max_connections": "60", "max_wal_size": "256MB", "shared_buffers": "128MB"}
# So small that a round takes seconds; what is proved does not depend on them.
SMALL: dict[str, Any] = {
    "model": "tiny-clip",
    "fetch_allow": "127.0.0.0/8",
    "fetch_threads": 8,
    "fetch_per_host": 8,
    "threads": 1,
    "decode_processes": 1,
    "batch_images": 32,
    "model_batch": 16,
    "retry_base_s": 0.1,
    "lease_s": 5,
}
DISK_BYTES = 2_000_000_000


def run(folder: Path, work: Callable[[Stack], None]) -> None:
    """Run the stack in a folder for as long as `work` takes in a thread; call it from the main thread.

    Raises:
        SetupError: something cannot start. What `work` raises is raised here.
    """
    settings = Settings(home=folder, **SMALL)
    home = home_of(settings)
    home.prepare_servers()
    with ExitStack() as leaving, picture_site() as site:
        is_mounted = leaving.enter_context(_disk_of_its_own(home))
        stack = Stack(settings, site, f"http://127.0.0.1:{_free_port()}", _workers(home, leaving), is_mounted)
        supervisor = leaving.enter_context(Supervisor(stack.say, stack.note, BACK_OFF_S))
        _start(stack, supervisor)
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(work, stack)
            try:
                supervisor.run(until=done.done)
            finally:
                stack.is_over.set()
        stack.engine.dispose()
        done.result()


def _start(stack: Stack, supervisor: Supervisor) -> None:
    settings = stack.settings
    prepare_postgres(settings)
    supervisor.start(stack.hooked(postgres_child(settings, PARAMETERS)))
    bootstrap(settings)
    prepare_redis(settings)
    supervisor.start(stack.hooked(redis_child(settings)))
    upgrade(embedded_database_url(settings))
    for worker in stack.workers:
        # A home of its own gives it a name of its own.
        home = Home(stack.home.root / worker.name, stack.home.account)
        home.prepare()
        linked = settings.model_copy(update={"database_url": worker.database_url, "redis_url": worker.redis_url})
        child = replace(worker_child(linked, home), name=worker.name, log=stack.home.log(worker.name))
        worker.environment.update(child.environment)
        supervisor.start(stack.hooked(replace(child, environment=worker.environment)))
    host, port = stack.web.removeprefix("http://").split(":")
    supervisor.start(stack.hooked(web_child(settings, host, int(port), stack.home)))


def _workers(home: Home, leaving: ExitStack) -> list[Worker]:
    workers = []
    for number in range(1, WORKERS + 1):
        links = Link(home.sockets / f".s.PGSQL.{PORT}"), Link(home.sockets / SOCKET)
        workers.append(Worker(f"worker-{number}", *links))
        for link in links:
            leaving.callback(link.close)
    return workers


@contextmanager
def _disk_of_its_own(home: Home) -> Iterator[bool]:
    """Put the data of PostgreSQL on a disk that can be filled, where this user may mount one; says whether it is."""
    options = f"size={DISK_BYTES},mode=700,uid={user_id(home.account)}"
    mount = ["mount", "-t", "tmpfs", "-o", options, "clipgres-faults", str(home.postgres)]
    is_mounted = os.geteuid() == 0 and subprocess.run(mount, check=False, capture_output=True).returncode == 0
    try:
        yield is_mounted
    finally:
        if is_mounted:
            subprocess.run(["umount", str(home.postgres)], check=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
