"""The models of a worker: tried out before jobs are claimed for them, and left alone a while when they fail."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from threading import Lock

from celery.worker import state
from PIL import Image

from clipgres.encoder import Encoder, usable
from clipgres.encoders import Encoders
from clipgres.errors import DeviceLost, ModelError, SetupError
from clipgres.models import Space

log = logging.getLogger(__name__)

RETRY_EVERY_S = 60.0


def end_worker() -> None:
    """Have Celery end this process within a second or so, as if by SIGTERM but with an exit code that says why."""
    state.should_stop = os.EX_SOFTWARE


class Models:
    """Encoders that are known to work on this machine; safe to ask from many threads."""

    def __init__(self, encoders: Encoders, end_worker: Callable[[], None] = end_worker) -> None:
        self._encoders = encoders
        self._end_worker = end_worker
        self._lock = Lock()
        self._proven: set[Space] = set()
        self._failed_at: dict[Space, float] = {}
        self._trouble: dict[Space, str] = {}
        self._told: set[str] = set()

    def encoder(self, space: Space) -> Encoder | None:
        """The encoder of a space, its model loaded; None if it failed within the last minute."""
        with self._lock:
            if time.monotonic() - self._failed_at.get(space, float("-inf")) < RETRY_EVERY_S:
                return None
            try:
                encoder = self._encoders.of(space)
                if space not in self._proven:
                    _try_out(encoder)
                    self._proven.add(space)
                    self._trouble.pop(space, None)
            except ModelError as error:
                self._give_up(space, error)
                return None
            return encoder

    def give_up(self, space: Space, error: SetupError) -> None:
        """Leave a model alone for a minute, for which nothing can be done here; the same trouble is logged once."""
        with self._lock:
            self._give_up(space, error)

    def load_default(self) -> None:
        """Load the model that the settings name, so that the first job need not wait for it."""
        try:
            space = self._encoders.default_space()
        except ModelError as error:
            log.warning("%s", error)
        else:
            self.encoder(space)

    def loaded(self) -> str | None:
        """The names of the models in memory."""
        return ", ".join(sorted({space.model for space in self._encoders.loaded()})) or None

    def trouble(self) -> str | None:
        """Why some collections get nothing from this worker, if so."""
        return "; ".join(self._trouble.values()) or None

    def _give_up(self, space: Space, error: SetupError) -> None:
        self._failed_at[space] = time.monotonic()
        self._trouble[space] = str(error)
        self._proven.discard(space)
        if str(error) not in self._told:
            self._told.add(str(error))
            log.error("no pictures for %s are embedded here: %s", space.model, error)
        if isinstance(error, DeviceLost):
            log.critical("this worker ends; what started it will start another")
            self._end_worker()


def _try_out(encoder: Encoder) -> None:
    if not usable(encoder.images([Image.new("RGB", (64, 64), "gray")])).all():
        raise ModelError(f"the model {encoder.space.model} gives no usable vector for a grey picture")
