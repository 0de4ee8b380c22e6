"""Faults of PostgreSQL: killed, restarted, its sessions ended, no connections left, locks, a full disk."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from signal import SIGINT, SIGKILL

import psutil
import psycopg

from clipgres.servers.postgres import embedded_database_url
from tests.faults.scene import Fault, Scene
from tests.faults.stack import Stack
from tests.faults.starting import DISK_BYTES

OURS = "backend_type = 'client backend' AND application_name LIKE 'clipgres%%'"
SESSIONS_SQL = f"SELECT pid FROM pg_stat_activity WHERE {OURS}"
END_SQL = f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE {OURS}"
CANCEL_SQL = f"SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE {OURS} AND state = 'active'"
LOCK_SQL = "LOCK TABLE clipgres.job IN ACCESS EXCLUSIVE MODE"
# As no code of ours locks: the newest first, one by one.
BACKWARDS_SQL = """
    SELECT image_id FROM clipgres.job WHERE status IN ('leased', 'pending') ORDER BY image_id DESC LIMIT 100
"""
LOCK_ONE_SQL = "SELECT FROM clipgres.job j, clipgres.image im WHERE im.id = %s AND j.image_id = im.id FOR UPDATE"


def kill(scene: Scene) -> None:
    """Kill -9 of the postmaster."""
    scene.stack.end("postgres", SIGKILL)
    _wait_until_up(scene)


def restart(scene: Scene) -> None:
    """A fast restart."""
    scene.stack.end("postgres", SIGINT)
    _wait_until_up(scene)


def kill_backend(scene: Scene) -> None:
    """Kill -9 of one session's server process, upon which PostgreSQL ends all others and recovers."""
    with suppress(psycopg.OperationalError), scene.stack.admin() as connection:
        pids = [row[0] for row in connection.execute(SESSIONS_SQL)]
        with suppress(psutil.NoSuchProcess):
            psutil.Process(scene.rng.choice(pids)).kill()
    scene.pause(0.3, 0.6)
    _wait_until_up(scene)


def end_sessions(scene: Scene) -> None:
    """Pg_terminate_backend of every session, several times."""
    for _ in range(scene.rng.randint(1, 5)):
        with suppress(psycopg.OperationalError), scene.stack.admin() as connection:
            connection.execute(END_SQL)
        scene.pause(0.1, 1)


def cancel_statements(scene: Scene) -> None:
    """Each statement is cut off, as by a statement_timeout that is too short."""
    ends = time.monotonic() + scene.rng.uniform(2, 5)
    with suppress(psycopg.OperationalError), scene.stack.admin() as connection:
        while time.monotonic() < ends:
            connection.execute(CANCEL_SQL)


def use_up_connections(scene: Scene) -> None:
    """Too many connections: every session is ended, and others take their places."""
    url = embedded_database_url(scene.stack.settings)
    ends = time.monotonic() + scene.rng.uniform(4, 8)
    with ExitStack() as held, suppress(psycopg.OperationalError):
        while time.monotonic() < ends:
            with suppress(psycopg.OperationalError):
                while True:
                    held.enter_context(psycopg.connect(url, connect_timeout=5, application_name="faults greedy"))
            with scene.stack.admin() as connection:
                connection.execute(END_SQL)
            time.sleep(0.1)


def lock_table(scene: Scene) -> None:
    """Somebody holds a lock on all jobs, for longer than a lease lasts."""
    _hold_lock(scene, scene.rng.uniform(3, 12))


def lock_table_long(scene: Scene) -> None:
    """Somebody holds a lock on all jobs, for longer than lock_timeout."""
    _hold_lock(scene, 33)


def deadlock(scene: Scene) -> None:
    """Somebody locks the same rows in the opposite order."""
    ends = time.monotonic() + scene.rng.uniform(4, 8)
    while time.monotonic() < ends:
        with suppress(psycopg.OperationalError), scene.stack.admin() as connection, connection.transaction():
            for row in connection.execute(BACKWARDS_SQL).fetchall():
                connection.execute(LOCK_ONE_SQL, row)
                time.sleep(0.01)


def fill_disk(scene: Scene) -> None:
    """The disk of the data is full."""
    with _small_disk(scene.stack):
        scene.pause(4, 8)
    _wait_until_up(scene)


def no_disk(stack: Stack) -> str | None:
    """Why no disk can be filled."""
    return None if stack.is_mounted else "this user may not mount a small disk of its own"


@contextmanager
def _small_disk(stack: Stack) -> Iterator[None]:
    used = psutil.disk_usage(str(stack.home.postgres)).used
    _resize(stack, used + 64_000)
    try:
        yield
    finally:
        _resize(stack, DISK_BYTES)


def _resize(stack: Stack, size: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(stack.home.postgres)], check=True)


def _hold_lock(scene: Scene, seconds: float) -> None:
    with suppress(psycopg.OperationalError), scene.stack.admin() as connection, connection.transaction():
        connection.execute(LOCK_SQL)
        time.sleep(seconds)


def _wait_until_up(scene: Scene) -> None:
    scene.stack.process("postgres")
    scene.stack.wait_for("postgres")


FAULTS = (
    Fault("postgres-killed", kill, takes_lists=False),
    Fault("postgres-restarted", restart, takes_lists=False),
    Fault("backend-killed", kill_backend, takes_lists=False),
    Fault("sessions-ended", end_sessions, takes_lists=False),
    Fault("statements-cancelled", cancel_statements, takes_lists=False),
    Fault("connections-used-up", use_up_connections, takes_lists=False),
    Fault("jobs-locked", lock_table, takes_lists=False),
    Fault("jobs-locked-long", lock_table_long, takes_lists=False),
    Fault("deadlock", deadlock, takes_lists=False),
    Fault("disk-full", fill_disk, takes_lists=False, lacks=no_disk),
)
