"""The schema: migrations make what the models say, one migrator at a time, and old servers are refused."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Event

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, text

import migrations.sql
from clipgres.database import check_pgvector, check_postgres, transaction
from clipgres.errors import SchemaError, Unavailable
from clipgres.migrations import MIGRATION_LOCK, check_migrated, downgrade, head_revision, upgrade
from clipgres.reasons import Reason
from clipgres.schema import SCHEMA, Base
from clipgres.servers.child import RunningChild
from clipgres.servers.postgres import SUPERUSER, embedded_database_url, postgres_child, prepare_postgres
from clipgres.settings import Settings
from migrations.env_filter import belongs_to_us
from migrations.versions import v0004_ingest
from tests.conftest import FAST, private_folder, started
from tests.ingest import add_urls, new_collection, scalar
from tests.vectors import put_caption

SQL_FILES = Path(migrations.sql.__file__).parent
TOUCH = {
    "job": "UPDATE clipgres.job SET attempts = attempts WHERE image_id = :id",
    "image": "UPDATE clipgres.image SET host = host WHERE id = :id",
}


def test_migrations_make_what_the_models_say(engine: Engine) -> None:
    with engine.connect() as connection:
        options = {
            "version_table_schema": SCHEMA,
            "include_schemas": True,
            "include_object": belongs_to_us,
            "compare_server_default": True,
        }
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []


@pytest.mark.parametrize("table", ["job", "image"])
def test_the_reasons_of_the_database_are_those_of_the_program(engine: Engine, table: str) -> None:
    definition = text("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = :name")
    with engine.connect() as connection:
        check = connection.execute(definition, {"name": f"{table}_known_reason_check"}).scalar_one()
    assert {part for part in check.split("'")[1::2] if part != ""} == {reason.value for reason in Reason}


def test_down_and_up_again(engine: Engine, database_url: str) -> None:
    downgrade(database_url, "base")
    with pytest.raises(SchemaError, match="clipgres migrate"), transaction(engine) as connection:
        check_migrated(connection)
    assert upgrade(database_url) == head_revision()
    with transaction(engine) as connection:
        check_migrated(connection)


def test_migrators_take_turns(database_url: str) -> None:
    downgrade(database_url, "base")
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda _: upgrade(database_url), range(4))) == {head_revision()}


def test_a_migrator_gives_up_waiting_for_another(engine: Engine, database_url: str) -> None:
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK})
        with pytest.raises(Unavailable, match="another migration"):
            upgrade(database_url, wait_s=0.1)


def test_a_migrator_does_not_queue_for_long_behind_a_busy_table(engine: Engine, database_url: str) -> None:
    with engine.connect() as connection:
        connection.execute(text("LOCK TABLE clipgres.alembic_version"))
        with pytest.raises(Unavailable, match="lock timeout"):
            upgrade(database_url)


def test_a_schema_of_a_newer_program_is_refused(engine: Engine, database_url: str) -> None:
    with transaction(engine) as connection:
        connection.execute(text("UPDATE clipgres.alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaError, match="newer than this clipgres"):
        upgrade(database_url)


@pytest.mark.parametrize("version", ["0.7.4", "0.8.3", None])
def test_an_unsafe_pgvector_is_refused(version: str | None) -> None:
    with pytest.raises(SchemaError, match=r"0\.8\.4"):
        check_pgvector(version)


@pytest.mark.parametrize("version", ["0.8.4", "0.8.6", "0.10.0", "1.0.0"])
def test_a_safe_pgvector_is_taken(version: str) -> None:
    check_pgvector(version)


def test_an_old_postgres_is_refused() -> None:
    with pytest.raises(SchemaError, match="PostgreSQL 14 is too old: clipgres needs 15"):
        check_postgres(14)


def test_captions_that_were_there_before_get_their_vectors(engine: Engine, database_url: str) -> None:
    collection = new_collection(engine)
    images = [add_urls(engine, collection, [f"http://a/{status}"])[0] for status in ("ok", "pending", "bare")]
    with transaction(engine) as connection:
        put_caption(connection, images[0], "red")
        put_caption(connection, images[1], "blue")
        connection.execute(text("UPDATE clipgres.job SET status = 'ok' WHERE image_id <> :id"), {"id": images[1]})
    downgrade(database_url, "0001")
    assert scalar(engine, "SELECT to_regclass('clipgres.caption_job') IS NULL")
    upgrade(database_url)
    assert scalar(engine, "SELECT array_agg(image_id) FROM clipgres.caption_job") == [images[0]]


def test_a_migration_that_broke_off_between_its_steps_goes_on(engine: Engine, database_url: str) -> None:
    downgrade(database_url, "0002")
    with transaction(engine) as connection:
        connection.execute(text("UPDATE clipgres.alembic_version SET version_num = '0001'"))
    assert upgrade(database_url) == head_revision()


def test_the_release_before_goes_on_writing_while_ingest_migrates(engine: Engine, database_url: str) -> None:
    images = add_urls(engine, new_collection(engine), ["http://a/1", "http://a/2"])
    downgrade(database_url, "0003")
    is_over = Event()

    def write(image: int, *tables: str) -> int:
        """Write to these tables in this order, as workers and lists do; returns how often."""
        times = 0
        while not is_over.is_set():
            with transaction(engine) as connection:
                for table in tables:
                    connection.execute(text(TOUCH[table]), {"id": image})
                    time.sleep(0.01)
            times += 1
        return times

    with ThreadPoolExecutor(2) as pool:
        writers = [pool.submit(write, images[0], "job", "image"), pool.submit(write, images[1], "image", "job")]
        try:
            assert upgrade(database_url) == head_revision()
        finally:
            is_over.set()
        assert all(writer.result() for writer in writers)


def test_what_failed_for_a_new_reason_keeps_one_in_the_release_before(engine: Engine, database_url: str) -> None:
    images = add_urls(engine, new_collection(engine), [f"http://a/{number}" for number in range(len(Reason))])
    with transaction(engine) as connection:
        for image, reason in zip(images, Reason, strict=True):
            failed = {"id": image, "reason": reason.value}
            connection.execute(
                text("UPDATE clipgres.image SET state = 'failed', reason = :reason WHERE id = :id"), failed
            )
            connection.execute(
                text("UPDATE clipgres.job SET status = 'failed', reason = :reason WHERE image_id = :id"), failed
            )
        connection.execute(text("UPDATE clipgres.job SET ignored_at = now()"))
        connection.execute(text("UPDATE clipgres.collection SET paused_at = now()"))
    downgrade(database_url, "0003")
    for table in ("image", "job"):
        check = f"ALTER TABLE clipgres.{table} VALIDATE CONSTRAINT {table}_known_reason_check"
        with transaction(engine) as connection:
            connection.execute(text(check))
    upgrade(database_url)
    assert scalar(engine, "SELECT count(*) FROM clipgres.job WHERE status = 'failed'") == len(Reason)


def test_the_tables_that_ingest_changes_may_be_changed_twice(engine: Engine, database_url: str) -> None:
    downgrade(database_url, "0003")
    for table in v0004_ingest.TABLES:
        with transaction(engine) as connection:
            connection.execute(text((SQL_FILES / f"0004_{table}.sql").read_text()))
    assert upgrade(database_url) == head_revision()


@pytest.fixture
def lesser() -> Iterator[Settings]:
    """A server of somebody's, where login `app` owns a database and may not make roles."""
    with private_folder() as folder:
        settings = Settings(home=folder)
        prepare_postgres(settings)
        server = started(RunningChild(postgres_child(settings, FAST)))
        try:
            as_superuser(settings, "template1", "CREATE EXTENSION vector", "CREATE ROLE app LOGIN")
            as_superuser(settings, "postgres", "CREATE DATABASE app OWNER app")
            yield settings
        finally:
            server.stop()


def as_superuser(settings: Settings, database: str, *statements: str) -> None:
    url = embedded_database_url(settings, role=SUPERUSER, database=database)
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        for statement in statements:
            connection.execute(statement.encode())


CALLABLE = """
    SELECT array_agg(proname::text ORDER BY proname) FROM pg_proc
    WHERE proname ~ '^(clip_|similar_to$)' AND has_function_privilege(%s, oid, 'EXECUTE')
"""


def test_without_roles_all_is_the_owners_alone(lesser: Settings) -> None:
    as_superuser(lesser, "postgres", "CREATE ROLE stranger LOGIN")
    url = embedded_database_url(lesser, role="app", database="app")
    upgrade(url)
    with closing(psycopg.connect(url)) as connection:
        assert connection.execute(CALLABLE, ["stranger"]).fetchone() == (None,)
        assert "similar_to" in str(connection.execute(CALLABLE, ["app"]).fetchone())


def test_roles_that_are_there_are_used_by_who_may_make_none(lesser: Settings) -> None:
    roles = [f"CREATE ROLE clipgres_{part}" for part in ("owner", "worker", "web", "reader")]
    as_superuser(lesser, "postgres", *roles)
    url = embedded_database_url(lesser, role="app", database="app")
    upgrade(url)
    usage = "SELECT has_schema_privilege('clipgres_reader', name, 'USAGE') FROM unnest(%s::text[]) AS name"
    with closing(psycopg.connect(url)) as connection:
        rows = connection.execute(usage, [["collections", "collection_captions", "clipgres"]]).fetchall()
        assert rows == [(True,), (True,), (False,)]
        assert "clip_text" in str(connection.execute(CALLABLE, ["clipgres_reader"]).fetchone())
