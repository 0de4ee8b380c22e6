"""The embedded Redis: private, without TCP, and with its data after a kill."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from signal import SIGKILL

import psutil
import pytest
import redis

from clipgres.servers.child import RunningChild
from clipgres.servers.home import home_of
from clipgres.servers.redis import answers, embedded_redis_url, prepare_redis, redis_child
from clipgres.settings import Settings
from tests.conftest import started

Starter = Callable[[Path], tuple[redis.Redis, RunningChild]]


@pytest.fixture
def start() -> Iterator[Starter]:
    """Start a Redis on a home; it is stopped after the test."""
    with ExitStack() as stack:

        def starter(home: Path) -> tuple[redis.Redis, RunningChild]:
            settings = Settings(home=home)
            prepare_redis(settings)
            server = started(RunningChild(redis_child(settings)))
            stack.callback(server.stop)
            return stack.enter_context(redis.Redis.from_url(embedded_redis_url(settings))), server

        yield starter


def test_a_home_with_spaces_and_percent_signs(start: Starter, short_tmp: Path) -> None:
    client, server = start(short_tmp / "my own 100% home")
    assert client.ping()
    server.stop()
    assert server.exit_code() == 0


def test_the_socket_is_private_and_there_is_no_tcp(start: Starter, short_tmp: Path) -> None:
    _, server = start(short_tmp / "home")
    socket = home_of(Settings(home=short_tmp / "home")).sockets / "redis.sock"
    assert stat.S_IMODE(socket.stat().st_mode) == 0o700
    assert psutil.Process(server.pid).net_connections("inet") == []


def test_what_was_written_a_second_ago_outlives_a_kill(start: Starter, short_tmp: Path) -> None:
    client, server = start(short_tmp / "home")
    client.set("kept", "yes")
    time.sleep(1.2)  # appendfsync is everysec
    os.kill(server.pid, SIGKILL)
    server.stop()
    again, _ = start(short_tmp / "home")
    assert again.get("kept") == b"yes"


def test_it_refuses_writes_rather_than_forgets_when_full(start: Starter, short_tmp: Path) -> None:
    client, _ = start(short_tmp / "home")
    assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_no_server_is_no_answer(short_tmp: Path) -> None:
    assert not answers(embedded_redis_url(Settings(home=short_tmp / "home")))
