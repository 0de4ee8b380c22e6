"""What an encoder promises, and the two rules that every vector passes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clipgres.models import Space
from clipgres.preprocess import Pixels, Preprocessing

Vectors = NDArray[np.float32]


class Encoder(Protocol):
    """Safe to call from many threads. Vectors are float32 [n, dimension], unit length, in the order asked.

    A row the model could not make sense of is not finite or zero: `usable` tells, and none may reach the database.
    """

    @property
    def space(self) -> Space:
        """The model, revision, preprocessing and dimension: two encoders of one space are interchangeable."""

    @property
    def preprocessing(self) -> Preprocessing:
        """How a picture becomes the small square that the model sees; needs no model."""

    def text(self, texts: Sequence[str]) -> Vectors:
        """The vectors of texts; a text longer than the model reads is cut at its limit."""

    def cut(self, texts: Sequence[str]) -> list[bool]:
        """Which of the texts are longer than the model reads."""

    def images(self, images: Sequence[Image.Image]) -> Vectors:
        """The vectors of pictures: `embed` of each as its preprocessing makes it."""

    def embed(self, prepared: Sequence[Pixels]) -> Vectors:
        """The vectors of prepared pictures."""


def unit(vectors: Vectors) -> Vectors:
    """The same directions at length one; a zero row stays zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    result: Vectors = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths != 0)
    return result


def usable(vectors: Vectors) -> NDArray[np.bool_]:
    """Which rows are real vectors of unit length: not NaN, not infinite, not zero."""
    with np.errstate(invalid="ignore", over="ignore"):
        mask: NDArray[np.bool_] = np.abs(np.linalg.norm(vectors, axis=1) - 1) < 1e-3
    return mask
