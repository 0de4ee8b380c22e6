"""What commands share: settings and connections made on first use, and errors said in one line."""

from __future__ import annotations

import sys
from functools import cached_property
from typing import Any

import click
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import Engine

from clipgres.database import create_engine, search_engine
from clipgres.decoding.pool import Decoders
from clipgres.encoders import Encoders
from clipgres.endpoints import database_url, read_database_url, redis_url
from clipgres.errors import ClipgresError, Unavailable
from clipgres.fetching import Fetcher
from clipgres.presence import WorkerInfo, workers
from clipgres.redis_client import connect_redis
from clipgres.search import Searcher
from clipgres.settings import Settings, load_settings


class Tools:
    """The collaborators of a command; each is made when a command first asks for it."""

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings

    @cached_property
    def settings(self) -> Settings:
        """The settings given, else those of this process."""
        return self._settings or load_settings()

    @cached_property
    def engine(self) -> Engine:
        """An engine on the database."""
        return create_engine(database_url(self.settings), pool_size=2, name="clipgres cli")

    @cached_property
    def redis(self) -> Redis:
        """A client of the queue's server."""
        return connect_redis(redis_url(self.settings), timeout_s=2)

    @cached_property
    def encoders(self) -> Encoders:
        """The models, loaded when first used."""
        return Encoders(self.settings)

    @cached_property
    def decoders(self) -> Decoders:
        """The process that decodes a picture to search with, started when first used."""
        return Decoders(self.settings, processes=1)

    @cached_property
    def searcher(self) -> Searcher:
        """The search over all of these."""
        return Searcher(
            engine=search_engine(read_database_url(self.settings), self.settings, "clipgres cli", pool_size=2),
            encoders=self.encoders,
            fetcher=Fetcher(self.settings),
            decoders=self.decoders,
            settings=self.settings,
            redis=self.redis,
        )

    def workers(self) -> list[WorkerInfo] | None:
        """The workers that are alive; None when the queue's server does not answer."""
        try:
            return workers(self.redis)
        except RedisError:
            return None


class Commands(click.Group):
    """A group whose errors are one line that says what to do, with exit code 1; click's own wrong usage is 2."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command and say its error."""
        try:
            return super().invoke(ctx)
        except ClipgresError as error:
            click.echo(f"clipgres: {error}{_hint(error, ctx)}", err=True)
            sys.exit(1)


def _hint(error: ClipgresError, context: click.Context) -> str:
    """An embedded server that does not answer is most often one that nobody started."""
    if not isinstance(error, Unavailable) or error.__cause__ is None:
        return ""  # the settings themselves may be what is wrong
    tools = context.find_object(Tools)
    is_embedded = tools is not None and tools.settings.database_url is None
    return "\n  Is it running? `clipgres up` starts it." if is_embedded else ""
