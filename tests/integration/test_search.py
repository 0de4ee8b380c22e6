"""Search: the plan that is chosen, the rows it finds, and what the answer says of itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, text

from clipgres.answer import Answer
from clipgres.collections import Collection
from clipgres.database import transaction
from clipgres.errors import BadRequest, Unavailable
from clipgres.filters import compile_filter
from clipgres.plans import EXACT_SQL, INDEX_SQL
from clipgres.query import QueryVector
from clipgres.request import parse_request
from clipgres.search import search
from clipgres.settings import Settings
from tests.vectors import Array, build_index, clustered, fill, make_collection, nearest, put, put_caption, put_images

DIMENSION = 32


def ask(engine: Engine, collection: Collection, vector: Array | list[float], **fields: Any) -> Answer:
    """Search for a vector."""
    request = parse_request({"text": "-", **fields})
    query = QueryVector(vector=np.asarray(vector, np.float32))
    return search(engine, request, query, collection, Settings())


def keys(answer: Answer) -> list[str]:
    return [hit.key for hit in answer.hits]


def test_an_empty_collection_answers_nothing(engine: Engine) -> None:
    answer = ask(engine, make_collection(engine), [1, 0, 0, 0])
    assert (keys(answer), answer.plan.method, answer.plan.matched) == ([], "exact", 0)


def test_exact_search_is_what_arithmetic_says(engine: Engine) -> None:
    collection, vectors = make_collection(engine, DIMENSION), clustered(500, DIMENSION)
    fill(engine, collection, vectors)
    for query in clustered(10, DIMENSION, seed=1):
        assert keys(ask(engine, collection, query, top_k=50)) == nearest(vectors, query, 50)
