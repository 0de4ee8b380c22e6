"""What recall is measured with, taken from one's own data: queries of three kinds, and filters."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import Any

import numpy as np
from sqlalchemy import Connection, text

from clipgres.collections import Collection
from clipgres.errors import NotFound
from clipgres.recall.statements import NAMESPACES_SQL, PICTURES_SQL, TEXTS_SQL
from clipgres.sampling import sample_rows
from clipgres.text_vectors import Vector, model_key

# Of a sample much larger than what is used, since its rows come by pages and neighbours on a page are alike.
SAMPLE_ROWS = 2_000
SMALL_HOST_ROWS = 4


class Kind(StrEnum):
    """Where a query comes from. Texts lie apart from the pictures of an index, and are the harder queries for it."""

    ITEMS = "items"
    CAPTIONS = "captions"
    SEARCHES = "searches"


@dataclass(frozen=True, slots=True)
class Query:
    """A vector to look for; an item itself is left out of what is found."""

    kind: Kind
    vector: Vector
    left_out: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Material:
    """What one measurement is made with; searches go to the namespace that most of the items are in."""

    queries: Sequence[Query]
    namespace: str
    has_other_namespaces: bool
    filters: Sequence[Mapping[str, Any]]


def gather(connection: Connection, collection: Collection, count: int) -> Material:
    """Draw up to `count` queries of each kind, and a few filters that people might use.

    Raises:
        NotFound: the collection is empty.
    """
    columns = "s.id, s.image_id, s.namespace, s.embedding"
    items = sample_rows(connection, collection, collection.item_table, columns, max(SAMPLE_ROWS, 2 * count))
    if not items:
        raise NotFound(f'collection "{collection.name}" is empty: `clipgres add` fills it')
    captions = sample_rows(connection, collection, collection.caption_table, "s.embedding", max(SAMPLE_ROWS, 2 * count))
    namespaces = Counter(row[2] for row in items)
    other = text(NAMESPACES_SQL.format(items=collection.item_table))
    return Material(
        queries=[
            *(Query(Kind.ITEMS, _vector(row[3]), (row[0],)) for row in _some(items, count)),
            *(Query(Kind.CAPTIONS, _vector(row[0])) for row in _some(captions, count)),
            *(Query(Kind.SEARCHES, vector) for vector in _searched(connection, collection, count)),
        ],
        namespace=namespaces.most_common(1)[0][0],
        has_other_namespaces=connection.execute(other).scalar_one(),
        filters=_filters(connection, [row[1] for row in items if row[1] is not None]),
    )


def _some(rows: Sequence[tuple[Any, ...]], count: int) -> Sequence[tuple[Any, ...]]:
    return random.sample(rows, min(count, len(rows)))


def _vector(embedding: Any) -> Vector:
    return np.asarray(embedding.to_numpy(), np.float32)


def _searched(connection: Connection, collection: Collection, count: int) -> list[Vector]:
    """Texts that were searched before, in the same model."""
    space = collection.space
    parameters = {"model": model_key(space), "dimension": space.dimension, "limit": count}
    return [_vector(row.embedding) for row in connection.execute(TEXTS_SQL, parameters)]


def _filters(connection: Connection, image_ids: Sequence[int]) -> list[Mapping[str, Any]]:
    """The largest host and a small one, and the wider half of the pictures."""
    pictures = connection.execute(PICTURES_SQL, {"ids": image_ids}).all()
    hosts = Counter(row.host for row in pictures).most_common()
    widths = [row.width for row in pictures if row.width is not None]
    small = [host for host, rows in hosts[1:] if rows >= SMALL_HOST_ROWS][-1:]
    filters: list[Mapping[str, Any]] = [{"host": host} for host in [hosts[0][0], *small]] if len(hosts) > 1 else []
    if len(set(widths)) > 1:
        filters.append({"width": {"$gt": int(median(widths))}})
    return filters
