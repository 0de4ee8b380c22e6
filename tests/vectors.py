"""Fills collections with vectors, and says what is nearest by plain arithmetic."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector
from sqlalchemy import Connection, Engine, text

from clipgres import collections
from clipgres.collections import Collection
from clipgres.database import driver_connection, transaction
from clipgres.models import Space

Array = NDArray[np.float32]

IMAGES_SQL = text("""
    INSERT INTO clipgres.image (url, url_key, host, state, width, height, bytes, content_type, last_seen_alive)
    SELECT 'http://' || host || '/' || n, sha256(n::text::bytea), host, 'ok', 100 + n, 100, n, 'image/jpeg', now()
    FROM (SELECT n, 'host-' || n % 10 || '.org' AS host FROM generate_series(0, :count - 1) n) made
    ORDER BY n
    RETURNING id
""")
CAPTION_SQL = text("INSERT INTO clipgres.caption (image_id, text) VALUES (:image, :text)")
ITEM_SQL = """
    INSERT INTO {items} (namespace, key, image_id, metadata, embedding)
    VALUES (:namespace, :key, :image, CAST(:metadata AS jsonb), CAST(:embedding AS halfvec))
    RETURNING id
"""
CAPTIONS_SQL = text("""
    INSERT INTO clipgres.caption (image_id, text)
    SELECT image, 'caption ' || place FROM unnest(CAST(:images AS bigint[])) WITH ORDINALITY AS made (image, place)
    ORDER BY place
    RETURNING id
""")
BUILD_SQL = "CREATE INDEX {how} {index} ON {items} USING hnsw (embedding halfvec_cosine_ops)"


def small_space(dimension: int = 4) -> Space:
    """A space of a model that needs not be there."""
    return Space(model="small", revision="0" * 40, preprocessing="none", dimension=dimension)


def make_collection(engine: Engine, dimension: int = 4, name: str = "default") -> Collection:
    """An empty collection."""
    with transaction(engine) as connection:
        return collections.create(connection, name, small_space(dimension))


def put(
    connection: Connection,
    collection: Collection,
    key: str,
    vector: Sequence[float],
    *,
    metadata: dict[str, Any] | None = None,
    namespace: str = "",
    image: int | None = None,
) -> int:
    """Write one item and return its id."""
    values = {"namespace": namespace, "key": key, "image": image, "metadata": json.dumps(metadata or {})}
    statement = text(ITEM_SQL.format(items=collection.item_table))
    id_: int = connection.execute(statement, {**values, "embedding": HalfVector(vector)}).scalar_one()
    return id_


def put_images(connection: Connection, count: int) -> list[int]:
    """Write images of `100 + n` x 100 px on ten hosts and return their ids."""
    return list(connection.execute(IMAGES_SQL, {"count": count}).scalars())


def put_caption(connection: Connection, image: int, caption: str) -> None:
    """Give an image a caption."""
    connection.execute(CAPTION_SQL, {"image": image, "text": caption})


def fill(engine: Engine, collection: Collection, vectors: Array, *, with_images: bool = False) -> None:
    """Write `vectors`, keys 0, 1, 2 ..., metadata `n` and `group` (n modulo 100), and analyse the table."""
    copy_sql = f"COPY {collection.item_table} (key, image_id, metadata, embedding) FROM STDIN"
    with transaction(engine) as connection:
        images = put_images(connection, len(vectors)) if with_images else [None] * len(vectors)
        with driver_connection(connection).cursor().copy(copy_sql) as copy:
            for n, vector in enumerate(vectors):
                metadata = json.dumps({"n": n, "group": n % 100})
                copy.write_row((str(n), images[n], metadata, HalfVector(vector).to_text()))
        connection.execute(text(f"ANALYZE {collection.item_table}"))


def fill_captions(
    engine: Engine, collection: Collection, per_item: Sequence[Sequence[Sequence[float] | Array]]
) -> None:
    """Give the first items, in order of id, captions with these vectors, and analyse the table of them."""
    images_sql = text(f"SELECT image_id FROM {collection.item_table} ORDER BY id LIMIT :count")
    with transaction(engine) as connection:
        of_items = connection.execute(images_sql, {"count": len(per_item)}).scalars()
        made = [(image, vector) for image, vectors in zip(of_items, per_item, strict=True) for vector in vectors]
        ids = connection.execute(CAPTIONS_SQL, {"images": [image for image, _ in made]}).scalars().all()
        copy_sql = f"COPY {collection.caption_table} (caption_id, image_id, embedding) FROM STDIN"
        with driver_connection(connection).cursor().copy(copy_sql) as copy:
            for caption, (image, vector) in zip(ids, made, strict=True):
                copy.write_row((caption, image, HalfVector(np.asarray(vector)).to_text()))
        connection.execute(text(f"ANALYZE {collection.caption_table}"))


def build_index(engine: Engine, collection: Collection) -> None:
    """Make the collection's HNSW index."""
    with transaction(engine) as connection:
        connection.execute(text(BUILD_SQL.format(how="", **index_names(collection))))


def build_caption_index(engine: Engine, collection: Collection) -> None:
    """Make the HNSW index of the collection's captions."""
    names = {"index": collection.caption_index_name, "items": collection.caption_table}
    with transaction(engine) as connection:
        connection.execute(text(BUILD_SQL.format(how="", **names)))


def index_names(collection: Collection) -> dict[str, str]:
    """What stands in the statement that makes its index."""
    return {"index": collection.index_name, "items": collection.item_table}


def make_indexed(engine: Engine, dimension: int) -> tuple[Collection, Array]:
    """A collection of 1,000 rows with images and an index, and its vectors."""
    collection, vectors = make_collection(engine, dimension), clustered(1_000, dimension)
    fill(engine, collection, vectors, with_images=True)
    build_index(engine, collection)
    return collection, vectors


def clustered(count: int, dimension: int, seed: int = 0) -> Array:
    """Unit vectors in clusters, as pictures are, rounded to half precision as the table holds them."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(max(count // 50, 1), dimension))
    vectors = centres[random.integers(0, len(centres), count)] + 0.7 * random.normal(size=(count, dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16).astype(np.float32)


def nearest(vectors: Array, query: Array, k: int, among: NDArray[np.bool_] | None = None) -> list[str]:
    """The keys of the `k` nearest rows, in order, by exact arithmetic."""
    half = query.astype(np.float16).astype(np.float32)
    scores = vectors @ half / np.linalg.norm(vectors, axis=1) / np.linalg.norm(half)
    candidates = np.arange(len(vectors)) if among is None else np.flatnonzero(among)
    return [str(n) for n in candidates[np.argsort(-scores[candidates], kind="stable")][:k]]
