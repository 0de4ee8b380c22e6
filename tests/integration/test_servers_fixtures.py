"""The fixtures that other tests stand on: a database of its own for each, a Redis that is empty."""

from __future__ import annotations

import psycopg
import pytest
import redis
from sqlalchemy import Engine, text

from clipgres.settings import Settings


@pytest.mark.parametrize("_turn", [1, 2])
def test_each_test_gets_a_migrated_database_of_its_own(engine: Engine, _turn: int) -> None:
    with engine.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM clipgres.batch")).scalar_one() == 0
        connection.execute(text("CREATE TABLE leftover ()"))


@pytest.mark.parametrize("_turn", [1, 2])
def test_each_test_gets_an_empty_redis(redis_url: str, _turn: int) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        client.set("left", "over")


def test_settings_name_the_servers_of_the_test(settings: Settings, database_url: str) -> None:
    assert settings.database_url is not None
    with psycopg.connect(settings.database_url.get_secret_value()) as connection:
        assert connection.info.dbname in database_url
        assert connection.execute("SELECT current_user").fetchone() == ("clipgres_owner",)
