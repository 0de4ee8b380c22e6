"""Collections: their tables and views, aliases that move, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from clipgres import collections
from clipgres.database import create_engine, transaction
from clipgres.errors import BadRequest, Conflict, ModelError, NotFound
from clipgres.migrations import downgrade, head_revision, upgrade
from clipgres.models import Space
from clipgres.settings import Settings
from tests.ingest import wait_until
from tests.listening import login


def space(dimension: int = 4, model: str = "small") -> Space:
    """A space of a model that needs not be there."""
    return Space(model=model, revision="0" * 40, preprocessing="none", dimension=dimension)


def put(connection: Connection, collection: collections.Collection, key: str, vector: list[float]) -> None:
    """Write one vector without a picture."""
    statement = f"INSERT INTO {collection.item_table} (key, embedding) VALUES (:key, CAST(:vector AS halfvec))"
    connection.execute(text(statement), {"key": key, "vector": str(vector)})


def test_a_collection_is_found_by_its_name(engine: Engine) -> None:
    with transaction(engine) as connection:
        made = collections.create(connection, "pets", space())
        assert collections.find(connection, "pets") == made
        assert collections.list_all(connection) == [made]


def test_a_name_is_taken_once(engine: Engine) -> None:
    with transaction(engine) as connection:
        collections.create(connection, "pets", space())
        with pytest.raises(Conflict, match='"pets" already'):
            collections.create(connection, "pets", space())


@pytest.mark.parametrize("name", ["", "Pets", "-pets", "a" * 46, 'p"; DROP TABLE x', "pets\n"])
def test_a_name_that_does_not_fit_is_refused(engine: Engine, name: str) -> None:
    with transaction(engine) as connection, pytest.raises(BadRequest, match="1 to 45 characters"):
        collections.create(connection, name, space())


def test_a_near_name_is_offered(engine: Engine) -> None:
    with transaction(engine) as connection:
        collections.create(connection, "pets", space())
        with pytest.raises(NotFound, match='did you mean "pets"'):
            collections.find(connection, "pest")


def test_a_collection_of_another_model_is_refused(engine: Engine) -> None:
    with transaction(engine) as connection:
        collections.create(connection, "pets", space())
        with pytest.raises(ModelError, match="small at 0000"):
            collections.find_or_create(connection, "pets", space(model="other"))


def test_a_collection_that_another_makes_at_the_same_moment_is_used(engine: Engine) -> None:
    with ThreadPoolExecutor() as pool, transaction(engine) as connection:
        made = collections.create(connection, "pets", space())
        waiting = pool.submit(find_or_create_pets, engine)
        assert not wait_until(waiting.done, 0.3)
        connection.commit()
        assert waiting.result(30) == made


def find_or_create_pets(engine: Engine) -> collections.Collection:
    with transaction(engine) as connection:
        return collections.find_or_create(connection, "pets", space())


def test_without_an_alias_it_is_found_by_its_id(engine: Engine) -> None:
    with transaction(engine) as connection:
        pets = collections.create(connection, "pets", space())
        assert collections.find_by_id(connection, pets.id) == pets
        collections.set_alias(connection, "pets", collections.create(connection, "cars", space()))
        assert collections.find_by_id(connection, pets.id) == replace(pets, name=str(pets.id))
        assert collections.find_by_id(connection, 4_711) is None


NEAREST = "SELECT key FROM {view} ORDER BY embedding <=> (SELECT '{vector}'::halfvec) LIMIT 5"


@pytest.fixture
def moved(engine: Engine, postgres: Settings) -> Iterator[tuple[Connection, collections.Collection]]:
    """An alias that moved from 4 to 6 dimensions under views of a reader's, and its new collection, indexed."""
    database = str(engine.url.database)
    with login(postgres, database, "clipgres_reader") as address:
        reader = make_url(address).username
        with transaction(engine) as connection:
            make_full(connection, "pets", 4)
            connection.execute(text(f"CREATE SCHEMA mine; GRANT ALL ON SCHEMA mine TO {reader}"))
        own = create_engine(address)
        with transaction(own) as connection:
            for view, ours in (("pictures", "collections.pets"), ("captions", "collection_captions.pets")):
                connection.execute(text(f"CREATE VIEW mine.{view} AS SELECT caption, key, embedding FROM {ours}"))
        with transaction(engine) as connection:
            bigger = make_full(connection, "pets-v2", 6)
            collections.set_alias(connection, "pets", bigger)
        with transaction(own) as connection:
            yield connection, bigger
        own.dispose()
        with transaction(engine) as connection:
            connection.execute(text("DROP SCHEMA mine CASCADE"))


def make_full(connection: Connection, name: str, dimension: int) -> collections.Collection:
    """A collection of 2,000 pictures with a caption each, and both of its indexes."""
    made = collections.create(connection, name, space(dimension))
    names = {"items": made.item_table, "captions": made.caption_table, "name": name, "dimension": dimension}
    connection.execute(text(FULL_SQL.format(**names)))
    for index, table in ((made.index_name, made.item_table), (made.caption_index_name, made.caption_table)):
        connection.execute(text(f"CREATE INDEX {index} ON {table} USING hnsw (embedding halfvec_cosine_ops)"))
    connection.execute(text(f"ANALYZE {made.item_table}, {made.caption_table}, clipgres.caption, clipgres.image"))
    return made


FULL_SQL = """
    WITH image AS (
        INSERT INTO clipgres.image (url, url_key, host)
        SELECT '{name}' || n, sha256(('{name}' || n)::bytea), 'a' FROM generate_series(1, 2000) n
        RETURNING id, url
    ),
    caption AS (
        INSERT INTO clipgres.caption (image_id, text) SELECT id, 'caption of ' || url FROM image RETURNING id, image_id
    ),
    item AS (
        INSERT INTO {items} (key, image_id, embedding)
        SELECT url, id, (SELECT array_agg(sin(id * d)) FROM generate_series(1, {dimension}) d)::halfvec FROM image
        RETURNING image_id, embedding
    )
    INSERT INTO {captions} (caption_id, image_id, embedding)
    SELECT c.id, c.image_id, i.embedding FROM caption c JOIN item i USING (image_id)
"""


@pytest.mark.parametrize("kind", ["pictures", "captions"])
def test_a_users_view_follows_an_alias_to_another_dimension_and_its_index(
    moved: tuple[Connection, collections.Collection], kind: str
) -> None:
    connection, bigger = moved
    query = NEAREST.format(view=f"mine.{kind}", vector="[1,0,0,0,0,0]")
    found = connection.execute(text(query)).scalars().all()
    assert [key.startswith("pets-v2") for key in found] == [True] * 5
    plan = "\n".join(connection.execute(text(f"EXPLAIN {query}")).scalars())
    index = bigger.index_name if kind == "pictures" else bigger.caption_index_name
    assert f"Index Scan using {index} " in plan, plan


def test_a_collection_that_a_users_view_stands_on_is_not_deleted(engine: Engine) -> None:
    with transaction(engine) as connection:
        collections.create(connection, "pets", space())
        connection.execute(text("CREATE VIEW mine AS SELECT key FROM collections.pets"))
    with pytest.raises(
        Conflict, match=r'"pets" is in use in SQL: view mine depends on view collections.pets; drop that'
    ):
        with transaction(engine) as connection:
            collections.delete(connection, "pets")
    with transaction(engine) as connection:
        assert [collection.name for collection in collections.list_all(connection)] == ["pets"]


def test_collections_that_were_there_get_their_view_of_captions(engine: Engine, database_url: str) -> None:
    with transaction(engine) as connection:
        collections.create(connection, "pets", space())
    downgrade(database_url, "0002")
    assert upgrade(database_url) == head_revision()
    with transaction(engine) as connection:
        made = _columns(connection)
        collections.set_alias(connection, "pets", collections.find(connection, "pets"))
        assert _columns(connection) == made


def _columns(connection: Connection) -> list[str]:
    columns = text("SELECT attname FROM pg_attribute WHERE attrelid = 'collection_captions.pets'::regclass")
    return [str(name) for name in connection.execute(columns).scalars()]


@pytest.mark.parametrize("vector", [[0, 0, 0, 0], [1, 0, 0]])
def test_zero_vectors_and_wrong_dimensions_never_enter(engine: Engine, vector: list[float]) -> None:
    with transaction(engine) as connection:
        pets = collections.create(connection, "pets", space(4))
    with pytest.raises(DBAPIError, match=r"check constraint|expected 4 dimensions"):
        with transaction(engine) as connection:
            put(connection, pets, "bad", vector)


def test_deleting_a_collection_leaves_others_and_their_images(engine: Engine) -> None:
    with transaction(engine) as connection:
        for name in ("pets", "cars"):
            made = collections.create(connection, name, space())
            for url in ("shared", f"only-{name}"):
                add_image(connection, made, url)
        collections.delete(connection, "pets")
        assert [collection.name for collection in collections.list_all(connection)] == ["cars"]
        urls = connection.execute(text("SELECT url FROM clipgres.image ORDER BY url")).scalars().all()
        assert urls == ["only-cars", "shared"]
        for views in ("collections", "collection_captions"):
            assert connection.execute(text(f"SELECT to_regclass('{views}.pets')")).scalar_one() is None


def add_image(connection: Connection, collection: collections.Collection, url: str) -> None:
    """Ask for one image in a collection."""
    image = text("""
        INSERT INTO clipgres.image (url, url_key, host) VALUES (:url, sha256(CAST(:url AS text)::bytea), 'host')
        ON CONFLICT (url_key) DO UPDATE SET url = excluded.url RETURNING id
    """)
    image_id = connection.execute(image, {"url": url}).scalar_one()
    job = text("INSERT INTO clipgres.job (collection_id, image_id, key) VALUES (:collection, :image, :key)")
    connection.execute(job, {"collection": collection.id, "image": image_id, "key": str(image_id)})
