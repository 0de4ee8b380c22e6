"""The stages between a claim and its write: a URL becomes the model's input, inputs become vectors in batches."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from clipgres.decoding.pool import DecodedPicture, Decoders
from clipgres.encoder import Encoder, Vectors, by_halves
from clipgres.errors import ImageError, ModelError, SetupError, TransientImageError
from clipgres.fetching import Fetched
from clipgres.jobs import Claimed
from clipgres.preprocess import Pixels, Preprocessing
from clipgres.reasons import Reason
from clipgres.settings import Settings
from clipgres.writes import Facts
from worker.pace import Pace

log = logging.getLogger(__name__)
T = TypeVar("T")

HEADER_MAX_CHARS = 200
# How long the model waits for a batch to fill up while nothing else comes.
LINGER_S = 0.05
# So many pictures without one usable vector are the model's fault, not theirs.
TELLING_BATCH = 4


@dataclass(frozen=True, slots=True)
class Picture:
    """The model's input; `facts` are None when the image was known already and came from its thumbnail."""

    pixels: Pixels
    facts: Facts | None
    took_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Embedded:
    """A vector, float32 [dimension], or None where the model gave no usable one; the fetch took `took_ms`, if any."""

    vector: Vectors | None
    facts: Facts | None
    took_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Obtaining:
    """How pictures are obtained: downloaded by many threads at once, decoded by a few processes."""

    fetch: Callable[[str], Fetched]
    decoders: Decoders
    preprocessing: Preprocessing
    settings: Settings
    decoding: Pace = field(default_factory=Pace)

    def __call__(self, job: Claimed) -> Picture | ImageError:
        """Get one picture ready for the model, from its thumbnail if there is one.

        Raises:
            SetupError: nothing can be decoded on this machine.
        """
        try:
            if job.thumbnail is not None:
                with self.decoding:
                    return Picture(self.decoders.picture(job.thumbnail, self.preprocessing).pixels, None)
            fetched, took_ms = self._timed(job.url)
            with self.decoding:
                return replace(self._picture(fetched), took_ms=took_ms)
        except ImageError as error:
            return error
        except SetupError:
            raise
        except Exception:
            log.exception("a bug met image %d (%s)", job.image_id, job.url)
            return TransientImageError(Reason.STUCK, "the program failed on it")

    def _timed(self, url: str) -> tuple[Fetched, int]:
        began = time.monotonic()
        try:
            return self.fetch(url), _milliseconds_since(began)
        except ImageError as error:
            error.took_ms = _milliseconds_since(began)
            raise

    def _picture(self, fetched: Fetched) -> Picture:
        decoded = self.decoders.picture(fetched.body, self.preprocessing, thumbnail=self.settings.thumbnails)
        return Picture(decoded.pixels, facts_of(fetched, decoded))


def _milliseconds_since(began: float) -> int:
    return round(1_000 * (time.monotonic() - began))


def facts_of(fetched: Fetched, decoded: DecodedPicture) -> Facts:
    """What is kept of a picture that was fetched and decoded."""
    return Facts(
        http_status=fetched.http_status,
        content_type=header_text(fetched.content_type),
        etag=validator_text(fetched.etag),
        last_modified=validator_text(fetched.last_modified),
        final_url=fetched.final_url if fetched.is_moved else None,
        x_robots_tag=header_text(fetched.x_robots_tag),
        length=len(fetched.body),
        width=decoded.width,
        height=decoded.height,
        sha256=decoded.content_hash,
        phash=decoded.perceptual_hash,
        thumbnail=decoded.thumbnail or None,
    )


def header_text(value: str | None) -> str | None:
    """A header as it can be stored: without control characters, cut at 200."""
    if value is None:
        return None
    return "".join(character for character in value if character.isprintable())[:HEADER_MAX_CHARS]


def validator_text(value: str | None) -> str | None:
    """A header that is sent back some day: as it came, or not at all."""
    return value if value == header_text(value) else None


@dataclass(frozen=True, slots=True)
class Arrival(Generic[T]):
    """A picture on its way to the model, with what it belongs to."""

    row: T
    picture: Picture


def embed_arrivals(
    arrivals: SimpleQueue[Arrival[T] | None],
    give: Callable[[T, Embedded], None],
    encoder: Encoder,
    batch: int,
) -> None:
    """Run the model on pictures as they arrive, until None does.

    Raises:
        ModelError: the model cannot be loaded, or fails on every picture.
    """
    for group in batches(arrivals, batch):
        vectors = embed([arrival.picture.pixels for arrival in group], encoder)
        for arrival, vector in zip(group, vectors, strict=True):
            give(arrival.row, Embedded(vector, arrival.picture.facts, arrival.picture.took_ms))


def batches(arrivals: SimpleQueue[T | None], size: int) -> Iterator[list[T]]:
    """Gather what arrives into lists of up to `size`; a list that does not fill up goes on after a short wait."""
    while (first := arrivals.get()) is not None:
        group = [first]
        is_last = False
        while len(group) < size:
            try:
                following = arrivals.get(timeout=LINGER_S)
            except Empty:
                break
            if following is None:
                is_last = True
                break
            group.append(following)
        yield group
        if is_last:
            return


def embed(pixels: Sequence[Pixels], encoder: Encoder) -> list[Vectors | None]:
    """The vectors of prepared pictures, None for one the model gives no usable vector for.

    Raises:
        ModelError: the model cannot be loaded, or fails on each of several pictures.
    """
    vectors = by_halves(encoder.embed, pixels)
    if len(vectors) >= TELLING_BATCH and all(vector is None for vector in vectors):
        raise ModelError(f"the model {encoder.space.model} gives no usable vector for any picture; the log says why")
    return vectors
