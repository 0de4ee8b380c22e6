"""From a search request to one query vector: the mean of its text, its pictures and the items it is to be like."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Engine, text

from clipgres.collections import Collection
from clipgres.database import transaction
from clipgres.decode import decode
from clipgres.encoder.api import unit, usable
from clipgres.encoders import Encoders
from clipgres.errors import BadRequest, ImageError, NotFound
from clipgres.fetch import Fetcher
from clipgres.request import SearchRequest
from clipgres.settings import Settings
from clipgres.text_vectors import TextVectors, Vector

LIKE_SQL = """
    SELECT i.id, i.key, i.embedding
    FROM {items} i
    WHERE i.namespace = :namespace AND i.key = ANY (:keys)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryVector:
    """What to look for: `vector` float32 [dimension] of unit length; `left_out` are the ids of the items it is like."""

    vector: Vector
    left_out: Sequence[int] = ()
    text_was_cut: bool = False


@dataclass(frozen=True, slots=True)
class QueryVectors:
    """Makes query vectors with these collaborators; safe to share between threads."""

    engine: Engine
    encoders: Encoders
    texts: TextVectors
    fetcher: Fetcher
    settings: Settings

    def of(self, request: SearchRequest, collection: Collection) -> QueryVector:
        """The vector of a request in the collection's space; each of its parts weighs the same.

        Raises:
            BadRequest: a picture that cannot be had or read, or parts that cancel each other out.
            NotFound: an item to be like is not there.
            ModelError: this machine has no model of the collection's space.
        """
        liked = self._liked(request, collection)
        cut, parts = False, [vector for _, vector in liked]
        if request.text and request.text.strip():
            found = self.texts.of(request.text, collection.space)
            cut, parts = found.was_cut, [*parts, found.vector]
        for field, body in self._pictures(request):
            parts.append(self._picture_vector(field, body, collection))
        return QueryVector(vector=_mean(parts), left_out=[id_ for id_, _ in liked], text_was_cut=cut)

    def _liked(self, request: SearchRequest, collection: Collection) -> list[tuple[int, Vector]]:
        if not request.like:
            return []
        statement = text(LIKE_SQL.format(items=collection.item_table))
        parameters: dict[str, Any] = {"namespace": request.namespace, "keys": list(request.like)}
        with transaction(self.engine) as connection:
            rows = connection.execute(statement, parameters).all()
        missing = set(request.like) - {row.key for row in rows}
        if missing:
            name = next(key for key in request.like if key in missing)
            raise NotFound(f'like: there is no item "{name[:60]}" in collection "{collection.name}"')
        return [(row.id, row.embedding.to_numpy().astype(np.float32)) for row in rows]

    def _pictures(self, request: SearchRequest) -> Iterator[tuple[str, bytes]]:
        if request.image:
            limit = self.settings.upload_max_bytes
            if len(request.image) > limit:
                raise BadRequest(f"image: the file is larger than {limit / 1e6:.1f} MB", "image")
            yield "image", request.image
        if request.image_url:
            try:
                yield "image_url", self.fetcher.fetch(request.image_url).body
            except ImageError as error:
                raise _refusal("image_url", error) from error

    def _picture_vector(self, field: str, body: bytes, collection: Collection) -> Vector:
        try:
            picture = decode(body, self.settings).image
        except ImageError as error:
            raise _refusal(field, error) from error
        vectors = self.encoders.of(collection.space).images([picture])
        if not usable(vectors)[0]:
            raise BadRequest(f"{field}: the model gives no usable vector for this picture", field)
        return vectors.reshape(-1)


def _refusal(field: str, error: ImageError) -> BadRequest:
    gloss, detail = error.reason.gloss, str(error)
    return BadRequest(f"{field}: {detail if gloss in detail else f'{gloss} ({detail})'}", field)


def _mean(parts: Sequence[Vector]) -> Vector:
    """The mean of directions, at unit length."""
    total: Vector = unit(np.stack(parts)).sum(axis=0, dtype=np.float32)
    vectors = unit(total[np.newaxis])
    # What is left of parts that cancel out is rounding, and points nowhere.
    if not usable(vectors)[0] or np.linalg.norm(total) < 1e-3:
        raise BadRequest("the parts of this search cancel each other out; leave one of them out")
    return vectors.reshape(-1)
