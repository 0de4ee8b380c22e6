"""The vectors of captions: a row of `caption_job` says that those of an image are wanted, and goes once they are there.

The row is held from the claim to the commit: a worker that is killed leaves it behind, and no other takes it meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from pgvector import HalfVector
from sqlalchemy import Connection, Engine, text

from clipgres.collections import Collection
from clipgres.database import transaction
from clipgres.encoder import Encoder, Vectors, by_halves
from clipgres.errors import ModelError

log = logging.getLogger(__name__)

# An import that adds captions to one of the images in hand waits for it, so they are few.
CLAIMED_IMAGES = 64
# However many captions an image has, so many are in the model's hands and then written: seconds of a transaction,
# which the server ends after half a minute without a word.
EMBEDDED_CAPTIONS = 128
PLAIN_TEXT = "a photo of a dog"

WAITING_SQL = text("""
    SELECT c.id
    FROM clipgres.collection c
    WHERE c.state = 'ready' AND c.paused_at IS NULL
      AND EXISTS (SELECT FROM clipgres.caption_job w WHERE w.collection_id = c.id)
    ORDER BY c.id
""")
ARE_WAITING_SQL = text("SELECT EXISTS (SELECT FROM clipgres.caption_job WHERE collection_id = :collection)")
CLAIM_SQL = text("""
    WITH claimed AS MATERIALIZED (
        SELECT collection_id, image_id FROM clipgres.caption_job
        WHERE collection_id = :collection
        ORDER BY image_id
        LIMIT :limit
        FOR UPDATE SKIP LOCKED
    )
    DELETE FROM clipgres.caption_job w
    USING claimed
    WHERE w.collection_id = claimed.collection_id AND w.image_id = claimed.image_id
    RETURNING w.image_id
""")
# Read after the claim, by a statement of its own: whoever left the row that was claimed had written its captions.
MISSING_SQL = """
    SELECT c.id, c.image_id, c.text
    FROM clipgres.caption c
    WHERE c.image_id = ANY (:images) AND NOT EXISTS (SELECT FROM {captions} e WHERE e.caption_id = c.id)
    ORDER BY c.image_id, c.id
"""
WRITE_SQL = """
    INSERT INTO {captions} (caption_id, image_id, embedding)
    VALUES (:caption, :image, CAST(:embedding AS halfvec))
    ON CONFLICT (caption_id) DO NOTHING
"""


def collections_with_captions(connection: Connection) -> Sequence[int]:
    """The collections in which captions wait for their vectors, by id; none that is paused."""
    return connection.execute(WAITING_SQL).scalars().all()


def are_captions_waiting(connection: Connection, collection_id: int) -> bool:
    """Whether captions of a collection wait for their vectors, or are in anybody's hands."""
    answer: bool = connection.execute(ARE_WAITING_SQL, {"collection": collection_id}).scalar_one()
    return answer


def embed_captions(engine: Engine, collection: Collection, encoder: Encoder, limit: int = CLAIMED_IMAGES) -> int:
    """Embed the captions of up to `limit` images that wait for it, all or none; returns how many images.

    Captions that the model makes nothing of have no vector and are left out.

    Raises:
        ModelError: the model cannot be used.
        Unavailable: the database is away.
    """
    with transaction(engine) as connection:
        images = connection.execute(CLAIM_SQL, {"collection": collection.id, "limit": limit}).scalars().all()
        if images:
            _embed(connection, collection, encoder, images)
    return len(images)


def _embed(connection: Connection, collection: Collection, encoder: Encoder, images: Sequence[int]) -> None:
    names = {"captions": collection.caption_table}
    rows = connection.execute(text(MISSING_SQL.format(**names)), {"images": list(images)}).all()
    for start in range(0, len(rows), EMBEDDED_CAPTIONS):
        part = rows[start : start + EMBEDDED_CAPTIONS]
        vectors = _vectors([row.text for row in part], encoder)
        written = [
            {"caption": row.id, "image": row.image_id, "embedding": HalfVector(vector)}
            for row, vector in zip(part, vectors, strict=True)
            if vector is not None
        ]
        if written:
            connection.execute(text(WRITE_SQL.format(**names)), written)
        if len(written) < len(part):
            log.warning("%s: %d captions get no vector", collection.name, len(part) - len(written))


def _vectors(texts: Sequence[str], encoder: Encoder) -> list[Vectors | None]:
    """The vectors of texts, None where the texts are to blame that there is no usable one."""
    vectors = by_halves(encoder.text, texts)
    if any(vector is None for vector in vectors) and by_halves(encoder.text, [PLAIN_TEXT])[0] is None:
        raise ModelError(f"the model {encoder.space.model} gives no usable vector for any text; the log says why")
    return vectors
