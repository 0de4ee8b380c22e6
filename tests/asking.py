"""Asks a collection for what is near a vector."""

from __future__ import annotations

from typing import Any

import numpy as np
from sqlalchemy import Engine

from clipgres.answer import Answer
from clipgres.collections import Collection
from clipgres.query import QueryVector
from clipgres.request import parse_request
from clipgres.search import search
from clipgres.settings import Settings
from tests.vectors import (
    Array,
)

DIMENSION = 32


def ask(
    engine: Engine,
    collection: Collection,
    vector: Array | list[float],
    *,
    left_out: list[int] | None = None,
    settings: Settings | None = None,
    **fields: Any,
) -> Answer:
    """Search for a vector."""
    request = parse_request({"text": "-", **fields})
    query = QueryVector(vector=np.asarray(vector, np.float32), left_out=left_out or [])
    return search(engine, request, query, collection, settings or Settings())


def keys(answer: Answer) -> list[str]:
    """What was found, in order."""
    return [hit.key for hit in answer.hits]
