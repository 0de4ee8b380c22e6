"""Puts pictures into a database as a finished import leaves them, without a worker."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from PIL import Image
from sqlalchemy import Engine, text

from clipgres.collections import DEFAULT, Collection, find_or_create
from clipgres.database import transaction
from clipgres.decoding.decode import thumbnail as make_thumbnail
from clipgres.encoder import Encoder, Space
from clipgres.encoders import Encoders
from clipgres.urls import normalise_url

IMAGE_SQL = text("""
    INSERT INTO clipgres.image (url, url_key, host, state, width, height, bytes, content_type)
    VALUES (:url, :url_key, :host, 'ok', :width, :height, 1000, 'image/png')
    RETURNING id
""")
CAPTION_SQL = text("INSERT INTO clipgres.caption (image_id, text) VALUES (:image, :caption)")
THUMBNAIL_SQL = text("INSERT INTO clipgres.thumbnail (image_id, webp) VALUES (:image, :webp)")
JOB_SQL = text("""
    INSERT INTO clipgres.job (collection_id, image_id, key, metadata, status)
    VALUES (:collection, :image, :key, CAST(:metadata AS jsonb), 'ok')
""")
ITEM_SQL = """
    INSERT INTO {items} (key, image_id, metadata, embedding)
    VALUES (:key, :image, CAST(:metadata AS jsonb), CAST(:embedding AS vector))
"""


class FixedEncoders(Encoders):
    """Hands out one encoder, whatever the settings say."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    def default_space(self) -> Space:
        """The space of that encoder."""
        return self._encoder.space

    def of(self, space: Space) -> Encoder:
        """That encoder."""
        return self._encoder


def seed_collection(engine: Engine, encoder: Encoder, name: str = DEFAULT) -> Collection:
    """The collection of this name in the encoder's space."""
    with transaction(engine) as connection:
        return find_or_create(connection, name, encoder.space)


def seed_picture(
    engine: Engine,
    collection: Collection,
    encoder: Encoder,
    picture: Image.Image,
    *,
    url: str,
    captions: Sequence[str] = (),
    key: str | None = None,
    metadata: dict[str, Any] | None = None,
    keep_thumbnail: bool = True,
) -> int:
    """Insert one picture that is searchable from now on; returns its image id."""
    address = normalise_url(url)
    fields = {"url": address.url, "url_key": address.key, "host": address.host}
    [vector] = encoder.images([picture])
    with transaction(engine) as connection:
        size = {"width": picture.width, "height": picture.height}
        image: int = connection.execute(IMAGE_SQL, {**fields, **size}).scalar_one()
        for caption in captions:
            connection.execute(CAPTION_SQL, {"image": image, "caption": caption})
        if keep_thumbnail:
            connection.execute(THUMBNAIL_SQL, {"image": image, "webp": make_thumbnail(picture)})
        row = {"image": image, "key": key or str(image), "metadata": json.dumps(metadata or {})}
        connection.execute(JOB_SQL, {**row, "collection": collection.id})
        embedding = {"embedding": str(vector.tolist())}
        connection.execute(text(ITEM_SQL.format(items=collection.item_table)), {**row, **embedding})
    return image
