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
from clipgres.decoding.pool import Decoders
from clipgres.errors import BadRequest, NotFound
from clipgres.fetching import Fetcher
from clipgres.query import QueryVector, QueryVectors
from clipgres.request import parse_request
from clipgres.search import Searcher
from clipgres.settings import Settings
from tests.decoding import shared_decoders
from tests.fakes import FakeEncoder
from tests.hostile import hostile_server, jpeg
from tests.pictures import jpeg_of_scans
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
        yield Searcher(engine, FixedEncoders(encoder), fetcher, shared_decoders(), settings).queries


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
        ("tagged?noai", r"image_url: the host asks that it is not used for AI \(X-Robots-Tag\): noai"),
    ],
)
def test_an_address_that_gives_no_picture_is_refused_in_words(
    queries: QueryVectors, collection: Collection, behaviour: str, said: str
) -> None:
    with hostile_server() as server, pytest.raises(BadRequest, match=said) as refused:
        vector(queries, collection, image_url=server.url(behaviour))
    assert refused.value.field == "image_url"


@pytest.mark.parametrize(
    ("robots", "said"),
    [
        ("deny", "image_url: the host's robots.txt asks not to fetch it: 127.0.0.1"),
        ("status-503", "image_url: robots.txt: the host failed"),
    ],
)
def test_a_host_that_wants_no_crawlers_is_obeyed_here_too(
    queries: QueryVectors, collection: Collection, robots: str, said: str
) -> None:
    with hostile_server(robots=robots) as server, pytest.raises(BadRequest, match=said):
        vector(queries, collection, image_url=server.url("picture"))
    assert server.requests == []


def test_a_private_address_is_never_fetched_nor_told(queries: QueryVectors, collection: Collection) -> None:
    with pytest.raises(BadRequest, match=r"^image_url: the address is private[a-z, ]+$"):
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


@pytest.mark.parametrize("field", ["like", "unlike"])
def test_an_item_that_is_not_there_is_named(
    engine: Engine, queries: QueryVectors, collection: Collection, field: str
) -> None:
    with transaction(engine) as connection:
        put(connection, collection, "here", [1.0] * 32)
        put(connection, collection, "elsewhere", [1.0] * 32, namespace="other")
    with pytest.raises(NotFound, match=f'{field}: there is no item "elsewhere"'):
        vector(queries, collection, text="red", **{field: ["here", "elsewhere"]})


def direction(n: int, length: float = 1) -> list[float]:
    """A vector along one axis."""
    return [length if axis == n else 0.0 for axis in range(32)]


@pytest.fixture
def items(engine: Engine, collection: Collection) -> dict[str, int]:
    """Items along three axes, of different lengths, and one opposite to the first; their ids."""
    vectors = {"x": direction(0, 7), "y": direction(1), "z": direction(2, 0.1), "opposite": direction(0, -2)}
    with transaction(engine) as connection:
        return {key: put(connection, collection, key, vector) for key, vector in vectors.items()}


def unit(*parts: Any) -> Any:
    """The sum at unit length."""
    total = np.sum(parts, axis=0)
    return total / np.linalg.norm(total)


def test_parts_are_added_up_as_directions(
    queries: QueryVectors, collection: Collection, encoder: FakeEncoder, items: dict[str, int]
) -> None:
    given = direction(5, 1e200)
    found = vector(queries, collection, text="red", image=png("blue"), like=["x"], vector=given).vector
    parts = [encoder.text(["red"])[0], encoder.images([picture("blue")])[0], direction(0), direction(5)]
    assert near(found, unit(*parts))
    assert found.dtype == np.float32


def test_parts_count_as_they_are_weighed_and_what_is_not_wanted_is_taken_off(
    queries: QueryVectors, collection: Collection, encoder: FakeEncoder, items: dict[str, int]
) -> None:
    red, blue = encoder.text(["red", "blue"])
    found = vector(queries, collection, text="red", not_text="blue", like=["x"], unlike=["y"])
    assert near(found.vector, unit(red, -0.5 * blue, direction(0), direction(1, -0.5)))
    assert set(found.left_out) == {items["x"], items["y"]}

    weights = {"text": 2, "not_text": 0.25, "like": 3, "unlike": 0, "vector": 0.5}
    fields: dict[str, Any] = {"text": "red", "not_text": "blue", "like": ["x"], "unlike": ["y"]}
    found = vector(queries, collection, **fields, vector=direction(2), weights=weights)
    assert near(found.vector, unit(2 * red, -0.25 * blue, direction(0, 3), direction(2, 0.5)))
    assert set(found.left_out) == {items["x"], items["y"]}


def test_the_items_of_a_list_are_one_part_together(
    queries: QueryVectors, collection: Collection, encoder: FakeEncoder, items: dict[str, int]
) -> None:
    found = vector(queries, collection, text="red", like=["x", "y", "x"], unlike=["z"]).vector
    assert near(found, unit(encoder.text(["red"])[0], unit(direction(0), direction(1)), direction(2, -0.5)))


@pytest.mark.parametrize(
    "fields",
    [
        {"like": ["x", "opposite"]},
        {"text": "red", "not_text": "red", "weights": {"not_text": 1}},
        {"text": "red", "not_text": "red", "weights": {"text": 0.01, "not_text": 0.01}},
        {"vector": direction(1), "unlike": ["y"], "weights": {"unlike": 1}},
    ],
)
def test_parts_that_cancel_out_are_refused(
    queries: QueryVectors, collection: Collection, items: dict[str, int], fields: dict[str, Any]
) -> None:
    with pytest.raises(BadRequest, match="cancel each other out"):
        vector(queries, collection, **fields)


def test_small_weights_are_no_cancelling_out(queries: QueryVectors, collection: Collection) -> None:
    found = vector(queries, collection, vector=direction(3), weights={"vector": 1e-6}).vector
    assert near(found, direction(3))


def test_nothing_that_counts_is_nothing_to_look_for(queries: QueryVectors, collection: Collection) -> None:
    with pytest.raises(BadRequest, match="nothing that is looked for has a weight above 0") as refused:
        vector(queries, collection, text="red", not_text="blue", weights={"text": 0})
    assert refused.value.field == "weights"


def test_a_part_without_weight_runs_no_model(
    queries: QueryVectors, collection: Collection, encoder: FakeEncoder
) -> None:
    vector(queries, collection, text="red", vector=direction(3), weights={"text": 0})
    assert encoder.texts_seen == 0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([1.0, 2.0, 3.0], 'vector: it has 3 numbers, but collection "default" has 32 dimensions'),
        ([0.0] * 32, "vector: its 32 numbers are all 0"),
    ],
)
def test_a_vector_that_does_not_fit_is_refused(
    queries: QueryVectors, collection: Collection, given: list[float], said: str
) -> None:
    with pytest.raises(BadRequest, match=said) as refused:
        vector(queries, collection, vector=given)
    assert refused.value.field == "vector"


def test_a_cut_of_either_text_is_said(queries: QueryVectors, collection: Collection) -> None:
    long = "dog " * 100
    assert not vector(queries, collection, text="red", not_text="blue").text_was_cut
    assert vector(queries, collection, text=long, not_text="blue").text_was_cut
    assert vector(queries, collection, text="red", not_text=long).text_was_cut


def test_a_picture_that_takes_its_decoder_down_is_refused(
    engine: Engine, collection: Collection, encoder: FakeEncoder, settings: Settings
) -> None:
    brief = settings.model_copy(update={"decode_timeout_s": 1})
    with Fetcher(settings) as fetcher, Decoders(brief, processes=1) as decoders:
        queries = Searcher(engine, FixedEncoders(encoder), fetcher, decoders, settings).queries
        with pytest.raises(BadRequest, match=r"image: the decoder crashed, hung .*longer than 1 s"):
            vector(queries, collection, image=jpeg_of_scans(10_000))
        assert vector(queries, collection, image=png("red")).vector.shape == (32,)


class NothingEncoder(FakeEncoder):
    """An encoder that makes no sense of anything."""

    def text(self, texts: Any) -> Any:
        """A vector that is none."""
        return np.full((len(texts), 32), np.nan, np.float32)

    embed = text


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"text": "dogs"}, "text"),
        ({"image": png("red")}, "image"),
        ({"vector": direction(1), "not_text": "dogs"}, "not_text"),
    ],
)
def test_a_vector_that_is_none_is_refused_and_not_kept(
    engine: Engine, collection: Collection, settings: Settings, fields: dict[str, Any], field: str
) -> None:
    with Fetcher(settings) as fetcher:
        queries = Searcher(engine, FixedEncoders(NothingEncoder()), fetcher, shared_decoders(), settings).queries
        with pytest.raises(BadRequest, match="no usable vector") as refused:
            vector(queries, collection, **fields)
        assert refused.value.field == field
    with transaction(engine) as connection:
        assert connection.execute(text("SELECT count(*) FROM clipgres.query_embedding")).scalar_one() == 0
