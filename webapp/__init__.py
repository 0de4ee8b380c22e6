"""The web application: pages for people, JSON for programs, over what `clipgres` does."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask import Flask
from flask.json.provider import DefaultJSONProvider
from redis import Redis
from sqlalchemy import Engine

from clipgres.database import create_engine, search_engine
from clipgres.decoding.pool import Decoders
from clipgres.encoders import Encoders
from clipgres.endpoints import database_url, read_database_url, redis_url
from clipgres.fetching import Fetcher
from clipgres.redis_client import connect_redis
from clipgres.search import Searcher
from clipgres.settings import Settings, load_settings
from webapp import add, api, batches, failures, health, pages, thumbnails
from webapp.errors import handle_errors
from webapp.routing import add_converters
from webapp.security import csrf, protect
from webapp.services import NAME, Services
from webapp.wording import add_filters

APPLICATION = "clipgres web"
POOL_SIZE = 8  # a connection for each of gunicorn's threads
WRITE_TIMEOUT_MS = 60_000  # a chunk of a list is one statement
REDIS_TIMEOUT_S = 2
DECODERS = 2  # so that one picture which takes its decoder's time does not hold up all others


class IsoTimes(DefaultJSONProvider):
    """JSON as the API writes it: fields in the order of the design, times as ISO 8601."""

    sort_keys = False

    @staticmethod
    def default(value: Any) -> Any:
        """Write a value that JSON has no form for."""
        return value.isoformat() if isinstance(value, datetime) else DefaultJSONProvider.default(value)


def create_app(
    settings: Settings | None = None,
    *,
    engine: Engine | None = None,
    encoders: Encoders | None = None,
    fetcher: Fetcher | None = None,
    decoders: Decoders | None = None,
    redis: Redis | None = None,
    bind_host: str = "127.0.0.1",
) -> Flask:
    """Wire the application that listens on `bind_host`; what is not given is made from the settings.

    Nothing is connected to or loaded yet: it starts while the database is away, and says so to whoever asks.

    Raises:
        SetupError: a setting does not fit, or it would be open to the network without a token.
    """
    settings = settings or load_settings()
    app = Flask(__name__)
    add_converters(app)
    app.json = IsoTimes(app)
    encoders = encoders or Encoders(settings)
    redis = redis or connect_redis(redis_url(settings), timeout_s=REDIS_TIMEOUT_S)
    app.extensions[NAME] = Services(
        settings=settings,
        engine=engine or _engine(settings),
        redis=redis,
        encoders=encoders,
        searcher=Searcher(
            engine=engine or search_engine(read_database_url(settings), settings, APPLICATION, pool_size=POOL_SIZE),
            encoders=encoders,
            fetcher=fetcher or Fetcher(settings),
            decoders=decoders or Decoders(settings, DECODERS),
            settings=settings,
            redis=redis,
        ),
    )
    protect(app, settings, bind_host)
    handle_errors(app)
    add_filters(app)
    parts = (pages.pages, add.add, batches.batches, failures.failures, api.api, thumbnails.thumbnails, health.health)
    for blueprint in parts:
        app.register_blueprint(blueprint)
    csrf.exempt(api.api)
    return app


def _engine(settings: Settings) -> Engine:
    url = database_url(settings)
    return create_engine(url, pool_size=POOL_SIZE, statement_timeout_ms=WRITE_TIMEOUT_MS, name=APPLICATION)
