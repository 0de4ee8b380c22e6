"""Where the database and the queue are: the addresses of the settings, else those of the embedded servers."""

from __future__ import annotations

from clipgres.servers.postgres import embedded_database_url
from clipgres.servers.redis import embedded_redis_url
from clipgres.settings import Settings


def database_url(settings: Settings) -> str:
    """Return the address of the PostgreSQL database that is written to."""
    return settings.database_url.get_secret_value() if settings.database_url else embedded_database_url(settings)


def read_database_url(settings: Settings) -> str:
    """Return the address of the database that searches read: a replica where one is named."""
    return settings.read_database_url.get_secret_value() if settings.read_database_url else database_url(settings)


def redis_url(settings: Settings) -> str:
    """Return the address of the Redis server, as redis-py takes it."""
    return settings.redis_url.get_secret_value() if settings.redis_url else embedded_redis_url(settings)
