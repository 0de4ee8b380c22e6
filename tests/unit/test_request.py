"""A search request: what it may hold, and what is said of what it may not."""

from __future__ import annotations

import math
from typing import Any

import pytest

from clipgres.errors import BadRequest
from clipgres.request import MAX_TEXT_CHARS, Mode, parse_request


def test_what_is_left_out_has_a_default() -> None:
    request = parse_request({"text": "two dogs"})
    assert (request.collection, request.top_k, request.mode) == ("default", 20, Mode.AUTO)


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({}, None, "say what to search for"),
        ({"text": "  "}, None, "say what to search for"),
        ({"text": "a\0b"}, "text", "NUL"),
        ({"text": "a\ud800"}, "text", "surrogate"),
        ({"text": 5}, "text", "valid string"),
        ({"text": "a" * (MAX_TEXT_CHARS + 1)}, "text", "at most 200000 characters"),
        ({"txet": "dogs"}, "txet", "did you mean text"),
        ({"text": "a", "colour": "red"}, "colour", "it has collection, text"),
        ({"text": "a", "top_k": 0}, "top_k", "greater than or equal to 1"),
        ({"text": "a", "top_k": 1_000_000}, "top_k", "less than or equal to 10000"),
        ({"text": "a", "min_score": math.nan}, "min_score", "less than or equal to 1"),
        ({"text": "a", "mode": "fast"}, "mode", "'auto', 'exact' or 'index'"),
        ({"text": "a", "filter": []}, "filter", "it should be an object"),
        ({"text": "a", "namespace": "\0"}, "namespace", "NUL"),
        ({"text": "a", "collection": "\0"}, "collection", "NUL"),
        ({"like": "42"}, "like", "it should be a list"),
        ({"like": ["1", ""]}, "like.1", "at least 1 character"),
        ({"like": [str(n) for n in range(21)]}, "like", "at most 20 items"),
        ({"image_url": "http://a/" + "a" * 8_192}, "image_url", "at most 8192 characters"),
    ],
)
def test_what_is_refused_names_its_field(fields: dict[str, Any], field: str | None, said: str) -> None:
    with pytest.raises(BadRequest, match=said) as refused:
        parse_request(fields)
    assert refused.value.field == field
