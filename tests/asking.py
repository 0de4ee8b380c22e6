"""Asks a collection for what is near a vector, and for page after page of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from redis import Redis
from sqlalchemy import Engine

from clipgres.answer import Answer
from clipgres.collections import Collection
from clipgres.encoders import Encoders
from clipgres.fetching import Fetcher
from clipgres.query import QueryVector
from clipgres.request import SearchRequest, parse_request
from clipgres.search import Searcher, search
from clipgres.settings import Settings
from tests.decoding import shared_decoders
from tests.fakes import FakeEncoder
from tests.seed import FixedEncoders
from tests.vectors import Array

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


def make_searcher(engine: Engine, redis: Redis | None, encoders: Encoders | None = None) -> Searcher:
    """A searcher of this database whose pages are kept in this Redis."""
    settings = Settings()
    encoders = encoders or FixedEncoders(FakeEncoder(4))
    return Searcher(engine, encoders, Fetcher(settings), shared_decoders(), settings, redis)


def request_for(vector: Array | Sequence[float], **fields: Any) -> SearchRequest:
    """A request for what is near a vector."""
    return parse_request({"vector": np.asarray(vector).tolist(), **fields})


def next_page(searcher: Searcher, answer: Answer) -> Answer:
    """The page after an answer."""
    return searcher.search(parse_request({"cursor": answer.next}))


def all_pages(searcher: Searcher, request: SearchRequest) -> Iterator[Answer]:
    """Every page of a search, one after the other."""
    answer = searcher.search(request)
    yield answer
    while answer.next:
        answer = next_page(searcher, answer)
        yield answer
