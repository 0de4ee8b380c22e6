"""One item with all that is known of it, and the small pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from clipgres import collections
from clipgres.errors import NotFound
from clipgres.reasons import Reason

ITEM_SQL = """
    SELECT i.key, i.namespace, i.metadata, i.image_id, i.created_at, im.url, im.host, im.width, im.height, im.bytes,
           im.content_type, nullif(im.state, 'new') = 'ok' AS alive, im.reason, im.final_url,
           im.last_seen_alive, im.changed_at, im.checked_at, im.next_check,
           ARRAY(SELECT c.text FROM clipgres.caption c WHERE c.image_id = i.image_id ORDER BY c.id) AS captions,
           EXISTS (SELECT FROM clipgres.thumbnail t WHERE t.image_id = i.image_id) AS has_thumbnail
    FROM {items} i
    LEFT JOIN clipgres.image im ON im.id = i.image_id
    WHERE i.namespace = :namespace AND i.key = :key
"""

THUMBNAILS_SQL = text("SELECT image_id, webp FROM clipgres.thumbnail WHERE image_id = ANY (CAST(:ids AS bigint[]))")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """An item of a collection; without an image (a plain vector) the picture's facts are None.

    Where it is not `alive`, the `reason` says why; `final_url` is where it has moved for good.
    """

    key: str
    namespace: str
    url: str | None
    captions: Sequence[str]
    width: int | None
    height: int | None
    host: str | None
    metadata: Mapping[str, Any]
    image_id: int | None
    has_thumbnail: bool
    bytes: int | None
    content_type: str | None
    created_at: datetime
    alive: bool | None
    reason: Reason | None
    final_url: str | None
    last_seen_alive: datetime | None
    changed_at: datetime | None
    checked_at: datetime | None
    next_check: datetime | None

    @property
    def caption(self) -> str | None:
        """The first caption."""
        return self.captions[0] if self.captions else None


def find_item(connection: Connection, collection: str, key: str, namespace: str = "") -> Item:
    """Read one item.

    Raises:
        NotFound: there is no such collection, or no such item in it.
    """
    statement = text(ITEM_SQL.format(items=collections.find(connection, collection).item_table))
    row = connection.execute(statement, {"namespace": namespace, "key": key}).mappings().first()
    if row is None:
        raise NotFound(f'there is no item "{key[:60]}" in collection "{collection}"')
    return Item(**{**row, "reason": row["reason"] and Reason.stored_as(row["reason"])})


def thumbnails(connection: Connection, image_ids: Sequence[int]) -> dict[int, bytes]:
    """The WebP files of those images that have one, by id."""
    rows = connection.execute(THUMBNAILS_SQL, {"ids": list(image_ids)})
    return {row.image_id: bytes(row.webp) for row in rows}


def thumbnail(connection: Connection, image_id: int) -> bytes:
    """The WebP file of one image, short side 256 px.

    Raises:
        NotFound: it has none.
    """
    found = thumbnails(connection, [image_id])
    if image_id not in found:
        raise NotFound(f"there is no thumbnail of image {image_id}")
    return found[image_id]
