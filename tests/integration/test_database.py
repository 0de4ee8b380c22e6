"""What a connection over a network is made with, so that neither side waits for one that went without a word."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Engine, make_url, text

from clipgres.database import create_engine, driver_connection, transaction
from tests.faults.links import Link


@pytest.fixture
def remote(database_url: str) -> Iterator[Engine]:
    """The test's database as another machine would reach it."""
    url = make_url(database_url)
    with closing(Link(Path(str(url.query["host"])) / ".s.PGSQL.5432")) as link:
        engine = create_engine(f"postgresql://{url.username}@127.0.0.1:{link.port}/{url.database}")
        yield engine
        engine.dispose()


def test_the_client_gives_a_silent_server_up_within_a_minute(remote: Engine) -> None:
    with transaction(remote) as connection:
        with socket.socket(fileno=socket.dup(driver_connection(connection).fileno())) as open_socket:
            options = [socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT]
            assert [open_socket.getsockopt(socket.IPPROTO_TCP, each) for each in options] == [20, 10, 3, 30_000]
            assert open_socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


def test_the_server_is_asked_to_do_the_same(database_url: str) -> None:
    sql = "SELECT count(*) FROM pg_settings WHERE name LIKE 'tcp_keepalives_%' AND source = 'client'"
    engine = create_engine(database_url)
    with transaction(engine) as connection:
        assert connection.execute(text(sql)).scalar_one() == 3
    engine.dispose()
