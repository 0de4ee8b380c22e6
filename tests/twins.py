"""Fills collections with pictures that are alike: the same URL behind others, the same bytes, or nearly the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
from sqlalchemy import Engine, text

from clipgres.collections import Collection
from clipgres.database import transaction
from clipgres.urls import normalise_url
from tests.vectors import put

# Half of its bits are set, and no two rows are alike.
DETAILED = 0x1E2D3C4B5A69788
_numbers = count(1)

IMAGE_SQL = text("""
    INSERT INTO clipgres.image (url, url_key, host, state, width, height, bytes, sha256, phash, final_url)
    VALUES (:url, :url_key, :host, 'ok', 64, 48, 1000, :sha256, :phash, :final_url)
    ON CONFLICT (url_key) DO UPDATE SET url = excluded.url
    RETURNING id
""")
JOB_SQL = text("""
    INSERT INTO clipgres.job (collection_id, image_id, key, namespace, status)
    VALUES (:collection, :image, :key, :namespace, 'ok')
""")


@dataclass(frozen=True)
class Picture:
    """A picture to be put: what is not said is like no other's."""

    key: str
    vector: Sequence[float] = (1.0, 0.0, 0.0)
    phash: int = DETAILED
    file: str | None = None
    url: str | None = None
    moved_to: str | None = None
    namespace: str = ""


def put_pictures(engine: Engine, collection: Collection, pictures: Iterable[Picture]) -> list[int]:
    """Write images that are there, with their jobs and items; returns the image ids."""
    ids = []
    with transaction(engine) as connection:
        for picture in pictures:
            name = f"{picture.key}-{next(_numbers)}"
            address = normalise_url(picture.url or f"http://a.org/{name}")
            fields = {
                "url": address.url,
                "url_key": address.key,
                "host": address.host,
                "sha256": hashlib.sha256((picture.file or name).encode()).digest(),
                "phash": picture.phash,
                "final_url": picture.moved_to,
            }
            image = connection.execute(IMAGE_SQL, fields).scalar_one()
            job = {"collection": collection.id, "image": image, "key": picture.key, "namespace": picture.namespace}
            connection.execute(JOB_SQL, job)
            vector = np.asarray(picture.vector, np.float32)
            put(connection, collection, picture.key, vector.tolist(), namespace=picture.namespace, image=image)
            ids.append(int(image))
    return ids


def flipped(phash: int, bits: int, seed: int = 0) -> int:
    """A hash that differs in so many bits."""
    places = np.random.default_rng(seed).permutation(63)[:bits]
    return int(phash ^ sum(1 << int(place) for place in places))
