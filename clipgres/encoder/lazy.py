"""Loading a model when it is first needed, in the process that needs it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import cast

from PIL import Image

from clipgres.encoder.api import Encoder, Vectors
from clipgres.errors import ModelError
from clipgres.model_files import ModelFiles, open_model
from clipgres.models import Space, preprocessing_of, read_space
from clipgres.preprocess import Pixels, Preprocessing
from clipgres.settings import DEFAULT_MODEL, Settings, default_home


def load_encoder(
    model: str = DEFAULT_MODEL,
    revision: str | None = None,
    *,
    device: str = "auto",
    threads: int | None = None,
    home: Path | None = None,
    batch: int = 32,
) -> Encoder:
    """Load a CLIP model: `tiny-clip`, a directory, or a hub id with its 40-hex revision.

    `threads` is for the CPU (none: one a core), `home` keeps converted weights, `batch` is one run of the model.

    Raises:
        ModelError: it cannot be loaded; the text says what to do.
    """
    files = open_model(model, revision)
    return _load(files, device=device, threads=threads, home=home or default_home(), batch=batch)


class LazyEncoder:
    """An `Encoder` that knows its space at once and loads the model on first use, after any fork.

    Raises:
        ModelError: at once for a model that is not there, on first use for weights that cannot be loaded.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._files = open_model(settings.model, settings.model_revision)
        self._preprocessing = preprocessing_of(self._files)
        self._space = read_space(self._files)
        self._lock = Lock()
        self._encoder: Encoder | None = None

    @property
    def space(self) -> Space:
        """The space, without loading."""
        return self._space

    @property
    def preprocessing(self) -> Preprocessing:
        """See `Encoder`; loads nothing."""
        return self._preprocessing

    @property
    def is_loaded(self) -> bool:
        """Whether the model is in memory."""
        return self._encoder is not None

    def load(self) -> Encoder:
        """The loaded encoder; the first call takes seconds, others wait for it."""
        with self._lock:
            if self._encoder is None:
                settings = self._settings
                self._encoder = _load(
                    open_model(settings.model, settings.model_revision),
                    device=settings.device,
                    threads=settings.threads,
                    home=settings.home,
                    batch=settings.model_batch,
                    expected=self._space,
                )
            return self._encoder

    def text(self, texts: Sequence[str]) -> Vectors:
        """See `Encoder`."""
        return self.load().text(texts)

    def cut(self, texts: Sequence[str]) -> list[bool]:
        """See `Encoder`."""
        return self.load().cut(texts)

    def images(self, images: Sequence[Image.Image]) -> Vectors:
        """See `Encoder`."""
        return self.embed([self._preprocessing.prepare(image) for image in images])

    def embed(self, prepared: Sequence[Pixels]) -> Vectors:
        """See `Encoder`."""
        return self.load().embed(prepared)


def _load(
    files: ModelFiles,
    *,
    device: str,
    threads: int | None,
    home: Path,
    batch: int,
    expected: Space | None = None,
) -> Encoder:
    space = read_space(files)
    if expected is not None and space != expected:
        raise ModelError(f"the model {space.model} has changed since this process started: restart it")
    # Read once, when torch loads its OpenMP. Threads that wait by spinning starve each other when the database or
    # another model is busy on the same cores: in four pairs of runs on 2 such cores, a text took 71 to 279 ms (p90 750
    # to 1,080) with spinning threads and 18 to 57 ms (p90 21 to 102) with sleeping ones.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # By name, here and nowhere else: torch and transformers take seconds and hundreds of MB, which the command line
    # and a process that only asks for the space must not pay.
    clip = import_module("clipgres.encoder.clip")
    threads = threads or len(os.sched_getaffinity(0))
    return cast(Encoder, clip.load_clip(files, space, device=device, threads=threads, home=home, batch=batch))
