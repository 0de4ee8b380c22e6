"""Collections: their tables and views, aliases that move, and what is refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from clipgres import collections
from clipgres.database import transaction
from clipgres.errors import BadRequest, Conflict, ModelError, NotFound
from clipgres.models import Space
from tests.ingest import wait_until


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


def test_a_users_view_follows_an_alias_to_another_dimension(engine: Engine) -> None:
    with transaction(engine) as connection:
        put(connection, collections.create(connection, "pets", space(4)), "old", [1, 0, 0, 0])
        connection.execute(text("CREATE VIEW mine AS SELECT key, embedding FROM collections.pets"))
        bigger = collections.create(connection, "pets-v2", space(6))
        put(connection, bigger, "new", [1, 0, 0, 0, 0, 0])
        collections.set_alias(connection, "pets", bigger)
        nearest = text("SELECT key FROM mine ORDER BY embedding <=> '[1,0,0,0,0,0]'::halfvec LIMIT 1")
        assert connection.execute(nearest).scalars().all() == ["new"]


def test_the_hnsw_index_serves_the_view_and_a_users_view_on_it(engine: Engine) -> None:
    with transaction(engine) as connection:
        pets = collections.create(connection, "pets", space(4))
        create = f"CREATE INDEX {pets.index_name} ON {pets.item_table} USING hnsw (embedding halfvec_cosine_ops)"
        connection.execute(text(create))
        connection.execute(text("CREATE VIEW mine AS SELECT key, caption, embedding FROM collections.pets"))
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        explain = text("EXPLAIN SELECT key, caption FROM mine ORDER BY embedding <=> '[1,0,0,0]'::halfvec LIMIT 5")
        assert pets.index_name in "\n".join(connection.execute(explain).scalars())


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
        assert connection.execute(text("SELECT to_regclass('collections.pets')")).scalar_one() is None


def add_image(connection: Connection, collection: collections.Collection, url: str) -> None:
    """Ask for one image in a collection."""
    image = text("""
        INSERT INTO clipgres.image (url, url_key, host) VALUES (:url, sha256(CAST(:url AS text)::bytea), 'host')
        ON CONFLICT (url_key) DO UPDATE SET url = excluded.url RETURNING id
    """)
    image_id = connection.execute(image, {"url": url}).scalar_one()
    job = text("INSERT INTO clipgres.job (collection_id, image_id, key) VALUES (:collection, :image, :key)")
    connection.execute(job, {"collection": collection.id, "image": image_id, "key": str(image_id)})
