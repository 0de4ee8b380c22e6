"""A stand-in for the encoder: same promises, no model, and texts that find the pictures of their colour."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor

from clipgres.encoder import Space, Vectors, unit
from clipgres.preprocess import Pixels, Preprocessing

SIDE = 4
LONGEST = 75


class FakeEncoder:
    """An `Encoder` whose vectors come from a 4 x 4 miniature of a picture, or the words of a text.

    A colour's English name gets the vector of a picture full of it, so `text(["red"])` finds red pictures; any other
    word has a direction of its own. Everything is the same in each process and run.
    """

    def __init__(self, dimension: int = 512, model: str = "fake/encoder", revision: str = "f" * 40) -> None:
        self.space = Space(model=model, revision=revision, preprocessing=f"fake-{SIDE}", dimension=dimension)
        self.preprocessing = Preprocessing(
            SIDE, False, SIDE, Image.Resampling.BOX, scale=1 / 255, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
        )
        self.pictures_seen = 0
        self.texts_seen = 0
        self._projection = np.random.default_rng(0).normal(size=(SIDE * SIDE * 3 + 1, dimension))

    def text(self, texts: Sequence[str]) -> Vectors:
        """See `Encoder`."""
        self.texts_seen += len(texts)
        rows = [sum(map(self._word, _words(text)[:LONGEST]), start=self._word("")) for text in texts]
        return unit(np.array(rows, np.float32).reshape(-1, self.space.dimension))

    def cut(self, texts: Sequence[str]) -> list[bool]:
        """See `Encoder`."""
        return [len(_words(text)) > LONGEST for text in texts]

    def images(self, images: Sequence[Image.Image]) -> Vectors:
        """See `Encoder`."""
        return self.embed([self.preprocessing.prepare(image) for image in images])

    def embed(self, prepared: Sequence[Pixels]) -> Vectors:
        """See `Encoder`."""
        self.pictures_seen += len(prepared)
        flat = np.array(prepared, np.float64).reshape(-1, SIDE * SIDE * 3) / 127.5 - 1
        # The last column keeps a grey picture from being the zero vector.
        rows = np.hstack([flat, np.ones((len(flat), 1))]) @ self._projection
        return unit(rows.astype(np.float32))

    def _word(self, word: str) -> NDArray[np.float64]:
        if word in ImageColor.colormap:
            colour = np.array(ImageColor.getrgb(word)[:3]) / 127.5 - 1
            return np.append(np.tile(colour, SIDE * SIDE), 1) @ self._projection
        seed = int.from_bytes(hashlib.sha256(word.encode("utf-8", "replace")).digest()[:8], "big")
        return np.random.default_rng(seed).normal(size=self.space.dimension)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
