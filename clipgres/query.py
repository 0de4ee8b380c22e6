"""From a search request to one query vector: what is looked for added up, and what is not wanted taken off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Engine, text

from clipgres.collections import Collection
from clipgres.database import transaction
from clipgres.decoding.pool import Decoders
from clipgres.encoder.api import unit, usable
from clipgres.encoders import Encoders
from clipgres.errors import BadRequest, ImageError, NotFound
from clipgres.fetching import Fetcher
from clipgres.reasons import Reason
from clipgres.request import SearchRequest
from clipgres.settings import Settings
from clipgres.text_vectors import TextVectors, Vector

ITEMS_SQL = """
    SELECT i.id, i.key, i.embedding
    FROM {items} i
    WHERE i.namespace = :namespace AND i.key = ANY (:keys)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryVector:
    """What to look for: `vector` float32 [dimension] of unit length; `left_out` are the ids of the items it is made of.

    `text_was_cut` when the end of a text, to look for or to get away from, did not count.
    """

    vector: Vector
    left_out: Sequence[int] = ()
    text_was_cut: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """A direction and how much it counts; below 0, to get away from it."""

    weight: float
    vector: Vector


@dataclass(frozen=True, slots=True)
class _Item:
    id: int
    vector: Vector


@dataclass(frozen=True, slots=True)
class QueryVectors:
    """Makes query vectors with these collaborators; safe to share between threads."""

    engine: Engine
    encoders: Encoders
    texts: TextVectors
    fetcher: Fetcher
    decoders: Decoders
    settings: Settings

    def of(self, request: SearchRequest, collection: Collection) -> QueryVector:
        """The vector of a request in the collection's space: the weighted sum of its parts, at unit length.

        The items of `like` are one part together, and so are those of `unlike`: see `centre`.

        Raises:
            BadRequest: a picture or vector that cannot be used, or parts that cancel each other out.
            NotFound: an item to be like or unlike is not there.
            ModelError: this machine has no model of the collection's space.
        """
        _check_weights(request)
        items = self._items(request, collection)
        texts = list(self._texts(request, collection))
        parts = [
            *(part for part, _ in texts),
            *self._pictures(request, collection),
            *_given(request, collection),
            *_item_parts(request, items),
        ]
        return QueryVector(
            vector=combine(parts),
            left_out=[item.id for item in items.values()],
            text_was_cut=any(was_cut for _, was_cut in texts),
        )

    def _texts(self, request: SearchRequest, collection: Collection) -> Iterator[tuple[Part, bool]]:
        weights = request.weights
        if request.has_text and weights.text:
            found = self.texts.of(request.text or "", collection.space)
            yield Part(weights.text, found.vector), found.was_cut
        if request.has_not_text and weights.not_text:
            found = self.texts.of(request.not_text or "", collection.space, field="not_text")
            yield Part(-weights.not_text, found.vector), found.was_cut

    def _items(self, request: SearchRequest, collection: Collection) -> Mapping[str, _Item]:
        keys = [*request.like, *request.unlike]
        if not keys:
            return {}
        statement = text(ITEMS_SQL.format(items=collection.item_table))
        parameters: dict[str, Any] = {"namespace": request.namespace, "keys": keys}
        with transaction(self.engine) as connection:
            rows = connection.execute(statement, parameters).all()
        items = {row.key: _Item(row.id, row.embedding.to_numpy().astype(np.float32)) for row in rows}
        for field in ("like", "unlike"):
            for key in getattr(request, field):
                if key not in items:
                    raise NotFound(f'{field}: there is no item "{key[:60]}" in collection "{collection.name}"')
        return items

    def _pictures(self, request: SearchRequest, collection: Collection) -> Iterator[Part]:
        weight = request.weights.image
        for field, body in self._bodies(request) if weight else ():
            yield Part(weight, self._picture_vector(field, body, collection))

    def _bodies(self, request: SearchRequest) -> Iterator[tuple[str, bytes]]:
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
        encoder = self.encoders.of(collection.space)
        try:
            picture = self.decoders.picture(body, encoder.preprocessing)
        except ImageError as error:
            raise _refusal(field, error) from error
        vectors = encoder.embed([picture.pixels])
        if not usable(vectors)[0]:
            raise BadRequest(f"{field}: the model gives no usable vector for this picture", field)
        return vectors.reshape(-1)


def combine(parts: Sequence[Part]) -> Vector:
    """The weighted sum of directions, at unit length.

    The default weights are those of `python -m bench mixed`: how precisely the bundled model finds the pictures of its
    gallery that a person would expect. A picture and a text that asks for another background: 0.36, 0.43 and 0.39 with
    the text at 0.5, 1 and 2; one that asks for another thing beside its own: 0.37, 0.62 and 0.71. With what is not
    wanted at 0, 0.5 and 1, a picture less one of its things: 0.15, 0.21 and 0.19; the same on another background: 0.36,
    0.48 and 0.44. To take off only what the query has of that direction leaves twice as many unwanted pictures
    in the first ten.

    Raises:
        BadRequest: the parts cancel each other out.
    """
    weights = np.array([part.weight for part in parts], np.float32)
    total: Vector = weights @ unit(np.stack([part.vector for part in parts]))
    vectors = unit(total[np.newaxis])
    # What is left of parts that cancel out is rounding, and points nowhere.
    if not usable(vectors)[0] or np.linalg.norm(total) < 1e-3 * np.abs(weights).sum():
        raise BadRequest("the parts of this search cancel each other out; leave one of them out")
    return vectors.reshape(-1)


def centre(vectors: Sequence[Vector]) -> Vector:
    """The mean of directions: a part as strong as that of one item, so that more of them do not drown the text.

    Measured as the weights of `combine`, two pictures and a text that asks for another background: 0.55, against 0.52
    with each of them a part of its own.
    """
    return unit(unit(np.stack(vectors)).mean(axis=0, keepdims=True)).reshape(-1)


def _item_parts(request: SearchRequest, items: Mapping[str, _Item]) -> Iterator[Part]:
    for keys, weight in ((request.like, request.weights.like), (request.unlike, -request.weights.unlike)):
        if keys and weight:
            yield Part(weight, centre([items[key].vector for key in dict.fromkeys(keys)]))


def _given(request: SearchRequest, collection: Collection) -> Iterator[Part]:
    """The vector that the request brings."""
    if request.vector is None:
        return
    given, wanted = np.array(request.vector, np.float64), collection.space.dimension
    if len(given) != wanted:
        has = f'collection "{collection.name}" has {wanted:,} dimensions'
        raise BadRequest(f"vector: it has {len(given):,} numbers, but {has}", "vector")
    largest = np.abs(given).max()
    if not largest:
        raise BadRequest(f"vector: its {wanted:,} numbers are all 0, which points nowhere", "vector")
    if request.weights.vector:
        # Scaled first, since single precision holds neither very large nor very small numbers.
        yield Part(request.weights.vector, unit((given / largest).astype(np.float32)[np.newaxis]).reshape(-1))


def _check_weights(request: SearchRequest) -> None:
    weights = request.weights
    counts = (
        request.has_text and weights.text,
        (request.image or request.image_url) and weights.image,
        request.like and weights.like,
        request.vector and weights.vector,
    )
    if not any(counts):
        raise BadRequest("weights: nothing that is looked for has a weight above 0", "weights")


def _refusal(field: str, error: ImageError) -> BadRequest:
    gloss, detail = error.reason.gloss, str(error)
    if error.reason is Reason.BLOCKED_ADDRESS:
        # Where a name of this network leads is not for everyone who may search.
        return BadRequest(f"{field}: {gloss}, or its port is none that pictures are fetched from", field)
    return BadRequest(f"{field}: {detail if gloss in detail else f'{gloss} ({detail})'}", field)
