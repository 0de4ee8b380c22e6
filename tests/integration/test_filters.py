"""What filters find, on rows of every kind."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import Engine, text

from clipgres.collections import Collection
from clipgres.database import transaction
from clipgres.filters import Condition, compile_filter
from tests.vectors import make_collection, put, put_caption, put_images

METADATA: list[dict[str, Any]] = [
    {"year": 1957, "tag": "sea", "seen": True, "author": {"name": "Ada", "born": 1815}},
    {"year": 1999.5, "tag": ["sea", "sky"], "seen": False, "author": [{"name": "Ada"}, {"name": "Bob"}]},
    {"year": "1957", "tag": "a%_b\\", "a.b": {"c": 1}, "author": "Ada"},
    {"year": None, "width": 7, "tag": [], "sizes": [5, [6], {"0": 7}]},
    {},
]
CAPTIONS = [["two dogs on a beach"], ["a dog and a cat", "DOGS 100%"], ["a cat"], []]

FOUND: list[tuple[dict[str, Any], str]] = [
    ({}, "01234"),
    ({"width": {"$gte": 101}}, "123"),
    ({"width": {"$gt": 100, "$lt": 103}}, "12"),
    ({"width": {"$in": [100, 102.0, 5]}}, "02"),
    ({"width": {"$in": []}}, ""),
    ({"width": {"$nin": []}}, "01234"),
    ({"width": {"$ne": 100}}, "1234"),
    ({"width": {"$not": {"$lt": 102}}}, "234"),
    ({"width": {"$exists": False}}, "4"),
    ({"aspect": {"$lte": 1.01}}, "01"),
    ({"host": "host-2.org"}, "2"),
    ({"host": {"$nin": ["host-0.org", "host-1.org"]}}, "234"),
    ({"url": {"$gt": "http://host-1"}}, "123"),
    ({"key": {"$in": ["0", "4"]}}, "04"),
    ({"namespace": ""}, "01234"),
    ({"bytes": {"$lt": 2}, "content_type": "image/jpeg"}, "01"),
    ({"created_at": {"$gt": "2020-01-01"}}, "01234"),
    ({"last_seen_alive": {"$lt": "9999-12-31T23:59:59-12:00"}}, "0123"),
    ({"last_seen_alive": {"$lt": "0001-01-01T00:00:00+14:00"}}, ""),
    ({"year": 1957}, "0"),
    ({"year": "1957"}, "2"),
    ({"year": {"$gt": 1900}}, "01"),
    ({"year": {"$gt": "19"}}, "2"),
    ({"year": {"$lt": 1900}}, ""),
    ({"year": {"$ne": 1957}}, "1234"),
    ({"year": {"$exists": True}}, "012"),
    ({"year": {"$in": [1957, "1957"]}}, "02"),
    ({"tag": "sea"}, "01"),
    ({"tag": {"$nin": ["sky"]}}, "0234"),
    ({"tag": {"$gte": "sky"}}, "1"),
    ({"tag": "a%_b\\"}, "2"),
    ({"seen": True}, "0"),
    ({"seen": 1}, ""),
    ({"seen": {"$ne": True}}, "1234"),
    ({"metadata.width": 7}, "3"),
    ({"tag": {"$exists": True}}, "012"),
    ({"tag.0": "sea"}, "01"),
    ({"tag.1": "sky"}, "1"),
    ({"tag.1": "sea"}, ""),
    ({"author.name": "Ada"}, "01"),
    ({"author.name": {"$in": ["Bob", "Eve"]}}, "1"),
    ({"author.1.name": "Bob"}, "1"),
    ({"author.0.name": "Bob"}, ""),
    ({"author.born": {"$gt": 1800}}, "0"),
    ({"author.born": {"$exists": False}}, "1234"),
    ({"author": {"$exists": True}}, "012"),
    ({'"a.b".c': 1}, "2"),
    ({"a.b.c": 1}, ""),
    ({"sizes": {"$gte": 5, "$lte": 5}}, "3"),
    ({"sizes": 6}, "3"),
    ({"sizes.0": 7}, "3"),
    ({"sizes.0": 5}, "3"),
    ({"sizes.99999999999": 5}, ""),
    ({"status": "ok"}, "0123"),
    ({"status": {"$ne": "ok"}}, "4"),
    ({"first_seen_alive": {"$exists": True}}, ""),
    ({"caption": {"$match": "dog"}}, "01"),
    ({"caption": {"$match": "dog -cat"}}, "01"),
    ({"caption": {"$match": '"two dogs"'}}, "0"),
    ({"caption": {"$match": "beach OR cat"}}, "012"),
    ({"caption": {"$match": "the OR cat OR " + "-" * 20 + "dog"}}, "012"),
    ({"caption": {"$not": {"$match": "dog"}}}, "234"),
    ({"caption": {"$contains": "Dog"}}, "01"),
    ({"caption": {"$contains": "100%"}}, "1"),
    ({"caption": {"$contains": "_"}}, ""),
    ({"caption": {"$exists": False}}, "34"),
    ({"$or": [{"width": 100}, {"year": 1999.5}]}, "01"),
    ({"$and": [{"width": {"$gt": 100}}, {"tag": "sea"}]}, "1"),
    ({"$not": {"$or": [{"tag": "sea"}, {"width": {"$gt": 102}}]}}, "24"),
]
NASTY = ["'; DROP TABLE clipgres.image; --", "\\'; --", "%s %(x)s :x $1 {x}", '"]}\\', "' OR 1=1 --"]

MATCHING_SQL = """
    SELECT i.key FROM {items} i LEFT JOIN clipgres.image im ON im.id = i.image_id WHERE {condition} ORDER BY i.key
"""


@pytest.fixture
def collection(engine: Engine) -> Collection:
    """Items 0 to 4: 100 to 103 px wide with captions, and 4, which has no picture."""
    made = make_collection(engine)
    with transaction(engine) as connection:
        images = put_images(connection, 4)
        for image, captions in zip(images, CAPTIONS, strict=True):
            for caption in captions:
                put_caption(connection, image, caption)
        for n, metadata in enumerate(METADATA):
            put(connection, made, str(n), [1, 0, 0, 0], metadata=metadata, image=images[n] if n < 4 else None)
    return made


def matching(engine: Engine, collection: Collection, condition: Condition) -> str:
    """The keys that match, as one text."""
    statement = text(MATCHING_SQL.format(items=collection.item_table, condition=condition.sql))
    with transaction(engine) as connection:
        return "".join(connection.execute(statement, condition.parameters).scalars())


def test_what_filters_find(engine: Engine, collection: Collection) -> None:
    found = {str(given): matching(engine, collection, compile_filter(given)) for given, _ in FOUND}
    assert found == {str(given): expected for given, expected in FOUND}


def test_sql_and_json_in_names_and_values_change_nothing(engine: Engine, collection: Collection) -> None:
    quoted = {nasty: json.dumps(nasty) for nasty in NASTY}
    for nasty, name in quoted.items():
        conditions = [{name: nasty}, {name: {"$gt": nasty}}, {"host": nasty}, {"caption": {"$contains": nasty}}]
        assert [matching(engine, collection, compile_filter(given)) for given in conditions] == [""] * 4
        assert matching(engine, collection, compile_filter({"caption": {"$not": {"$match": nasty}}})) != ""
    with transaction(engine) as connection:
        for n, nasty in enumerate(NASTY):
            put(connection, collection, f"nasty {n}", [1, 0, 0, 0], metadata={nasty: nasty})
    for n, (nasty, name) in enumerate(quoted.items()):
        assert matching(engine, collection, compile_filter({name: nasty})) == f"nasty {n}"
        assert matching(engine, collection, compile_filter({name: {"$gte": nasty}})) == f"nasty {n}"
        assert matching(engine, collection, compile_filter({f"metadata.{name}": {"$in": ["", nasty]}})) == f"nasty {n}"


@pytest.mark.parametrize(
    "given",
    [{"tag": "t7"}, {"tag": {"$in": ["t7", "t8"]}}, {"deep.er": 7}, {"deep.0.er": 7}, {"$or": [{"n": 1}, {"n": 2}]}],
)
def test_equality_in_metadata_is_looked_up_in_its_index(
    engine: Engine, collection: Collection, given: dict[str, Any]
) -> None:
    with transaction(engine) as connection:
        rows = {"tag": "t7", "n": 1, "deep": {"er": 7}}, *({"tag": f"t{n % 50}", "n": n} for n in range(10, 3_000))
        put_all = text(f"""
            INSERT INTO {collection.item_table} (key, metadata, embedding)
            SELECT 'row ' || place, row, '[1,0,0,0]'
            FROM unnest(CAST(:rows AS jsonb[])) WITH ORDINALITY AS given (row, place)
        """)
        connection.execute(put_all, {"rows": [json.dumps(row) for row in rows]})
    with transaction(engine) as connection:
        connection.execute(text(f"ANALYZE {collection.item_table}"))
        condition = compile_filter(given)
        statement = MATCHING_SQL.format(items=collection.item_table, condition=condition.sql)
        plan = "\n".join(connection.execute(text("EXPLAIN " + statement), condition.parameters).scalars())
    assert f"Bitmap Index Scan on {collection.item_table.removeprefix('clipgres.')}_metadata_idx" in plan


def test_the_largest_filters_are_answered(engine: Engine, collection: Collection) -> None:
    values = [f'{n} \\ " é 🙂'.ljust(500, "x") for n in range(999)]
    assert matching(engine, collection, compile_filter({"tag": {"$in": [*values, "sea"]}})) == "01"
    assert matching(engine, collection, compile_filter({"tag": {"$nin": values}})) == "01234"
    terms = [{"tag.0": {"$not": {"$lt": value}}} for value in values[:200]]
    assert matching(engine, collection, compile_filter({"$and": terms})) == "01234"
