"""Search from Python: `with clipgres.connect() as client: client.search("two dogs").plot()`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Self

from PIL import Image

from clipgres.collections import DEFAULT
from clipgres.database import create_engine
from clipgres.encoders import Encoders
from clipgres.endpoints import read_database_url
from clipgres.errors import BadRequest
from clipgres.fetch import Fetcher
from clipgres.hits import Hits
from clipgres.request import DEFAULT_TOP_K, parse_request
from clipgres.search import Searcher
from clipgres.settings import load_settings

__all__ = ["Client", "Hits", "connect"]


class Client:
    """A connection to one clipgres database; nothing is opened or loaded before the first search needs it."""

    def __init__(self, searcher: Searcher) -> None:
        self._searcher = searcher

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._searcher.engine.dispose()
        self._searcher.fetcher.close()

    def search(  # noqa: PLR0913 - the fields of a request, by name
        self,
        text: str | None = None,
        *,
        image: str | Path | bytes | Image.Image | None = None,
        image_url: str | None = None,
        like: str | Sequence[str] = (),
        collection: str = DEFAULT,
        top_k: int = DEFAULT_TOP_K,
        filter: Mapping[str, Any] | None = None,
        namespace: str = "",
        min_score: float | None = None,
        mode: str = "auto",
    ) -> Hits:
        """Search by text, by picture (a path, bytes or PIL image, or an address), by keys of items, or by several.

        Raises:
            BadRequest, NotFound: what is asked for is wrong or not there; the text says what.
            Unavailable: the database does not answer, or not in time.
            ModelError: the collection's model is not on this machine.
        """
        request = parse_request(
            {
                "text": text,
                "image": None if image is None else _bytes_of(image),
                "image_url": image_url,
                "like": [like] if isinstance(like, str) else list(like),
                "collection": collection,
                "top_k": top_k,
                "filter": dict(filter or {}),
                "namespace": namespace,
                "min_score": min_score,
                "mode": mode,
            }
        )
        return Hits(self._searcher.search(request), self._searcher.engine)


def connect(**settings: Any) -> Client:
    """Open a client by the settings of the environment; names of settings given here go before them.

    Raises:
        SetupError: a setting that is not known or does not fit.
    """
    read = load_settings(**settings)
    engine = create_engine(read_database_url(read), name="clipgres python")
    return Client(Searcher(engine, Encoders(read), Fetcher(read), read))


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
