"""JSON from outside."""

from __future__ import annotations

import pytest

from clipgres.errors import BadRequest
from clipgres.strict_json import MAX_LEVELS, parse_json


@pytest.mark.parametrize("text", ["", "{", "NaN", "[Infinity]", '{"a": -Infinity}', "{'a': 1}", b"\xff", "1 2"])
def test_what_is_no_json_is_refused_by_name(text: str | bytes) -> None:
    with pytest.raises(BadRequest, match="the filter is not JSON: ") as refused:
        parse_json(text, "the filter", "filter")
    assert refused.value.field == "filter"


@pytest.mark.parametrize("levels", [MAX_LEVELS, 900, 100_000])
def test_what_is_too_deep_is_refused(levels: int) -> None:
    with pytest.raises(BadRequest, match="more than 100 levels"):
        parse_json('{"a": ' + "[" * levels + "]" * levels + "}", "the body")


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', '[{"b": {"\\u0061": 1, "a": {}}}]'])
def test_a_name_that_stands_twice_is_refused_rather_than_half_obeyed(text: str) -> None:
    with pytest.raises(BadRequest, match='the filter has "a" twice in one object') as refused:
        parse_json(text, "the filter", "filter")
    assert refused.value.field == "filter"


def test_all_other_json_is_taken() -> None:
    assert parse_json('{"a": [1, 2.5, null, true, "\\u00e9"]}', "x") == {"a": [1, 2.5, None, True, "é"]}
    assert parse_json("[" * MAX_LEVELS + "]" * MAX_LEVELS, "x")
