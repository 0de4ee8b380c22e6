"""The models of a process: one loaded for each space that its collections need."""

from __future__ import annotations

from threading import Lock

from clipgres.encoder import Encoder, LazyEncoder
from clipgres.errors import ModelError
from clipgres.model_files import TINY
from clipgres.models import Space, describe_model
from clipgres.settings import Settings


class Encoders:
    """Hands out encoders by space and keeps them; safe to ask from many threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = Lock()
        self._encoders: dict[Space, LazyEncoder] = {}

    def default_space(self) -> Space:
        """The space of the model that the settings name: what a new collection gets.

        Raises:
            ModelError: it is not on this machine and cannot be had.
        """
        return describe_model(self._settings.model, self._settings.model_revision)

    def of(self, space: Space) -> Encoder:
        """The encoder of a space; its model is loaded when it is first used.

        Raises:
            ModelError: this machine has no such model, or another revision of it: two spaces never mix.
        """
        with self._lock:
            if space not in self._encoders:
                self._encoders[space] = self._open(space)
            return self._encoders[space]

    def loaded(self) -> list[Space]:
        """The spaces whose models are in memory."""
        return [space for space, encoder in self._encoders.items() if encoder.is_loaded]

    def _open(self, space: Space) -> LazyEncoder:
        # A directory's name says nothing about where it lies on this machine: only the settings do.
        is_named = space.model == TINY or "/" in space.model
        named = {"model": space.model, "model_revision": space.revision}
        encoder = LazyEncoder(self._settings.model_copy(update=named) if is_named else self._settings)
        if encoder.space != space:
            raise ModelError(
                f"the collection's vectors are of {space.describe()}, this machine has {encoder.space.describe()}: "
                "set CLIPGRES_MODEL to the former, or make a new collection"
            )
        return encoder
