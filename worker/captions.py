"""Embeds captions in the background, beside the pictures and in a small share of the time while there are any."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event

from sqlalchemy import Engine

from clipgres.captions import are_captions_waiting, collections_with_captions, embed_captions
from clipgres.collections import Collection, find_by_id
from clipgres.database import transaction
from clipgres.encoder import Encoder
from clipgres.errors import ClipgresError, DeviceLost, ModelError
from clipgres.models import Space
from worker.models import Models
from worker.outage import Outage

log = logging.getLogger(__name__)

LOOK_EVERY_S = 2.0
# While pictures are worked on, captions rest so many times as long as they took: whoever waits, waits for pictures.
REST = 4.0
RESTS_S = 0.1
RETRY_EVERY_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionEmbedder:
    """What embedding captions needs; `on_drained` is told of a collection whose captions all have their vectors."""

    engine: Engine
    models: Models
    is_busy: Callable[[], bool]
    on_drained: Callable[[Collection], None]
    failed_at: dict[Space, float] = field(default_factory=dict)

    def run(self, stopping: Event) -> None:
        """Embed whatever waits until told to stop, through restarts of PostgreSQL."""
        outage = Outage(log, "the database")
        while not stopping.is_set():
            images = 0
            try:
                images = self.round(stopping)
                outage.end()
            except ClipgresError as error:
                outage.begin(error)
            if not images:
                stopping.wait(LOOK_EVERY_S)

    def round(self, stopping: Event) -> int:
        """Embed some captions of each collection that has any waiting; returns of how many images."""
        images = 0
        with transaction(self.engine) as connection:
            waiting = [find_by_id(connection, each) for each in collections_with_captions(connection)]
        for collection in filter(None, waiting):
            if not stopping.is_set() and (encoder := self._encoder(collection.space)):
                began = time.monotonic()
                images += self._embed(collection, encoder)
                self._rest(REST * (time.monotonic() - began), stopping)
        return images

    def _encoder(self, space: Space) -> Encoder | None:
        """The encoder of a space, unless it failed on texts lately: pictures may still be embedded then."""
        if time.monotonic() - self.failed_at.get(space, float("-inf")) < RETRY_EVERY_S:
            return None
        return self.models.encoder(space)

    def _rest(self, seconds: float, stopping: Event) -> None:
        """Let the pictures have the machine for so long, or until they are done."""
        ends = time.monotonic() + seconds
        while self.is_busy() and time.monotonic() < ends and not stopping.wait(RESTS_S):
            pass

    def _embed(self, collection: Collection, encoder: Encoder) -> int:
        try:
            images = embed_captions(self.engine, collection, encoder)
        except DeviceLost as error:
            self.models.give_up(collection.space, error)
            return 0
        except ModelError as error:
            log.error("no captions for %s are embedded here for now: %s", collection.name, error)
            self.failed_at[collection.space] = time.monotonic()
            return 0
        if images:
            with transaction(self.engine) as connection:
                is_drained = not are_captions_waiting(connection, collection.id)
            if is_drained:
                self.on_drained(collection)
        return images
