"""What each role of the database may do, and what it may not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import psycopg
import pytest
from PIL import Image
from sqlalchemy import Engine, event, text

from clipgres.batches import progress
from clipgres.collections import Collection
from clipgres.database import create_engine, transaction
from clipgres.errors import NotPermitted
from clipgres.failures import retry
from clipgres.servers.postgres import SUPERUSER, embedded_database_url
from clipgres.settings import Settings
from clipgres.text_vectors import TextVectors
from tests.adding import add, collection_named, query
from tests.fakes import FakeEncoder
from tests.seed import FixedEncoders, seed_collection, seed_picture

SEARCH = "SELECT caption FROM collections.\"default\" ORDER BY embedding <=> clip_text('red') LIMIT 1"


def become(connection: psycopg.Connection[Any], _record: object, *, role: str) -> None:
    connection.execute(f"SET SESSION ROLE {role}".encode())
    connection.commit()


@pytest.fixture
def as_role(engine: Engine, postgres: Settings) -> Iterator[Callable[[str], Engine]]:
    """Makes engines on the test's database that have a role's rights alone."""
    with ExitStack() as stack:

        def connect(role: str) -> Engine:
            made = create_engine(embedded_database_url(postgres, role=SUPERUSER, database=str(engine.url.database)))
            event.listen(made, "connect", partial(become, role=role))
            stack.callback(made.dispose)
            return made

        yield connect


@pytest.fixture
def pictures(engine: Engine) -> Collection:
    """A red and a blue picture, and the vector of the text `red`, known from an earlier search."""
    encoder = FakeEncoder(dimension=32)
    collection = seed_collection(engine, encoder)
    for colour in ("blue", "red"):
        picture = Image.new("RGB", (64, 48), colour)
        seed_picture(engine, collection, encoder, picture, url=f"http://a/{colour}", captions=[f"all {colour}"])
    TextVectors(engine, FixedEncoders(encoder)).of("red", collection.space)
    return collection


@pytest.mark.parametrize("role", ["clipgres_web", "clipgres_worker"])
def test_the_roles_of_the_parts_may_add_and_retry(engine: Engine, as_role: Callable[[str], Engine], role: str) -> None:
    collection = collection_named(engine)
    part = as_role(role)
    added = add(part, collection, {"url": "http://a/1.jpg", "caption": "dog"}, {"url": "x"})
    with transaction(part) as connection:
        assert connection.execute(text("SELECT current_user")).scalar_one() == role
        assert progress(connection, added.batch).pending == 1
        assert retry(connection, collection=collection) == 0


@pytest.mark.parametrize("role", ["clipgres_reader", "clipgres_web", "clipgres_worker"])
def test_every_role_may_search_in_sql(as_role: Callable[[str], Engine], pictures: Collection, role: str) -> None:
    assert query(as_role(role), SEARCH) == ["all red"]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 1 FROM clipgres.job",
        "SELECT 1 FROM clipgres.item_{id}",
        "SELECT 1 FROM clipgres.query_embedding",
        "CREATE TABLE public.mine ()",
        "CREATE TABLE collections.mine ()",
    ],
)
def test_a_reader_may_nothing_else(as_role: Callable[[str], Engine], pictures: Collection, statement: str) -> None:
    with pytest.raises(NotPermitted, match="permission denied"):
        query(as_role("clipgres_reader"), statement.format(id=pictures.id))


@pytest.mark.parametrize("table", ["collection", "alias"])
def test_the_web_may_not_touch_what_holds_the_collections(as_role: Callable[[str], Engine], table: str) -> None:
    with pytest.raises(NotPermitted, match="permission denied"):
        query(as_role("clipgres_web"), f"DELETE FROM clipgres.{table}")
