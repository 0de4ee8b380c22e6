"""One worker process: what its tasks share, the threads beside them, and what a message makes it do."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Event, Lock, Thread

from celery import Celery
from sqlalchemy import text

from clipgres.addresses import AddressPolicy
from clipgres.collections import Collection, list_all
from clipgres.database import create_engine, transaction
from clipgres.encoder import Encoder
from clipgres.encoders import Encoders
from clipgres.endpoints import database_url, redis_url
from clipgres.errors import ClipgresError, ModelError
from clipgres.fetch import Fetcher
from clipgres.index import build_index, needs_index
from clipgres.queue import connect_redis
from clipgres.settings import Settings
from clipgres.writes import Written
from worker.feeder import Feeder
from worker.models import Models
from worker.network import Network
from worker.outage import Outage
from worker.pipeline import Tools, run
from worker.presence import announce_until

log = logging.getLogger(__name__)

TURN_S = 60.0
LOOK_EVERY_S = 5.0
CONNECTIONS = 8

OTHERS_DUE_SQL = text("""
    SELECT EXISTS (
        SELECT FROM clipgres.collection c
        WHERE c.id <> :collection AND c.state = 'ready' AND EXISTS (
            SELECT FROM clipgres.job j
            WHERE j.collection_id = c.id AND j.status = 'pending' AND j.next_attempt_at <= now()
        )
    )
""")


class WorkerProcess:
    """The collaborators of a process, made once; its methods are what Celery's tasks and signals call."""

    def __init__(self, settings: Settings, app: Celery, encoders: Encoders) -> None:
        self._settings = settings
        self._app = app
        self._stopping = Event()
        self._indexing = Lock()
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
        """Load the model, feed the queue and say that this worker is there, each in a thread of its own."""
        feeder = Feeder(engine=self._engine, redis=self._redis, app=self._app, batch_images=self._settings.batch_images)
        _in_background("model-loader", self._models.load_default)
        _in_background("feeder", lambda: feeder.run(self._stopping))
        _in_background(
            "presence", lambda: announce_until(self._stopping, self._redis, name, slots, self._models.loaded)
        )

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
            collection = self._find(collection_id)
            encoder = self._models.encoder(collection.space) if collection else None
            if collection and encoder:
                self._embed(collection, encoder)
                self._index_in_background(collection)
            self._outage.end()
        except ClipgresError as error:
            self._outage.begin(error)

    def _embed(self, collection: Collection, encoder: Encoder) -> None:
        may_claim = self._turn(collection.id)
        try:
            written = run(collection, encoder, self._tools, may_claim=may_claim, is_stopping=self._stopping.is_set)
        except ModelError as error:
            self._models.give_up(collection.space, error)
        else:
            if written != Written():
                log.info("%s: %s", collection.name, written)

    def _find(self, collection_id: int) -> Collection | None:
        with transaction(self._engine) as connection:
            return next((found for found in list_all(connection) if found.id == collection_id), None)

    def _turn(self, collection_id: int) -> Callable[[], bool]:
        """Says whether to go on claiming: for a minute, and from then on while no other collection waits."""
        look_at = time.monotonic() + TURN_S
        is_over = False

        def goes_on() -> bool:
            nonlocal look_at, is_over
            if not is_over and time.monotonic() >= look_at:
                with transaction(self._engine) as connection:
                    is_over = connection.execute(OTHERS_DUE_SQL, {"collection": collection_id}).scalar_one()
                look_at = time.monotonic() + LOOK_EVERY_S
            return not is_over

        return goes_on

    def _index_in_background(self, collection: Collection) -> None:
        """Build the index beside the work on this and other collections, one at a time."""
        with transaction(self._engine) as connection:
            is_needed = needs_index(connection, collection, self._settings.index_rows)
        if is_needed and not self._stopping.is_set():
            _in_background("index", lambda: self._index(collection))

    def _index(self, collection: Collection) -> None:
        with self._indexing:
            try:
                started = time.monotonic()
                if build_index(self._engine, collection):
                    seconds = time.monotonic() - started
                    log.info("%s: index %s built in %.1f s", collection.name, collection.index_name, seconds)
            except ClipgresError as error:
                log.error("%s: the index could not be built: %s", collection.name, error)


def _in_background(name: str, target: Callable[[], None]) -> None:
    Thread(target=target, name=name, daemon=True).start()
