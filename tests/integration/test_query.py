"""From a request to a query vector: texts, pictures, addresses and items."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import Engine, text

from clipgres.collections import Collection
from clipgres.database import transaction
from clipgres.errors import BadRequest, NotFound
from clipgres.fetch import Fetcher
from clipgres.query import QueryVector, QueryVectors
from clipgres.request import parse_request
from clipgres.search import Searcher
from clipgres.settings import Settings
from tests.fakes import FakeEncoder
from tests.hostile import hostile_server, jpeg
from tests.seed import FixedEncoders, seed_collection, seed_picture
from tests.vectors import put


def picture(colour: str) -> Image.Image:
    """A picture full of a colour."""
    return Image.new("RGB", (64, 48), colour)


def png(colour: str) -> bytes:
    """The same as a file."""
    stream = BytesIO()
    picture(colour).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def encoder() -> FakeEncoder:
    """An encoder that counts its work."""
    return FakeEncoder(dimension=32)


@pytest.fixture
def collection(engine: Engine, encoder: FakeEncoder) -> Collection:
    """An empty collection in the encoder's space."""
    return seed_collection(engine, encoder)


@pytest.fixture
def queries(engine: Engine, encoder: FakeEncoder, settings: Settings) -> Iterator[QueryVectors]:
    """What is tested, as a process starts with it."""
    with Fetcher(settings) as fetcher:
        yield Searcher(engine, FixedEncoders(encoder), fetcher, settings).queries


def vector(queries: QueryVectors, collection: Collection, **fields: Any) -> QueryVector:
    """The vector of a request."""
    return queries.of(parse_request(fields), collection)


def near(one: Any, other: Any) -> bool:
    """Whether two vectors are the same, as far as half precision can tell."""
    return bool(np.allclose(one, other, atol=2e-3))


def test_a_text_is_encoded_once_however_it_is_spaced(
    queries: QueryVectors, collection: Collection, encoder: FakeEncoder
) -> None:
    first = vector(queries, collection, text="two  red\tdogs\n")
    again = vector(queries, collection, text=" two red dogs")
    assert (encoder.texts_seen, first.text_was_cut) == (1, False)
    assert np.array_equal(first.vector, again.vector)
    assert near(first.vector, encoder.text(["two red dogs"])[0])
    assert (first.vector.dtype, first.vector.shape) == (np.float32, (32,))


def test_a_text_of_many_pages_is_cut_before_the_model(
    queries: QueryVectors, collection: Collection, encoder: FakeEncoder
) -> None:
    assert vector(queries, collection, text="a" * 200_000).text_was_cut


def test_an_uploaded_picture_gets_its_vector(
    queries: QueryVectors, collection: Collection, encoder: FakeEncoder
) -> None:
    found = vector(queries, collection, image=png("red")).vector
    assert near(found, encoder.images([picture("red")])[0])


def test_a_picture_at_an_address_gets_its_vector(
    queries: QueryVectors, collection: Collection, encoder: FakeEncoder
) -> None:
    with hostile_server() as server:
        found = vector(queries, collection, image_url=server.url("picture")).vector
    assert near(found, encoder.images([Image.open(BytesIO(jpeg()))])[0])


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        ("404", "image_url: the host says it is not there"),
        ("html-as-jpeg", "image_url: what came back is not a picture"),
        ("500", "image_url: the host failed"),
        ("oversize", "image_url: the file is larger than the limit"),
    ],
)
def test_an_address_that_gives_no_picture_is_refused_in_words(
    queries: QueryVectors, collection: Collection, behaviour: str, said: str
) -> None:
    with hostile_server() as server, pytest.raises(BadRequest, match=said) as refused:
        vector(queries, collection, image_url=server.url(behaviour))
    assert refused.value.field == "image_url"


def test_a_private_address_is_never_fetched(queries: QueryVectors, collection: Collection) -> None:
    with pytest.raises(BadRequest, match="image_url: the address is private"):
        vector(queries, collection, image_url="http://169.254.169.254/latest/meta-data")


@pytest.mark.parametrize(
    ("body", "said"),
    [(b"<html>", "not a picture"), (png("red")[:60], "ends before its end"), (b"x" * 10_000_001, "10.0 MB")],
)
def test_an_upload_that_is_no_picture_is_refused_in_words(
    queries: QueryVectors, collection: Collection, body: bytes, said: str
) -> None:
    with pytest.raises(BadRequest, match=f"image: .*{said}") as refused:
        vector(queries, collection, image=body)
    assert refused.value.field == "image"


def test_more_like_an_item_reads_its_vector_and_leaves_it_out(
    engine: Engine, queries: QueryVectors, collection: Collection, encoder: FakeEncoder
) -> None:
    seed_picture(engine, collection, encoder, picture("red"), url="http://a.org/red", key="red")
    seen = encoder.pictures_seen
    found = vector(queries, collection, like=["red"])
    assert near(found.vector, encoder.images([picture("red")])[0])
    assert (len(found.left_out), encoder.pictures_seen) == (1, seen + 1)  # the test's own


def test_an_item_that_is_not_there_is_named(engine: Engine, queries: QueryVectors, collection: Collection) -> None:
    with transaction(engine) as connection:
        put(connection, collection, "here", [1.0] * 32)
        put(connection, collection, "elsewhere", [1.0] * 32, namespace="other")
    with pytest.raises(NotFound, match='like: there is no item "elsewhere"'):
        vector(queries, collection, like=["here", "elsewhere"])


def test_parts_are_averaged_as_directions(
    engine: Engine, queries: QueryVectors, collection: Collection, encoder: FakeEncoder
) -> None:
    with transaction(engine) as connection:
        put(connection, collection, "long", [7.0] + [0.0] * 31)
    found = vector(queries, collection, text="red", image=png("blue"), like=["long"]).vector
    parts = [encoder.text(["red"])[0], encoder.images([picture("blue")])[0], np.eye(32, dtype=np.float32)[0]]
    mean = np.sum(parts, axis=0)
    assert near(found, mean / np.linalg.norm(mean))


def test_parts_that_cancel_out_are_refused(engine: Engine, queries: QueryVectors, collection: Collection) -> None:
    with transaction(engine) as connection:
        put(connection, collection, "one", [1.0] + [0.0] * 31)
        put(connection, collection, "other", [-2.0] + [0.0] * 31)
    with pytest.raises(BadRequest, match="cancel each other out"):
        vector(queries, collection, like=["one", "other"])


class NothingEncoder(FakeEncoder):
    """An encoder that makes no sense of anything."""

    def text(self, texts: Any) -> Any:
        """A vector that is none."""
        return np.full((len(texts), 32), np.nan, np.float32)

    embed = text


@pytest.mark.parametrize("fields", [{"text": "dogs"}, {"image": png("red")}])
def test_a_vector_that_is_none_is_refused_and_not_kept(
    engine: Engine, collection: Collection, settings: Settings, fields: dict[str, Any]
) -> None:
    with Fetcher(settings) as fetcher:
        queries = Searcher(engine, FixedEncoders(NothingEncoder()), fetcher, settings).queries
        with pytest.raises(BadRequest, match="no usable vector"):
            vector(queries, collection, **fields)
    with transaction(engine) as connection:
        assert connection.execute(text("SELECT count(*) FROM clipgres.query_embedding")).scalar_one() == 0
