"""Embedding many inputs of which one may be what the model fails on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

from clipgres.encoder.api import Vectors, usable
from clipgres.errors import ModelError

log = logging.getLogger(__name__)
T = TypeVar("T")


def by_halves(embed: Callable[[Sequence[T]], Vectors], inputs: Sequence[T]) -> list[Vectors | None]:
    """The vectors of inputs, None for one the model gives no usable vector for.

    A batch it fails on, for want of memory or because of one input, is halved until it passes.

    Raises:
        ModelError: the model cannot be loaded, or its device is lost.
    """
    vectors = _tried(embed, inputs)
    if vectors is not None:
        return [vector if is_usable else None for vector, is_usable in zip(vectors, usable(vectors), strict=True)]
    if len(inputs) == 1:
        return [None]
    middle = len(inputs) // 2
    return [*by_halves(embed, inputs[:middle]), *by_halves(embed, inputs[middle:])]


def _tried(embed: Callable[[Sequence[T]], Vectors], inputs: Sequence[T]) -> Vectors | None:
    """The vectors, or None where the model fails; the error is gone by then, with all the memory that it holds."""
    try:
        return embed(inputs)
    except ModelError:
        raise
    except Exception as error:
        if len(inputs) == 1:
            log.warning("the model failed on an input: %s", error)
        return None
