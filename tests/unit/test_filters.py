"""The filter language: what compiles to what, and what is refused in which words."""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from clipgres.errors import BadRequest
from clipgres.filters.compiler import COLUMNS, MAX_CONDITIONS, MAX_LIST, Condition, compile_filter


def nested(levels: int) -> dict[str, Any]:
    """A filter of so many objects, each in the other's $not."""
    return {"width": 1} if levels == 1 else {"$not": nested(levels - 1)}


def nested_list(levels: int) -> list[Any]:
    """An empty list within so many others."""
    made: list[Any] = []
    for _ in range(levels):
        made = [made]
    return made


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
        ({"year": 1957}, "i.metadata @? CAST(:filter_0 AS jsonpath)"),
        ({"year": {"$nin": [1, 2]}}, "(i.metadata @? CAST(:filter_0 AS jsonpath)) IS NOT TRUE"),
        ({"year": {"$in": []}}, "false"),
        ({"year": {"$gt": 1}}, "(i.metadata @? CAST(:filter_0 AS jsonpath)) IS TRUE"),
        ({"year": {"$exists": False}}, "((i.metadata @? CAST(:filter_0 AS jsonpath)) IS TRUE) IS NOT TRUE"),
        ({"status": {"$in": ["ok", "failed"]}}, "im.state = ANY (CAST(:filter_0 AS text[]))"),
        ({"$or": [{"width": 1}, {"host": "a"}]}, "OR im.host"),
        ({"width": {"$not": {"$gt": 5}}}, "(im.width > CAST(:filter_0 AS double precision)) IS NOT TRUE"),
    ],
)
def test_what_compiles_to_what(given: dict[str, Any], sql: str) -> None:
    assert sql in compile_filter(given).sql


@pytest.mark.parametrize(
    ("given", "joins"),
    [
        ({"year": 5, "key": "a", "namespace": "b", "created_at": {"$lt": "2026-11-24"}}, False),
        ({"year": 5, "$or": [{"tag": 1}, {"host": "a"}]}, True),
        ({"caption": {"$exists": True}}, True),
    ],
)
def test_a_condition_says_whether_it_reads_other_tables(given: dict[str, Any], joins: bool) -> None:
    assert compile_filter(given).joins is joins


def test_a_time_without_a_zone_is_in_utc() -> None:
    condition = compile_filter({"created_at": {"$lt": "2026-11-24"}})
    assert condition.parameters == {"filter_0": datetime(2026, 11, 24, tzinfo=UTC)}


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"year": 1957}, '$."year" ? (@ == 1957)'),
        ({"year": {"$gte": -1.5}}, '$."year" ? (@ >= -1.5)'),
        ({"tag": {"$in": ["a", True]}}, '$."tag" ? (@ == "a" || @ == true)'),
        ({"tag": {"$exists": True}}, '$."tag" ? (@ != null)'),
        ({"author.name": "Ada"}, '$."author"."name" ? (@ == "Ada")'),
        ({"metadata.width": {"$gt": 5}}, '$."width" ? (@ > 5)'),
        ({"metadata.metadata.x": 5}, '$."metadata"."x" ? (@ == 5)'),
        ({'"width"': 5}, '$."width" ? (@ == 5)'),
        ({'metadata."a.b".c': 5}, '$."a.b"."c" ? (@ == 5)'),
        ({r'"a\"b\\"': 5}, r'$."a\"b\\" ? (@ == 5)'),
        ({'"7"': 5}, '$."7" ? (@ == 5)'),
        ({"tags.0": 5}, '$ ? (exists($."tags"."0" ? (@ == 5)) || exists($."tags"[0] ? (@ == 5)))'),
        ({"tags.007": 5}, '$."tags"."007" ? (@ == 5)'),
        ({"größe": 5}, r'$."gr\u00f6\u00dfe" ? (@ == 5)'),
        ({"x": '") || true //'}, r'$."x" ? (@ == "\") || true //")'),
    ],
)
def test_the_path_into_the_metadata(given: dict[str, Any], path: str) -> None:
    assert compile_filter(given).parameters == {"filter_0": path}


def test_a_name_like_a_columns_may_be_metadata_when_it_says_so() -> None:
    compile_filter({"metadata.widht": 5, '"weight"': 5, "year": 5, "type": "a", "name": "b", "size.width": 5})


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
        ({"widht": 5}, r'no column "widht"; did you mean width\? metadata.widht is metadata'),
        ({"Width": 5}, r"did you mean width\?"),
        ({"captions": {"$match": "dog"}}, r"did you mean caption\?"),
        ({"status": "lost"}, r'status: \$eq takes one of new, ok, failed, not "lost"'),
        ({"author": {"name": "Ada"}}, r"a value inside is named author.NAME"),
        ({"a..b": 5}, r"a part of the path is empty"),
        ({"": 5}, r"a part of the path is empty"),
        ({"a.": 5}, r"a part of the path is empty"),
        ({'"a': 5}, r"its quote does not end"),
        ({'"a"b': 5}, r"after a quoted part comes a dot"),
        ({r'"\q"': 5}, r"written as in JSON"),
        ({".".join("a" * 17): 5}, r"at most 16 parts"),
        ({"a.1.2.3.4": 5}, r"of which 3 are numbers"),
        ({"host": "a\0b"}, r"NUL"),
        ({r'x."a\u0000b"': 1}, r"NUL"),
        ({r'"a\ud800"': 1}, r"surrogate"),
        ({"caption": {"$match": "-" * 21}}, r"caption: \$match: more than 20 minus signs in a row"),
        ({"caption": {"$not": {"$match": "a " + "- (" * 21 + "b"}}}, r"more than 20 minus signs in a row"),
        ({"width": 10**5_000}, r"takes a number, not what is too large to show"),
        ({"width": nested_list(10_000)}, r"takes a number, not what is too large to show"),
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
    compile_filter({"caption": {"$match": "-" * 20 + "dog" + " -cat" * 100}})
    compile_filter({"$or": [{"width": n} for n in range(MAX_CONDITIONS)]})
    compile_filter({"tag": {"$in": ["a"] * MAX_LIST}})


def test_every_column_takes_a_value_of_its_kind() -> None:
    for name, column in COLUMNS.items():
        value = {"NUMBER": 1.5, "TEXT": "a", "TIME": "2026-11-24T18:30:00Z"}[column.kind.name]
        assert column.sql in compile_filter({name: {"$lte": value}}).sql


def test_the_documented_examples_compile() -> None:
    documented = Path(__file__).parents[2] / "docs" / "filters.md"
    examples = re.findall(r"^\{.*\}$", documented.read_text(), re.MULTILINE)
    assert len(examples) >= 10
    for example in examples:
        assert compile_filter(json.loads(example)).parameters


def test_a_filter_of_ten_thousand_terms_is_refused() -> None:
    with pytest.raises(BadRequest, match="more than 200 conditions"):
        compile_filter({"$or": [{"tag": n} for n in range(10_000)]})
    with pytest.raises(BadRequest, match="more than 200 conditions"):
        compile_filter({f"tag{n}": n for n in range(10_000)})
