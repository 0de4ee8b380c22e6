"""The filter language: what compiles to what, and what is refused in which words."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pytest

from clipgres.errors import BadRequest
from clipgres.filters import COLUMNS, MAX_CONDITIONS, MAX_LIST, Condition, compile_filter


def nested(levels: int) -> dict[str, Any]:
    """A filter of so many objects, each in the other's $not."""
    return {"width": 1} if levels == 1 else {"$not": nested(levels - 1)}


def test_no_filter_is_true() -> None:
    assert compile_filter({}) == Condition()


def test_a_bare_value_means_equality() -> None:
    assert compile_filter({"host": "a.org"}) == compile_filter({"host": {"$eq": "a.org"}})


def test_values_are_bound_never_written() -> None:
    evil = "'; DROP TABLE clipgres.image; --"
    condition = compile_filter({"host": evil, evil: evil, "caption": {"$match": evil, "$contains": evil}})
    assert "DROP" not in condition.sql
    assert "DROP" in str(condition.parameters)


@pytest.mark.parametrize(
    ("given", "sql"),
    [
        ({"width": {"$gte": 640}}, "im.width >= CAST(:filter_0 AS double precision)"),
        ({"host": {"$ne": "a"}}, "(im.host = ANY (CAST(:filter_0 AS text[]))) IS NOT TRUE"),
        ({"url": {"$exists": False}}, "(im.url IS NOT NULL) IS NOT TRUE"),
        ({"year": 1957}, "i.metadata @> ANY (CAST(:filter_0 AS jsonb[]))"),
        ({"$or": [{"width": 1}, {"host": "a"}]}, "OR im.host"),
        ({"width": {"$not": {"$gt": 5}}}, "(im.width > CAST(:filter_0 AS double precision)) IS NOT TRUE"),
    ],
)
def test_what_compiles_to_what(given: dict[str, Any], sql: str) -> None:
    assert sql in compile_filter(given).sql


def test_a_time_without_a_zone_is_in_utc() -> None:
    condition = compile_filter({"created_at": {"$lt": "2026-11-24"}})
    assert condition.parameters == {"filter_0": datetime(2026, 11, 24, tzinfo=UTC)}


def test_metadata_may_be_named_like_a_column() -> None:
    assert compile_filter({"metadata.width": {"$gt": 5}}).parameters["filter_1"] == "width"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"width": {"$gtee": 1}}, r"width: there is no operator \"\$gtee\"; did you mean \$gte\?"),
        ({"$nor": [{"width": 1}]}, r"no operator \"\$nor\" here; did you mean \$or\?"),
        ({"width": {"$gte": "wide"}}, r'width: \$gte takes a number, not "wide"'),
        ({"width": True}, r"width: \$eq takes a number, not true"),
        ({"width": math.nan}, r"takes a number, not NaN"),
        ({"year": {"$gt": math.inf}}, r"takes a number, not Infinity"),
        ({"width": 10**400}, r"takes a number, not 1000"),
        ({"host": 5}, r"host: \$eq takes a text, not 5"),
        ({"host": None}, r"host: \$eq takes a text, not null"),
        ({"tag": None}, r"use \{\$exists: false\}"),
        ({"tag": ["a", "b"]}, r"for several values use \$in"),
        ({"tag": {"$gt": True}}, r"takes a text or a number, not true"),
        ({"tag": {"$in": "a"}}, r'tag: \$in takes a list, not "a"'),
        ({"tag": {"$exists": 1}}, r"takes true or false, not 1"),
        ({"tag": {}}, r"an operator is missing"),
        ({"tag": {"deep": 1}}, r'an operator is expected, not "deep"'),
        ({"created_at": {"$gt": "soon"}}, r"takes a time like 2026-11-24"),
        ({"caption": "dog"}, r"\$match: dog"),
        ({"caption": {"$matches": "dog"}}, r"did you mean \$match\?"),
        ({"host": {"$match": "dog"}}, r"host: there is no operator \"\$match\""),
        ({"$and": []}, r"\$and takes a list of filters"),
        ({"$or": {"width": 1}}, r"\$or takes a list of filters"),
        ({"$or": [{}]}, r"not empty"),
        ({"$not": [{"width": 1}]}, r"a filter is an object"),
        ({"width": {"$not": 5}}, r"\$not takes an object of operators"),
        ({"host": "a\0b"}, r"NUL"),
        ({"ho\0st": "a"}, r"NUL"),
        ({"host": "a\ud800"}, r"surrogate"),
        ({"host": "a" * 10_001}, r"more than 10,000 characters"),
        ({5: 1}, r"a name takes a text"),
        ({"tag": {"$in": ["a"] * (MAX_LIST + 1)}}, r"more than 1,000 values"),
        ({"$and": [{"width": n} for n in range(MAX_CONDITIONS + 1)]}, r"more than 200 conditions"),
        (nested(9), r"more than 8 levels"),
    ],
)
def test_what_is_refused_and_how(given: dict[Any, Any], said: str) -> None:
    with pytest.raises(BadRequest, match=said) as refused:
        compile_filter(given)
    assert refused.value.field == "filter"


def test_what_is_just_within_the_bounds_compiles() -> None:
    compile_filter(nested(8))
    compile_filter({"$or": [{"width": n} for n in range(MAX_CONDITIONS)]})
    compile_filter({"tag": {"$in": ["a"] * MAX_LIST}})


def test_every_column_takes_a_value_of_its_kind() -> None:
    for name, column in COLUMNS.items():
        value = {"NUMBER": 1.5, "TEXT": "a", "TIME": "2026-11-24T18:30:00Z"}[column.kind.name]
        assert column.sql in compile_filter({name: {"$lte": value}}).sql
