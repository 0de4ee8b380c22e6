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
        self._default: Space | None = None

    def default_space(self) -> Space:
        """The space of the model that the settings name: what a new collection gets.

        Raises:
            ModelError: it is not on this machine and cannot be had.
        """
        # Kept, since the revision of a directory is a hash of all its weights: 0.4 s for 600 MB.
        if self._default is None:
            self._default = describe_model(self._settings.model, self._settings.model_revision)
        return self._default

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
        # Of a copy, made in one step: another thread may be adding one, and holds the lock while it reads files.
        return [space for space, encoder in list(self._encoders.items()) if encoder.is_loaded]

    def _open(self, space: Space) -> LazyEncoder:
        # A directory's name says nothing about where it lies on this machine: only the settings do.
        is_named = space.model == TINY or "/" in space.model
        named = {"model": space.model, "model_revision": space.revision}
        if not is_named:
            _check(space, self.default_space())  # before all of its weights are read once more
        encoder = LazyEncoder(self._settings.model_copy(update=named) if is_named else self._settings)
        _check(space, encoder.space)
        return encoder


def _check(wanted: Space, here: Space) -> None:
    if here != wanted:
        raise ModelError(
            f"the collection's vectors are of {wanted.describe()}, this machine has {here.describe()}: "
            "set CLIPGRES_MODEL to the former, or make a new collection"
        )
