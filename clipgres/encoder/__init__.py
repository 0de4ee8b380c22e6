"""Texts and pictures to unit vectors of one space: the only package that imports torch, and only to load a model."""

from clipgres.encoder.api import Encoder, Vectors, unit, usable
from clipgres.encoder.halves import by_halves
from clipgres.encoder.lazy import LazyEncoder, load_encoder
from clipgres.models import Space

__all__ = ["Encoder", "LazyEncoder", "Space", "Vectors", "by_halves", "load_encoder", "unit", "usable"]
