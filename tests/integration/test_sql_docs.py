"""Every statement of docs/sql.md runs, and those that are said to go by the index do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from sqlalchemy import Engine, text

from clipgres.collections import Collection
from clipgres.database import libpq_url, transaction
from clipgres.rights import READER_DEFAULTS
from clipgres.servers.postgres import SUPERUSER, embedded_database_url
from clipgres.settings import Settings
from tests.fakes import FakeEncoder
from tests.listening import drop_role, listening
from tests.seed import FixedEncoders, seed_collection
from tests.vectors import build_caption_index, build_index, clustered, fill, fill_captions
from worker.models import Models

PAGE = (Path(__file__).parents[2] / "docs" / "sql.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
ROWS, DIMENSION = 3_000, 64

PRODUCTS_SQL = """
    CREATE TABLE product (picture text, name text, price numeric);
    INSERT INTO product SELECT n::text, 'product ' || n, n FROM generate_series(1, 3000) n;
    UPDATE clipgres.caption SET text = 'a dog ' || id;
    ANALYZE product; ANALYZE clipgres.caption; ANALYZE clipgres.image;
"""


def seed(engine: Engine, encoder: FakeEncoder) -> Collection:
    """Pictures near two texts and others, their captions, both indexes, and a table of the user's own."""
    collection = seed_collection(engine, encoder)
    vectors = clustered(ROWS, DIMENSION)
    texts = encoder.text(["two dogs", "a red car"])
    vectors[:400] = (vectors[:400] + 3 * np.repeat(texts, 200, axis=0)).astype(np.float16)
    vectors[1_000] = vectors[99]
    fill(engine, collection, vectors, with_images=True)
    fill_captions(engine, collection, vectors[:, np.newaxis])
    build_index(engine, collection)
    build_caption_index(engine, collection)
    with transaction(engine) as connection:
        connection.execute(text(PRODUCTS_SQL))
    return collection


def statements(block: str) -> Iterator[str]:
    """The statements of a block, without the comment that says how they go."""
    for statement in re.sub(r"^--.*\n", "", block).split(";\n"):
        if statement.strip():
            yield statement.strip()


def said_index(block: str, collection: Collection) -> str | None:
    """The index that a block says it goes by."""
    names = {"-- by the index": collection.index_name, "-- by the index of captions": collection.caption_index_name}
    return names.get(block.partition("\n")[0])


@contextmanager
def without_ann(url: str) -> Iterator[None]:
    """Takes the login away that the page makes."""
    try:
        yield
    finally:
        with closing(psycopg.connect(url, autocommit=True)) as admin:
            if admin.execute("SELECT FROM pg_roles WHERE rolname = 'ann'").fetchone() is not None:
                drop_role(admin, "ann")


def test_each_statement_runs_and_goes_as_the_page_says(engine: Engine, database_url: str, postgres: Settings) -> None:
    encoder = FakeEncoder(DIMENSION)
    collection = seed(engine, encoder)
    admin_url = embedded_database_url(postgres, role=SUPERUSER, database=str(engine.url.database))
    with (
        closing(psycopg.connect(libpq_url(database_url), autocommit=True)) as session,
        listening(engine, session, Models(FixedEncoders(encoder))),
        without_ann(admin_url),
    ):
        ran = [
            _run(session, statement, said_index(block, collection))
            for block in BLOCKS
            for statement in statements(block)
        ]
        pairs = {row[:2] for block in BLOCKS if " twin" in block for row in session.execute(block.encode())}
    assert ("99", "1000") in pairs
    assert ran.count("by the index") == sum("-- by the index" in block for block in BLOCKS) >= 10


def _run(session: psycopg.Connection[Any], statement: str, index: str | None) -> str:
    is_query = statement.startswith(("SELECT", "WITH"))
    found = session.execute(statement.encode())
    if not is_query or "'[1]'" in statement:
        return "as is"
    assert found.fetchone() is not None, f"finds nothing: {statement}"
    if index is None:
        return "as is"
    plan = "\n".join(row[0] for row in session.execute(b"EXPLAIN " + statement.encode()))
    assert f"using {index} " in plan, f"{statement}\n{plan}"
    return "by the index"


def test_the_settings_of_a_reader_are_those_that_psql_has() -> None:
    settings = dict(re.findall(r"ALTER ROLE ann SET ([\w.]+) = '(\w+)'", PAGE))
    assert settings == READER_DEFAULTS
