"""Building the HNSW index of a collection: when, once, and over what a failed build left."""

from __future__ import annotations

from threading import Event, Thread

import numpy as np
import psycopg
import pytest
from pgvector import HalfVector
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from clipgres.collections import Collection
from clipgres.database import autocommit, driver_connection, libpq_url, transaction
from clipgres.encoder import unit
from clipgres.index import LOCK_SQL, UNLOCK_SQL, IndexOf, IndexState, build_index, index_state, needs_index
from tests.ingest import new_collection, scalar

COPY_ONE_SQL = "INSERT INTO {items} (key, embedding) SELECT '{key}', embedding FROM {items} LIMIT 1"

COPY_TO_CAPTIONS_SQL = "INSERT INTO {captions} SELECT id, id, embedding FROM {items}"


@pytest.fixture
def collection(engine: Engine) -> Collection:
    return new_collection(engine)


def fill(engine: Engine, collection: Collection, rows: int) -> None:
    vectors = unit(np.random.default_rng(0).normal(size=(rows, 512)).astype(np.float32))
    with transaction(engine) as connection, driver_connection(connection).cursor() as cursor:
        with cursor.copy(f"COPY {collection.item_table} (key, embedding) FROM STDIN") as copy:
            for number, vector in enumerate(vectors):
                copy.write_row((str(number), HalfVector(vector)))


def state(engine: Engine, collection: Collection) -> IndexState:
    with transaction(engine) as connection:
        return index_state(connection, IndexOf.items(collection))


def is_needed(engine: Engine, collection: Collection, rows: int) -> bool:
    with transaction(engine) as connection:
        return needs_index(connection, IndexOf.items(collection), rows)


def test_a_new_collection_has_none(engine: Engine, collection: Collection) -> None:
    assert state(engine, collection) == IndexState(collection.index_name, False, False, False, 0)


def test_it_is_needed_from_so_many_rows_on(engine: Engine, collection: Collection) -> None:
    fill(engine, collection, 50)
    assert is_needed(engine, collection, 50)
    assert not is_needed(engine, collection, 51)
    assert build_index(engine, IndexOf.items(collection))
    assert not is_needed(engine, collection, 50)


def test_building_it_makes_searches_use_it(engine: Engine, collection: Collection) -> None:
    fill(engine, collection, 2_000)
    assert build_index(engine, IndexOf.items(collection))
    built = state(engine, collection)
    assert (built.is_there, built.is_valid, built.is_building) == (True, True, False)
    assert built.bytes > 100_000
    one = f"SELECT embedding FROM {collection.item_table} LIMIT 1"
    query = f"SELECT id FROM {collection.item_table} ORDER BY embedding <=> ({one}) LIMIT 5"
    with transaction(engine) as connection:
        plan = "\n".join(connection.execute(text(f"EXPLAIN {query}")).scalars())
    assert collection.index_name in plan


def test_building_twice_is_building_once(engine: Engine, collection: Collection) -> None:
    assert build_index(engine, IndexOf.items(collection))
    assert not build_index(engine, IndexOf.items(collection))


def test_one_session_builds_while_others_do_not_wait(engine: Engine, collection: Collection) -> None:
    with autocommit(engine) as other:
        other.execute(LOCK_SQL, {"name": collection.index_name})
        assert not build_index(engine, IndexOf.items(collection))
        other.execute(UNLOCK_SQL, {"name": collection.index_name})
    assert build_index(engine, IndexOf.items(collection))


def test_what_a_failed_build_left_is_replaced(engine: Engine, collection: Collection) -> None:
    fill(engine, collection, 10)
    items, index = collection.item_table, collection.index_name
    with autocommit(engine) as connection:
        connection.exec_driver_sql(COPY_ONE_SQL.format(items=items, key="twin"))
        with pytest.raises(IntegrityError):
            connection.exec_driver_sql(f"CREATE UNIQUE INDEX CONCURRENTLY {index} ON {items} (embedding)")
    left = state(engine, collection)
    assert (left.is_there, left.is_valid, left.is_building) == (True, False, False)
    assert build_index(engine, IndexOf.items(collection))
    assert "hnsw" in str(scalar(engine, "SELECT indexdef FROM pg_indexes WHERE indexname = :name", name=index))


def test_the_session_goes_back_as_it_came(engine: Engine, collection: Collection) -> None:
    build_index(engine, IndexOf.items(collection))
    assert scalar(engine, "SHOW lock_timeout") == "30s"
    assert scalar(engine, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0


def test_a_build_in_progress_is_seen(engine: Engine, collection: Collection, database_url: str) -> None:
    fill(engine, collection, 10)
    seen = Event()
    with psycopg.connect(libpq_url(database_url)) as writer:
        writer.execute(COPY_ONE_SQL.format(items=collection.item_table, key="open").encode())
        builder = Thread(target=build_index, args=(engine, IndexOf.items(collection)))
        builder.start()
        for _ in range(100):
            if state(engine, collection).is_building:
                seen.set()
                break
            builder.join(0.05)
        writer.rollback()
    builder.join(20)
    assert seen.is_set()
    assert state(engine, collection).is_valid


def test_captions_have_an_index_of_their_own(engine: Engine, collection: Collection) -> None:
    captions = IndexOf.captions(collection)
    fill(engine, collection, 20)
    with transaction(engine) as connection:
        connection.execute(text(COPY_TO_CAPTIONS_SQL.format(items=collection.item_table, captions=captions.table)))
        assert not needs_index(connection, captions, 21)
        assert needs_index(connection, captions, 20)
    assert build_index(engine, captions)
    with transaction(engine) as connection:
        built = index_state(connection, captions)
        assert (built.name, built.is_valid) == (collection.caption_index_name, True)
        assert not needs_index(connection, captions, 20)
    assert not state(engine, collection).is_there
