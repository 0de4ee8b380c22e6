"""The vectors of texts that are asked for: kept in the process and in the database, so that a repeat runs no model."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, text

from clipgres.database import transaction
from clipgres.encoder.api import Encoder, usable
from clipgres.encoders import Encoders
from clipgres.errors import BadRequest, NotPermitted
from clipgres.models import Space

Vector = NDArray[np.float32]

# Long texts are cut here before the model cuts them at its own limit, which none of more than 77 tokens reaches.
READ_CHARS = 10_000
KEPT_IN_PROCESS = 2_000
# Of each model; 0.25 GB at 512 dimensions.
KEPT_IN_DATABASE = 100_000

# Normalised by the server, as `clip_text` does it: what white space is depends on the database's locale.
FIND_SQL = text(r"""
    SELECT embedding, used_at < now() - interval '1 day' AS is_old
    FROM clipgres.query_embedding
    WHERE model = :model AND text_key = CAST(md5(btrim(regexp_replace(:text, '\s+', ' ', 'g'))) AS uuid)
""")
KEEP_SQL = text(r"""
    INSERT INTO clipgres.query_embedding (model, text, embedding)
    VALUES (:model, btrim(regexp_replace(:text, '\s+', ' ', 'g')), CAST(:embedding AS vector))
    ON CONFLICT (model, text_key) DO UPDATE SET used_at = now()
""")
# `used_at` is compared once more when a row's turn has come: a text that was asked for meanwhile stays.
PRUNE_SQL = text("""
    WITH ranked AS (
        SELECT model, text_key, used_at,
               row_number() OVER (PARTITION BY model ORDER BY used_at DESC, text_key) AS place
        FROM clipgres.query_embedding
    )
    DELETE FROM clipgres.query_embedding q
    USING ranked r
    WHERE r.place > :kept AND q.model = r.model AND q.text_key = r.text_key AND q.used_at = r.used_at
""")


@dataclass(frozen=True, slots=True)
class TextVector:
    """The unit vector of a text, float32 [dimension]; `was_cut` when its end did not count."""

    vector: Vector
    was_cut: bool


class TextVectors:
    """Looks a text up in this process, then in the database, and asks the model last; safe for many threads.

    A text that was cut is kept in the process alone, so that what the database holds is known to be whole.
    """

    def __init__(self, engine: Engine, encoders: Encoders) -> None:
        self._engine = engine
        self._encoders = encoders
        self._lock = Lock()
        self._kept: OrderedDict[tuple[str, str], TextVector] = OrderedDict()

    def of(self, query: str, space: Space, *, field: str = "text") -> TextVector:
        """The vector of a text in a space; `field` is what a request calls it.

        Raises:
            BadRequest: the model gives none for it.
        """
        normal = " ".join(query.split())
        model = model_key(space)
        found = self._recall((model, normal)) or self._find(model, query)
        if found is None:
            found = self._encode(model, query, normal, space, field)
        self._remember((model, normal), found)
        return found

    def _recall(self, key: tuple[str, str]) -> TextVector | None:
        with self._lock:
            return self._kept.get(key)

    def _remember(self, key: tuple[str, str], found: TextVector) -> None:
        with self._lock:
            self._kept[key] = found
            self._kept.move_to_end(key)
            if len(self._kept) > KEPT_IN_PROCESS:
                self._kept.popitem(last=False)

    def _find(self, model: str, query: str) -> TextVector | None:
        with transaction(self._engine) as connection:
            row = connection.execute(FIND_SQL, {"model": model, "text": query}).first()
        if row is None:
            return None
        vector = np.asarray(row.embedding.to_numpy(), np.float32)
        if row.is_old:
            self._keep(model, query, vector)
        return TextVector(vector, was_cut=False)

    def _encode(self, model: str, query: str, normal: str, space: Space, field: str) -> TextVector:
        [found] = embed_texts(self._encoders.of(space), [normal])
        if found is None:
            raise BadRequest(f"{field}: the model gives no usable vector for it; say it in other words", field)
        if not found.was_cut:
            self._keep(model, query, found.vector)
        return found

    def _keep(self, model: str, query: str, vector: Vector) -> None:
        # A replica, or a role that may only read: then each process has its own memory and no more.
        with suppress(NotPermitted), transaction(self._engine) as connection:
            keep_text(connection, model, query, vector)


def model_key(space: Space) -> str:
    """What the database keeps the texts of a space under."""
    return f"{space.model}@{space.revision}"


def embed_texts(encoder: Encoder, texts: Sequence[str]) -> list[TextVector | None]:
    """The vectors of texts whose white space is single, by one run of the model; None where it gives no usable one."""
    read = [text[:READ_CHARS] for text in texts]
    vectors, cut = encoder.text(read), encoder.cut(read)
    return [
        TextVector(vector, was_cut=part != whole or is_long) if is_usable else None
        for whole, part, vector, is_long, is_usable in zip(texts, read, vectors, cut, usable(vectors), strict=True)
    ]


def keep_text(connection: Connection, model: str, query: str, vector: Vector) -> None:
    """Keep the vector of a text that was read whole."""
    connection.execute(KEEP_SQL, {"model": model, "text": query, "embedding": vector})


def prune_texts(connection: Connection, kept: int = KEPT_IN_DATABASE) -> int:
    """Forget the texts of each model that were not asked for longest, beyond so many; returns how many went.

    It locks nothing that a search reads.
    """
    return connection.execute(PRUNE_SQL, {"kept": kept}).rowcount
