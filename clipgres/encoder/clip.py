"""The real encoder: a transformers CLIPModel on CPU or CUDA."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from PIL import Image
from transformers import CLIPModel

from clipgres.encoder.api import Vectors, unit
from clipgres.encoder.device import on_device
from clipgres.encoder.precision import bf16_is_fast, use_bf16
from clipgres.encoder.tokens import Tokens, load_tokens
from clipgres.encoder.weights import load_weights
from clipgres.errors import ModelError
from clipgres.model_files import ModelFiles
from clipgres.models import Space, preprocessing_of
from clipgres.preprocess import Pixels, Preprocessing

LOG = logging.getLogger(__name__)
PROBE_TEXTS = ("a photo of two dogs", "red", "an old man reads a newspaper on a bench in the park, 1957", "")


class ClipEncoder:
    """See `Encoder`: one model on one device, one run at a time."""

    def __init__(
        self, model: CLIPModel, tokens: Tokens, preprocessing: Preprocessing, space: Space, *, batch: int
    ) -> None:
        self._model = model
        self._tokens = tokens
        self._preprocessing = preprocessing
        self._space = space
        self._batch = batch
        self._lock = Lock()
        mean, std = torch.tensor([preprocessing.mean, preprocessing.std], device=model.device).view(2, 1, 3, 1, 1)
        self._factor, self._offset = preprocessing.scale / std, -mean / std

    @property
    def space(self) -> Space:
        """See `Encoder`."""
        return self._space

    @property
    def preprocessing(self) -> Preprocessing:
        """See `Encoder`."""
        return self._preprocessing

    def text(self, texts: Sequence[str]) -> Vectors:
        """See `Encoder`."""
        ids = self._tokens.ids(texts)
        vectors = np.zeros((len(ids), self._space.dimension), np.float32)
        # Alike in length, so that little is padded: a short text takes 0.66 of the time of one padded to 77 (float32).
        for rows in _groups(sorted(range(len(ids)), key=lambda row: len(ids[row])), self._batch):
            vectors[rows] = on_device(partial(self._run_text, [ids[row] for row in rows]))
        return unit(vectors)

    def cut(self, texts: Sequence[str]) -> list[bool]:
        """See `Encoder`."""
        return [length > self._tokens.limit for length in self._tokens.lengths(texts)]

    def images(self, images: Sequence[Image.Image]) -> Vectors:
        """See `Encoder`."""
        return self.embed([self._preprocessing.prepare(image) for image in images])

    def embed(self, prepared: Sequence[Pixels]) -> Vectors:
        """See `Encoder`."""
        vectors = np.zeros((len(prepared), self._space.dimension), np.float32)
        for rows in _groups(range(len(prepared)), self._batch):
            vectors[rows] = on_device(partial(self._run_images, np.stack([prepared[row] for row in rows])))
        return unit(vectors)

    def _run_text(self, ids: list[list[int]]) -> Vectors:
        # No mask: attention looks only back and the model pools at the first end, so what pads after it is never seen.
        longest = max(map(len, ids))
        padded = torch.tensor([row + row[-1:] * (longest - len(row)) for row in ids], device=self._model.device)
        with self._lock, torch.inference_mode():
            pooled = self._model.text_model(input_ids=padded).pooler_output
            return _to_numpy(self._model.text_projection(pooled.float()))

    def _run_images(self, pixels: Pixels) -> Vectors:
        device = self._model.device
        with self._lock, torch.inference_mode():
            values = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2)
            values = torch.addcmul(self._offset, values.float(), self._factor)
            pooled = self._model.vision_model(pixel_values=values).pooler_output
            return _to_numpy(self._model.visual_projection(pooled.float()))


def load_clip(files: ModelFiles, space: Space, *, device: str, threads: int, home: Path, batch: int) -> ClipEncoder:
    """Load the model that these files make.

    Raises:
        ModelError: it cannot be; the text says what to do.
    """
    torch.set_num_threads(threads)
    target = _device(device)
    model = load_weights(files, home)
    torch.nn.Module.to(model, target)
    tokens = load_tokens(files, model.text_model.config)
    preprocessing = preprocessing_of(files)
    encoder = ClipEncoder(model, tokens, preprocessing, space, batch=batch)
    if bf16_is_fast(target):
        pictures = probe_pictures(preprocessing.side)
        use_bf16(model, lambda: encoder.embed(pictures), lambda: encoder.text(PROBE_TEXTS))
    types = (str(tower.dtype).removeprefix("torch.") for tower in (model.vision_model, model.text_model))
    LOG.info("loaded %s on %s, pictures in %s, texts in %s", space.describe(), target, *types)
    return encoder


def probe_pictures(side: int) -> list[Pixels]:
    """Four fixed pictures unlike each other: a ramp, a checkerboard, noise and a flat colour."""
    y, x = np.mgrid[0:side, 0:side]
    ramp = np.stack([x * 255 // side, y * 255 // side, (x + y) * 127 // side], axis=-1)
    checks = np.repeat(((x // 8 + y // 8) % 2 * 255)[..., None], 3, axis=-1)
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3))
    flat = np.full((side, side, 3), (200, 40, 90))
    return [picture.astype(np.uint8) for picture in (ramp, checks, noise, flat)]


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ModelError(f"CLIPGRES_DEVICE is {name}, but torch finds no CUDA device here: set it to auto or cpu")
    return torch.device(name)


def _groups(rows: Sequence[int], size: int) -> Iterator[list[int]]:
    return (list(rows[start : start + size]) for start in range(0, len(rows), size))


def _to_numpy(tensor: torch.Tensor) -> Vectors:
    return tensor.float().cpu().numpy()
