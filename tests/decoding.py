"""Decoder processes that all tests of a run share: to start them takes longer than most pictures."""

from __future__ import annotations

from functools import cache

from PIL import Image

from clipgres.decoding.pool import Decoders
from clipgres.preprocess import Preprocessing
from clipgres.settings import Settings

SQUARE = Preprocessing(32, True, 32, Image.Resampling.BICUBIC, 1 / 255, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@cache
def shared_decoders() -> Decoders:
    """Two decoders with the limits that are the default."""
    return Decoders(Settings(), processes=2)
