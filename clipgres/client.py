"""Search from Python: `with clipgres.connect() as client: client.search("two dogs").plot()`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image
from sqlalchemy import Engine

from clipgres import saved
from clipgres.collections import DEFAULT
from clipgres.database import create_engine, search_engine
from clipgres.decoding.pool import Decoders
from clipgres.encoders import Encoders
from clipgres.endpoints import database_url, read_database_url, redis_url
from clipgres.errors import BadRequest
from clipgres.fetching import Fetcher
from clipgres.hits import Hits
from clipgres.redis_client import connect_redis
from clipgres.request import DEFAULT_TOP_K, SearchRequest, parse_request
from clipgres.search import Searcher
from clipgres.settings import load_settings

__all__ = ["Client", "Hits", "connect"]


class Client:
    """A connection to one clipgres database; nothing is opened or loaded before the first search needs it."""

    def __init__(self, searcher: Searcher, engine: Engine) -> None:
        self._searcher = searcher
        self._engine = engine

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections, and end the decoder."""
        self._searcher.engine.dispose()
        self._engine.dispose()
        self._searcher.fetcher.close()
        self._searcher.decoders.close()
        if self._searcher.redis:
            self._searcher.redis.close()

    def search(  # noqa: PLR0913 - the fields of a request, by name
        self,
        text: str | None = None,
        *,
        image: str | Path | bytes | Image.Image | None = None,
        image_url: str | None = None,
        like: str | Sequence[str] = (),
        not_text: str | None = None,
        unlike: str | Sequence[str] = (),
        vector: ArrayLike | None = None,
        weights: Mapping[str, float] | None = None,
        criterion: str = "image",
        keywords: str | None = None,
        collection: str = DEFAULT,
        top_k: int = DEFAULT_TOP_K,
        filter: Mapping[str, Any] | None = None,
        namespace: str = "",
        min_score: float | None = None,
        min_percentile: float | None = None,
        mode: str = "auto",
        fold: str = "none",
        cursor: str | None = None,
    ) -> Hits:
        """Search by text, by picture (a path, bytes or PIL image, or an address), by keys of items, or by several.

        What it should not show goes into `not_text` and `unlike`; `criterion` compares with pictures ("image"), with
        their captions ("text") or with "both". `fold` shows one of pictures with the same "url" or "bytes", or of those
        that look the same ("near"); `duplicates` of a hit says how many others there are.

        Raises:
            BadRequest, NotFound: what is asked for is wrong or not there; the text says what.
            Unavailable: the database does not answer, or not in time.
            ModelError: the collection's model is not on this machine.
        """
        return self._search(
            {
                "text": text,
                "image": image,
                "image_url": image_url,
                "like": like,
                "not_text": not_text,
                "unlike": unlike,
                "vector": vector,
                "weights": {} if weights is None else weights,
                "criterion": criterion,
                "keywords": keywords,
                "collection": collection,
                "top_k": top_k,
                "filter": {} if filter is None else filter,
                "namespace": namespace,
                "min_score": min_score,
                "min_percentile": min_percentile,
                "mode": mode,
                "fold": fold,
                "cursor": cursor,
            }
        )

    def next_page(self, hits: Hits) -> Hits | None:
        """The hits that follow these, or None where nothing does.

        Raises:
            BadRequest: the pages of that search are no longer kept; search again.
        """
        following = hits.answer.next
        if following is None:
            return None
        answer = self._searcher.search(SearchRequest(cursor=following))
        return Hits(answer, self._searcher.engine, hits.request)

    def save(self, name: str, *, replace: bool = False, **fields: Any) -> None:
        """Keep a search under a name; its fields are those of `search`.

        Raises:
            BadRequest: the name or a field does not fit, or the search holds a picture's bytes.
            Conflict: the name is taken, and is not to be replaced.
            NotPermitted: the login may not, or the database is a replica.
        """
        saved.save(self._engine, name, _request(fields), replace=replace)

    def saved(self, name: str, **fields: Any) -> Hits:
        """Search as it was saved under a name; fields given here go before the saved ones.

        Raises:
            NotFound: there is no such saved search.
        """
        return self._search(saved.load(self._engine, name).model_dump(exclude_defaults=True) | fields)

    def _search(self, fields: Mapping[str, Any]) -> Hits:
        request = _request(fields)
        return Hits(self._searcher.search(request), self._searcher.engine, request)


def connect(**settings: Any) -> Client:
    """Open a client by the settings of the environment; names of settings given here go before them.

    Raises:
        SetupError: a setting that is not known or does not fit.
    """
    read = load_settings(**settings)
    replica = search_engine(read_database_url(read), read, "clipgres python")
    redis = connect_redis(redis_url(read))
    searcher = Searcher(replica, Encoders(read), Fetcher(read), Decoders(read, processes=1), read, redis)
    return Client(searcher, create_engine(database_url(read), pool_size=1, name="clipgres python"))


def _request(given: Mapping[str, Any]) -> SearchRequest:
    """The request of fields as people give them in Python."""
    fields = dict(given)
    for name in ("like", "unlike"):
        if isinstance(fields.get(name), str):
            fields[name] = [fields[name]]
    if fields.get("image") is not None:
        fields["image"] = _bytes_of(fields["image"])
    if fields.get("vector") is not None:
        fields["vector"] = _numbers(fields["vector"])
    return parse_request(fields)


def _bytes_of(image: str | Path | bytes | Image.Image) -> bytes:
    if isinstance(image, bytes):
        return image
    if isinstance(image, Image.Image):
        stream = BytesIO()
        image.convert("RGBA" if image.has_transparency_data else "RGB").save(stream, "PNG", compress_level=1)
        return stream.getvalue()
    try:
        return Path(image).read_bytes()
    except OSError as error:
        raise BadRequest(f"image: {image}: {error.strerror}", "image") from error


def _numbers(vector: ArrayLike) -> list[float]:
    """One vector, be it a list, an array or a tensor; whether its numbers fit is for the request to say."""
    try:
        numbers = np.asarray(vector, np.float64)
    except (TypeError, ValueError) as error:
        raise BadRequest(f"vector: it should be a list of numbers: {error}", "vector") from error
    if numbers.ndim != 1:
        raise BadRequest(f"vector: one row of numbers is needed, not {numbers.ndim} dimensions", "vector")
    flat: list[float] = numbers.tolist()
    return flat
