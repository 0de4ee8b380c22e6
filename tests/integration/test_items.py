"""One item, and the small pictures."""

from __future__ import annotations

import pytest
from PIL import Image
from sqlalchemy import Engine

from clipgres.database import transaction
from clipgres.errors import NotFound
from clipgres.items import find_item, thumbnail, thumbnails
from tests.fakes import FakeEncoder
from tests.seed import seed_collection, seed_picture
from tests.vectors import make_collection, put

RED = Image.new("RGB", (64, 48), "red")


def test_an_item_is_found_with_all_that_is_known_of_it(engine: Engine) -> None:
    encoder = FakeEncoder(dimension=8)
    collection = seed_collection(engine, encoder, "pets")
    captions = [f"caption {n}" for n in range(30)]
    image = seed_picture(
        engine, collection, encoder, RED, url="http://a.org/1", captions=captions, key="a/b", metadata={"year": 1957}
    )
    with transaction(engine) as connection:
        item = find_item(connection, "pets", "a/b")
    assert (item.caption, item.captions, item.metadata) == ("caption 0", captions, {"year": 1957})
    assert (item.url, item.host, item.width, item.height) == ("http://a.org/1", "a.org", 64, 48)
    assert (item.image_id, item.has_thumbnail, item.content_type) == (image, True, "image/png")


def test_a_plain_vector_is_an_item_too(engine: Engine) -> None:
    collection = make_collection(engine)
    with transaction(engine) as connection:
        put(connection, collection, "plain", [1, 0, 0, 0], namespace="mine")
        item = find_item(connection, "default", "plain", namespace="mine")
    assert (item.url, item.image_id, item.has_thumbnail, item.caption, list(item.captions)) == (
        None,
        None,
        False,
        None,
        [],
    )


@pytest.mark.parametrize(("collection", "key"), [("default", "missing"), ("default", "mine"), ("missing", "plain")])
def test_what_is_not_there_is_named(engine: Engine, collection: str, key: str) -> None:
    made = make_collection(engine)
    with transaction(engine) as connection:
        put(connection, made, "mine", [1, 0, 0, 0], namespace="other")
        with pytest.raises(NotFound, match=r"there is no (item|collection)"):
            find_item(connection, collection, key)


def test_thumbnails_are_read_by_image(engine: Engine) -> None:
    encoder = FakeEncoder(dimension=8)
    collection = seed_collection(engine, encoder)
    kept = seed_picture(engine, collection, encoder, RED, url="http://a.org/1")
    bare = seed_picture(engine, collection, encoder, RED, url="http://a.org/2", keep_thumbnail=False)
    with transaction(engine) as connection:
        assert thumbnail(connection, kept).startswith(b"RIFF")
        assert list(thumbnails(connection, [kept, bare])) == [kept]
        with pytest.raises(NotFound, match=f"no thumbnail of image {bare}"):
            thumbnail(connection, bare)
