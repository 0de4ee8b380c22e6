"""One worker process: what its tasks share, the threads beside them, and what a message makes it do."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Event, Thread

from celery import Celery

from clipgres.addresses import AddressPolicy
from clipgres.collections import Collection, find_by_id, list_all
from clipgres.database import create_engine, transaction
from clipgres.encoder import Encoder
from clipgres.encoders import Encoders
from clipgres.endpoints import database_url, redis_url
from clipgres.errors import ClipgresError, ModelError
from clipgres.fetch import Fetcher
from clipgres.index import build_index, needs_index
from clipgres.jobs import is_drained
from clipgres.queue import connect_redis
from clipgres.settings import Settings
from clipgres.writes import Written
from worker.feeder import Feeder
from worker.models import Models
from worker.network import Network
from worker.outage import Outage
from worker.pipeline import Tools, run
from worker.presence import announce_until
from worker.turn import Turn

log = logging.getLogger(__name__)

CONNECTIONS = 8
LOOK_FOR_INDEXES_EVERY_S = 600.0


class WorkerProcess:
    """The collaborators of a process, made once; its methods are what Celery's tasks and signals call."""

    def __init__(self, settings: Settings, app: Celery, encoders: Encoders) -> None:
        self._settings = settings
        self._app = app
        self._stopping = Event()
        self._indexing: set[int] = set()
        self._outage = Outage(log, "the database")
        self._engine = create_engine(database_url(settings), pool_size=CONNECTIONS, name="clipgres worker")
        self._redis = connect_redis(redis_url(settings))
        self._fetcher = Fetcher(settings)
        self._models = Models(encoders)
        self._tools = Tools(
            engine=self._engine,
            fetch=self._fetcher.fetch,
            network=Network(AddressPolicy.from_setting(settings.fetch_allow).allowed),
            settings=settings,
        )

    def start(self, name: str, slots: int) -> None:
        """Load the model, feed the queue, keep the indexes and say that it is there, each in a thread of its own."""
        feeder = Feeder(engine=self._engine, redis=self._redis, app=self._app, batch_images=self._settings.batch_images)
        _in_background("model-loader", self._models.load_default)
        _in_background("feeder", lambda: feeder.run(self._stopping))
        _in_background("indexes", self._keep_indexes)
        _in_background("presence", lambda: announce_until(self._stopping, self._redis, name, slots, self._models))

    def stop(self) -> None:
        """Make whatever runs come to its end within seconds."""
        self._stopping.set()

    def close(self) -> None:
        """Close the connections."""
        self._stopping.set()
        self._fetcher.close()
        self._redis.close()
        self._engine.dispose()

    def embed(self, collection_id: int) -> None:
        """Work on a collection for a turn, then build its index if it has come to need one."""
        try:
            with transaction(self._engine) as connection:
                collection = find_by_id(connection, collection_id)
            encoder = self._models.encoder(collection.space) if collection else None
            if collection and encoder:
                self._embed(collection, encoder)
                self._index_in_background(collection)
            self._outage.end()
        except ClipgresError as error:
            self._outage.begin(error)

    def _embed(self, collection: Collection, encoder: Encoder) -> None:
        turn = Turn(self._engine, collection.id, self._tools.network)
        is_stopping = self._stopping.is_set
        try:
            written = run(collection, encoder, self._tools, may_claim=turn.goes_on, is_stopping=is_stopping)
        except ModelError as error:
            self._models.give_up(collection.space, error)
        else:
            if written != Written():
                log.info("%s: %s", collection.name, written)

    def _keep_indexes(self) -> None:
        """Build the indexes that no message leads to: of a worker that was stopped at it, or of a build that failed."""
        while not self._stopping.is_set():
            try:
                with transaction(self._engine) as connection:
                    collections = list_all(connection)
                for collection in collections:
                    if self._lacks_index(collection):
                        self._index(collection)
            except ClipgresError as error:
                log.warning("whether an index is missing cannot be looked up now: %s", error)
            self._stopping.wait(LOOK_FOR_INDEXES_EVERY_S)

    def _index_in_background(self, collection: Collection) -> None:
        """Build the index once the queue has drained, beside the work on this and other collections."""
        if self._lacks_index(collection):
            _in_background("index", lambda: self._index(collection))

    def _lacks_index(self, collection: Collection) -> bool:
        """Whether there is an index to build now: nothing is on its way, and there are enough rows for one."""
        if collection.id in self._indexing or self._stopping.is_set():
            return False
        with transaction(self._engine) as connection:
            return is_drained(connection, collection.id) and needs_index(
                connection, collection, self._settings.index_rows
            )

    def _index(self, collection: Collection) -> None:
        self._indexing.add(collection.id)
        try:
            started = time.monotonic()
            if build_index(self._engine, collection):
                seconds = time.monotonic() - started
                log.info("%s: index %s built in %.1f s", collection.name, collection.index_name, seconds)
        except ClipgresError as error:
            log.error("%s: the index could not be built: %s", collection.name, error)
        finally:
            self._indexing.discard(collection.id)


def _in_background(name: str, target: Callable[[], None]) -> None:
    Thread(target=target, name=name, daemon=True).start()
