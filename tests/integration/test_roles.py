"""What each role of the database may do, and what it may not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from typing import Any

import psycopg
import pytest
from PIL import Image
from redis import Redis
from sqlalchemy import Engine, event, text

from clipgres.batches import progress
from clipgres.captions import embed_captions
from clipgres.cli.database import as_reader
from clipgres.collections import Collection
from clipgres.database import create_engine, libpq_url, transaction
from clipgres.doctor import Health, examine
from clipgres.errors import NotPermitted
from clipgres.failures import FailureFilter, retry
from clipgres.migrations import upgrade
from clipgres.rights import READER, READER_DEFAULTS, excess, withhold
from clipgres.servers.postgres import SUPERUSER, embedded_database_url
from clipgres.settings import Settings
from clipgres.text_vectors import TextVectors
from tests.adding import add, collection_named, query, set_job
from tests.fakes import FakeEncoder
from tests.listening import login
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
        assert retry(connection, FailureFilter(collection=collection.name)) == 0


def test_the_web_may_caption_what_is_searchable_and_the_worker_embeds_it(
    engine: Engine, as_role: Callable[[str], Engine]
) -> None:
    collection = collection_named(engine)
    add(engine, collection, {"url": "http://a/1.jpg"})
    set_job(engine, "a/1.jpg", status="ok")
    add(as_role("clipgres_web"), collection, {"url": "http://a/1.jpg", "caption": "dog"})
    assert embed_captions(as_role("clipgres_worker"), collection, FakeEncoder(8)) == 1


@pytest.mark.parametrize("role", ["clipgres_reader", "clipgres_web", "clipgres_worker"])
def test_every_role_may_search_in_sql(as_role: Callable[[str], Engine], pictures: Collection, role: str) -> None:
    assert query(as_role(role), SEARCH) == ["all red"]


@pytest.mark.parametrize("role", ["clipgres_reader", "clipgres_web", "clipgres_worker"])
def test_every_role_may_use_the_other_functions(
    as_role: Callable[[str], Engine], pictures: Collection, role: str
) -> None:
    part = as_role(role)
    [(key, _score)] = query(part, "SELECT key, score FROM similar_to('default', '1')")
    assert key == "2"
    scores = "SELECT clip_score(embedding, 'red') FROM collections.\"default\" ORDER BY key"
    assert query(part, scores)[1] > 0.9
    assert query(part, 'SELECT caption FROM collection_captions."default"') == []


def _autocommit(url: str) -> psycopg.Connection[Any]:
    return psycopg.connect(url, autocommit=True)


FORBIDDEN = [
    "SELECT 1 FROM clipgres.job",
    "SELECT 1 FROM clipgres.item_{id}",
    "SELECT 1 FROM clipgres.query_embedding",
    "SELECT clipgres.collection_named('default')",
    "CREATE TABLE public.mine ()",
    "CREATE TABLE collections.mine ()",
    "CREATE VIEW collection_captions.mine AS SELECT 1",
    "CREATE FUNCTION public.mine() RETURNS integer LANGUAGE sql RETURN 1",
    "CREATE SCHEMA mine",
    "CREATE ROLE mine",
    "CREATE TEMPORARY TABLE mine ()",
    "CREATE TEMPORARY VIEW mine AS SELECT 1",
    "SELECT 1 AS one INTO TEMPORARY mine",
    "CREATE TEMPORARY SEQUENCE mine",
    "SELECT lo_create(0)",
    "SELECT lo_creat(-1)",
    "SELECT lo_from_bytea(0, 'mine')",
    "SELECT lo_open(1, 131072)",
    "SELECT lowrite(0, 'mine')",
    "SELECT pg_advisory_lock(4712001)",
    "SELECT pg_try_advisory_lock_shared(1, 2)",
    "SELECT pg_try_advisory_xact_lock(1)",
    "SELECT pg_logical_emit_message(false, 'mine', 'mine')",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "COPY (SELECT 1) TO '/tmp/mine'",
    "SELECT pg_read_file('PG_VERSION')",
    "ALTER DATABASE {database} SET statement_timeout = 0",
]


def test_a_reader_may_nothing_else(
    engine: Engine, as_role: Callable[[str], Engine], pictures: Collection, database_url: str
) -> None:
    upgrade(database_url)  # a database made from a template has the rights of a new one
    reader = as_role("clipgres_reader")
    for statement in FORBIDDEN:
        with pytest.raises(NotPermitted, match=r"permission denied|must be"):
            query(reader, statement.format(id=pictures.id, database=engine.url.database))
            pytest.fail(f"a reader may {statement}")


def test_the_parts_keep_their_temporary_tables_and_locks(
    as_role: Callable[[str], Engine], database_url: str, engine: Engine
) -> None:
    upgrade(database_url)
    for role in ("clipgres_owner", "clipgres_worker", "clipgres_web"):
        query(as_role(role), "CREATE TEMPORARY TABLE mine ()")
        assert query(as_role(role), "SELECT pg_try_advisory_xact_lock(1)") == [True]


def test_on_a_server_of_ours_it_is_so_from_the_first_start(engine: Engine, postgres: Settings) -> None:
    rights = """
        SELECT array_agg(r.rolname::text ORDER BY r.rolname) FROM pg_roles r
        WHERE r.rolname ~ '^clipgres_' AND has_database_privilege(r.oid, 'clipgres', 'TEMP')
    """
    assert query(engine, rights) == [["clipgres_owner", "clipgres_web", "clipgres_worker"]]


def test_doctor_tells_what_readers_should_not_have(
    engine: Engine, settings: Settings, database_url: str, redis_url: str
) -> None:
    def told() -> list[tuple[Health, str]]:
        with closing(Redis.from_url(redis_url)) as redis:
            findings = examine(settings, engine, redis, FixedEncoders(FakeEncoder()))
            return [(found.health, found.detail) for found in findings if found.subject == "readers"]

    assert told() == [(Health.UNUSUAL, "readers may make temporary tables")]
    upgrade(database_url)
    assert told() == [(Health.WELL, "may read, and nothing else")]


def test_logins_that_are_there_keep_what_readers_lose(engine: Engine, postgres: Settings, database_url: str) -> None:
    database = str(engine.url.database)
    with login(postgres, database) as other, login(postgres, database, "clipgres_reader") as reader:
        upgrade(database_url)
        with closing(psycopg.connect(other)) as connection:
            connection.execute("CREATE TEMPORARY TABLE mine ()")
        with closing(psycopg.connect(reader)) as connection:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("CREATE TEMPORARY TABLE mine ()")


def test_what_a_lesser_login_cannot_withhold_is_told_with_what_mends_it(engine: Engine, postgres: Settings) -> None:
    database = str(engine.url.database)
    url = embedded_database_url(postgres, role=SUPERUSER, database=database)
    with login(postgres, database, "clipgres_web") as lesser, closing(_autocommit(lesser)) as connection:
        withhold(connection)
        [amiss] = excess(connection)
        assert amiss.what == "readers may make temporary tables"
        with closing(_autocommit(url)) as admin:
            admin.execute(amiss.statement.encode())
        assert excess(connection) == []


def test_a_superuser_withholds_what_is_the_servers_and_the_owner_keeps_it(
    engine: Engine, postgres: Settings, database_url: str
) -> None:
    url = embedded_database_url(postgres, role=SUPERUSER, database=str(engine.url.database))
    with closing(_autocommit(url)) as admin:
        admin.execute("GRANT EXECUTE ON FUNCTION lo_create(oid), lowrite(integer, bytea) TO PUBLIC")
        admin.execute("GRANT EXECUTE ON FUNCTION pg_advisory_lock(bigint) TO PUBLIC")
        admin.execute("GRANT EXECUTE ON FUNCTION pg_logical_emit_message(boolean, text, text, boolean) TO PUBLIC")
        admin.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
        assert {one.what.split(" may ")[1] for one in excess(admin)} == {
            "make temporary tables",
            "make tables in schema public",
            "write large objects",
            "hold the locks that workers and migrations take turns by",
            "write to the log that replicas and archives copy",
        }
        withhold(admin)
        assert excess(admin) == []
    assert query(engine, "SELECT lo_create(0) > 0") == [True]


@contextmanager
def group_setting(admin: psycopg.Connection[Any]) -> Iterator[None]:
    """A setting of the group of readers, while the block runs."""
    admin.execute("ALTER ROLE clipgres_reader SET work_mem = '7MB'")
    try:
        yield
    finally:
        admin.execute("ALTER ROLE clipgres_reader RESET work_mem")


def test_settings_of_the_group_are_not_its_members(engine: Engine, postgres: Settings) -> None:
    database = str(engine.url.database)
    url = embedded_database_url(postgres, role=SUPERUSER, database=database)
    with closing(_autocommit(url)) as admin, group_setting(admin):
        with login(postgres, database, "clipgres_reader") as address, closing(psycopg.connect(address)) as reader:
            assert reader.execute("SHOW work_mem").fetchone() != ("7MB",)
            reader.execute("SET ROLE clipgres_reader")
            assert reader.execute("SHOW work_mem").fetchone() != ("7MB",)


def test_psql_as_a_reader_has_its_rights_and_settings(database_url: str, pictures: Collection) -> None:
    with closing(_autocommit(libpq_url(as_reader(database_url)))) as reader:
        assert reader.execute(SEARCH).fetchone() == ("all red",)
        assert reader.execute("SELECT current_user").fetchone() == (READER,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute("SELECT 1 FROM clipgres.job")
        for name, value in READER_DEFAULTS.items():
            assert reader.execute(f"SHOW {name}".encode()).fetchone() == (value,)


def test_options_that_an_address_has_stay() -> None:
    address = as_reader("postgresql://me@host/data?options=-c%20search_path%3Dmine")
    assert "-c%20search_path%3Dmine%20-c%20role%3Dclipgres_reader%20" in libpq_url(address)


@pytest.mark.parametrize("table", ["collection", "alias"])
def test_the_web_may_not_touch_what_holds_the_collections(as_role: Callable[[str], Engine], table: str) -> None:
    with pytest.raises(NotPermitted, match="permission denied"):
        query(as_role("clipgres_web"), f"DELETE FROM clipgres.{table}")


def test_the_web_may_not_pause(as_role: Callable[[str], Engine]) -> None:
    with pytest.raises(NotPermitted, match="permission denied"):
        query(as_role("clipgres_web"), "UPDATE clipgres.collection SET paused_at = now()")
