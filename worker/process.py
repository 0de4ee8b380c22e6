"""One worker process: what its tasks share, the threads beside them, and what a message makes it do."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from threading import Event, Thread

from celery import Celery

from clipgres.captions import are_captions_waiting
from clipgres.collections import Collection, find_by_id, list_all
from clipgres.database import create_engine, transaction
from clipgres.decoding.pool import Decoders
from clipgres.encoder import Encoder
from clipgres.encoders import Encoders
from clipgres.endpoints import database_url, redis_url
from clipgres.errors import ClipgresError, SetupError
from clipgres.fetching import Fetcher
from clipgres.fetching.addresses import AddressPolicy
from clipgres.hosts import forget_old
from clipgres.index import IndexOf, build_index, needs_index
from clipgres.jobs import is_drained
from clipgres.redis_client import connect_redis
from clipgres.settings import Settings
from clipgres.text_vectors import prune_texts
from clipgres.writes import Written
from worker.answerer import Answerer
from worker.breaker import Breaker
from worker.captions import CaptionEmbedder
from worker.delivery import Delivery
from worker.duplicates import group_duplicates
from worker.feeder import Feeder
from worker.models import Models
from worker.network import Network
from worker.outage import Outage
from worker.pipeline import run
from worker.presence import announce_until
from worker.readers import watch_readers
from worker.rechecks import Rechecker
from worker.tools import Tools
from worker.turn import Turn
from worker.witness import hasten_in_background

log = logging.getLogger(__name__)

CONNECTIONS = 8
LOOK_FOR_INDEXES_EVERY_S = 600.0
# How long Redis may take to hear that this worker is gone.
FAREWELL_S = 2.0


class WorkerProcess:
    """The collaborators of a process, made once; its methods are what Celery's tasks and signals call."""

    def __init__(self, settings: Settings, app: Celery, encoders: Encoders) -> None:
        self._settings = settings
        self._app = app
        self._stopping = Event()
        self._indexing: set[str] = set()
        self._at_work: list[int] = []
        self._begun = 0
        self._presence: Thread | None = None
        self._outage = Outage(log, "the database")
        self._engine = create_engine(database_url(settings), pool_size=CONNECTIONS, name="clipgres worker")
        self._redis = connect_redis(redis_url(settings))
        self._fetcher = Fetcher(settings)
        self._decoders = Decoders(settings)
        self._models = Models(encoders)
        allowed = AddressPolicy.from_setting(settings.fetch_allow).allowed
        network = Network(allowed, on_back=lambda: hasten_in_background(self._engine))
        self._tools = Tools(
            engine=self._engine,
            fetch=self._fetcher.fetch,
            decoders=self._decoders,
            network=network,
            breaker=Breaker(self._engine, network, settings),
            settings=settings,
        )

    def start(self, name: str, slots: int, reconnect: Callable[[], None] = lambda: None) -> None:
        """Start what goes on beside the tasks, each in a thread of its own; `reconnect` has Celery connect anew."""
        feeder = Feeder(engine=self._engine, redis=self._redis, app=self._app, batch_images=self._settings.batch_images)
        captions = CaptionEmbedder(
            engine=self._engine,
            models=self._models,
            is_busy=lambda: bool(self._at_work),
            on_drained=self._index_in_background,
        )
        rechecker = Rechecker(
            tools=self._tools, fetch=self._fetcher.fetch_if_changed, is_busy=lambda: bool(self._at_work)
        )
        answerer = Answerer(engine=self._engine, models=self._models)
        delivery = Delivery(
            redis=self._redis, tasks_begun=lambda: None if self._at_work else self._begun, reconnect=reconnect
        )
        _in_background("model-loader", self._models.load_default)
        _in_background("feeder", lambda: feeder.run(self._stopping))
        _in_background("captions", lambda: captions.run(self._stopping))
        _in_background("answerer", lambda: answerer.run(self._stopping))
        if self._settings.recheck_days:
            _in_background("rechecks", lambda: rechecker.run(self._stopping))
        _in_background("readers", lambda: watch_readers(self._stopping, self._engine, self._settings.reader_limit_s))
        _in_background("delivery", lambda: delivery.watch_until(self._stopping))
        _in_background("housekeeping", self._keep_house)
        self._presence = _in_background(
            "presence", lambda: announce_until(self._stopping, self._redis, name, slots, self._models)
        )

    def stop(self) -> None:
        """Make whatever runs come to its end within seconds."""
        self._stopping.set()

    def close(self) -> None:
        """Close the connections, and end the decoders."""
        self._stopping.set()
        if self._presence:
            self._presence.join(FAREWELL_S)
        self._decoders.close()
        self._fetcher.close()
        self._redis.close()
        self._engine.dispose()

    def embed(self, collection_id: int) -> None:
        """Work on a collection for a turn, then build the indexes that it has come to need."""
        self._at_work.append(collection_id)
        self._begun += 1
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
        finally:
            self._at_work.remove(collection_id)

    def _embed(self, collection: Collection, encoder: Encoder) -> None:
        turn = Turn(self._engine, collection.id, self._tools.network)
        is_stopping = self._stopping.is_set
        try:
            written = run(collection, encoder, self._tools, may_claim=turn.goes_on, is_stopping=is_stopping)
        except SetupError as error:
            self._models.give_up(collection.space, error)
        else:
            if written != Written():
                log.info("%s: %s", collection.name, written)

    def _keep_house(self) -> None:
        """Build the indexes that no message leads to: of a worker that was stopped at it, or of a build that failed.

        The texts that nobody asks for any more go at the same time, and the hosts that are left alone no longer.
        Duplicates are grouped once all pictures are in.
        """
        while not self._stopping.is_set():
            try:
                with transaction(self._engine) as connection:
                    collections = list_all(connection)
                    prune_texts(connection)
                    forget_old(connection)
                for collection in collections:
                    for index in self._lacking(collection):
                        self._index(collection, index)
                    group_duplicates(self._engine, collection)
            except ClipgresError as error:
                log.warning("whether an index is missing cannot be looked up now: %s", error)
            self._stopping.wait(LOOK_FOR_INDEXES_EVERY_S)

    def _index_in_background(self, collection: Collection) -> None:
        """Build what indexes are lacking once the queue has drained, beside the work on this and other collections."""
        for index in self._lacking(collection):
            _in_background("index", partial(self._index, collection, index))

    def _lacking(self, collection: Collection) -> list[IndexOf]:
        """The indexes to build now: nothing is on its way, and there are enough rows for one."""
        if self._stopping.is_set():
            return []
        with transaction(self._engine) as connection:
            if not is_drained(connection, collection.id):
                return []
            indexes = [IndexOf.items(collection)]
            if not are_captions_waiting(connection, collection.id):
                indexes.append(IndexOf.captions(collection))
            return [
                index
                for index in indexes
                if index.name not in self._indexing and needs_index(connection, index, self._settings.index_rows)
            ]

    def _index(self, collection: Collection, index: IndexOf) -> None:
        self._indexing.add(index.name)
        try:
            started = time.monotonic()
            if build_index(self._engine, index):
                seconds = time.monotonic() - started
                log.info("%s: index %s built in %.1f s", collection.name, index.name, seconds)
        except ClipgresError as error:
            log.error("%s: the index could not be built: %s", collection.name, error)
        finally:
            self._indexing.discard(index.name)


def _in_background(name: str, target: Callable[[], None]) -> Thread:
    thread = Thread(target=target, name=name, daemon=True)
    thread.start()
    return thread
