"""The stack that the drills break: PostgreSQL, Redis, two workers behind links of their own, and the web application.

The product's own supervisor keeps it, so that nothing is started again that a real stack would not start again.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from signal import Signals
from threading import Event

import psutil
import psycopg
from pydantic import SecretStr
from redis import Redis
from sqlalchemy import Engine

from clipgres.database import create_engine
from clipgres.encoders import Encoders
from clipgres.servers.child import Child, RunningChild
from clipgres.servers.home import Home, home_of
from clipgres.servers.postgres import (
    DATABASE,
    OWNER,
    SUPERUSER,
    embedded_database_url,
)
from clipgres.servers.redis import embedded_redis_url
from clipgres.settings import Settings
from tests.faults.links import Link
from tests.faults.site import PictureSite


@dataclass(frozen=True)
class Worker:
    """One worker: its name, its links to both servers, and its environment at the next start."""

    name: str
    postgres: Link
    redis: Link
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def database_url(self) -> SecretStr:
        """The database as it reaches it."""
        return SecretStr(f"postgresql://{OWNER}@127.0.0.1:{self.postgres.port}/{DATABASE}")

    @property
    def redis_url(self) -> SecretStr:
        """The queue as it reaches it."""
        return SecretStr(f"redis://127.0.0.1:{self.redis.port}/0")


@dataclass
class Stack:
    """What runs, and the ways to it that no fault touches."""

    settings: Settings
    site: PictureSite
    web: str
    workers: list[Worker]
    is_mounted: bool
    running: dict[str, RunningChild] = field(default_factory=dict)
    before: dict[str, Callable[[], None]] = field(default_factory=dict)
    """What to do once before a child starts again, by its name."""
    is_over: Event = field(default_factory=Event)

    def note(self, children: list[RunningChild]) -> None:
        """Keep what the supervisor says of its children."""
        self.running |= {child.child.name: child for child in children}

    def say(self, line: str) -> None:
        """Write a line into the log of the supervisor."""
        with self.home.log("supervisor").open("a") as log:
            log.write(f"{datetime.now(UTC):%H:%M:%S} {line}\n")

    def hooked(self, child: Child) -> Child:
        """The child, which first does what `before` says."""

        def start() -> None:
            self.before.pop(child.name, lambda: None)()
            child.before_start()

        return replace(child, before_start=start)

    @cached_property
    def home(self) -> Home:
        """Where its data is."""
        return home_of(self.settings)

    @cached_property
    def engine(self) -> Engine:
        """An engine as a client's that adds lists."""
        return create_engine(embedded_database_url(self.settings), pool_size=10, name="faults")

    @cached_property
    def encoders(self) -> Encoders:
        """What knows the space of new collections; no model is loaded."""
        return Encoders(self.settings)

    def admin(self) -> psycopg.Connection[tuple[object, ...]]:
        """A superuser's connection, for which the server keeps room."""
        url = embedded_database_url(self.settings, role=SUPERUSER, database=DATABASE)
        return psycopg.connect(url, autocommit=True, connect_timeout=5, application_name="faults admin")

    def redis(self) -> Redis:
        """A client of Redis past every link."""
        return Redis.from_url(embedded_redis_url(self.settings), socket_timeout=30, socket_connect_timeout=5)

    def process(self, name: str) -> psutil.Process:
        """The process of a child; waits for it while the supervisor is about to start it again."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with suppress(psutil.NoSuchProcess, KeyError):
                if self.running[name].exit_code() is None:
                    return psutil.Process(self.running[name].pid)
            time.sleep(0.05)
        raise AssertionError(f"{name} was not started again")

    def end(self, name: str, number: Signals, seconds: float = 60) -> None:
        """Send a child a signal, and return once it has ended by it."""
        pid = self.process(name).pid
        running = next(child for child in self.running.values() if child.pid == pid)
        running.process.send_signal(number)
        deadline = time.monotonic() + seconds
        while running.exit_code() is None:
            if time.monotonic() > deadline:
                raise AssertionError(f"{name} did not end by {number.name}")
            time.sleep(0.02)

    def wait_for(self, name: str, seconds: float = 90) -> None:
        """Return once a child is ready."""
        deadline = time.monotonic() + seconds
        while not (name in self.running and self.running[name].is_ready()):
            if time.monotonic() > deadline:
                raise AssertionError(f"{name} did not get ready; its log is {self.home.log(name)}")
            time.sleep(0.1)

    def command(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a clipgres command, as another client would, past every link."""
        environment = {**os.environ, "CLIPGRES_HOME": str(self.home.root), "CLIPGRES_MODEL": "tiny-clip"}
        with self.home.log("commands").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "clipgres.cli", *arguments], env=environment, stdout=log, stderr=log
            )
