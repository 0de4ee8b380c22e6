"""The schema: migrations make what the models say, one migrator at a time, and old servers are refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, text

from clipgres.database import check_pgvector, check_postgres, transaction
from clipgres.errors import SchemaError, Unavailable
from clipgres.migrations import MIGRATION_LOCK, check_migrated, downgrade, head_revision, upgrade
from clipgres.reasons import Reason
from clipgres.schema import SCHEMA, Base
from migrations.env_filter import belongs_to_us
from tests.ingest import add_urls, new_collection, scalar
from tests.vectors import put_caption


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
