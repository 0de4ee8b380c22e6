"""The vectors of texts that are asked for: kept in the process and in the database, so that a repeat runs no model."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine, text

from clipgres.database import transaction
from clipgres.encoder.api import usable
from clipgres.encoders import Encoders
from clipgres.errors import BadRequest, NotPermitted
from clipgres.models import Space

Vector = NDArray[np.float32]

# Long texts are cut here before the model cuts them at its own limit, which none of more than 77 tokens reaches.
READ_CHARS = 10_000
KEPT_IN_PROCESS = 2_000

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

    def of(self, query: str, space: Space) -> TextVector:
        """The vector of a text in a space.

        Raises:
            BadRequest: the model gives none for it.
        """
        normal = " ".join(query.split())
        model = f"{space.model}@{space.revision}"
        found = self._recall((model, normal)) or self._find(model, query) or self._encode(model, query, normal, space)
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

    def _encode(self, model: str, query: str, normal: str, space: Space) -> TextVector:
        encoder = self._encoders.of(space)
        read = normal[:READ_CHARS]
        vectors = encoder.text([read])
        if not usable(vectors)[0]:
            raise BadRequest("text: the model gives no usable vector for it; say it in other words", "text")
        was_cut = read != normal or encoder.cut([read])[0]
        if not was_cut:
            self._keep(model, query, vectors[0])
        return TextVector(vectors[0], was_cut)

    def _keep(self, model: str, query: str, vector: Vector) -> None:
        # A replica, or a role that may only read: then each process has its own memory and no more.
        with suppress(NotPermitted), transaction(self._engine) as connection:
            connection.execute(KEEP_SQL, {"model": model, "text": query, "embedding": vector})
