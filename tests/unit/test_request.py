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


def deep(levels: int) -> dict[str, Any]:
    """A filter of so many levels."""
    made: dict[str, Any] = {"width": 1}
    for _ in range(levels):
        made = {"$not": made}
    return made


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({}, None, "say what to search for"),
        ([], None, "should be an object"),
        ({"text": "  "}, None, "say what to search for"),
        ({"text": "a\0b"}, "text", "NUL"),
        ({"text": "a\ud800"}, "text", "surrogate"),
        ({"text": 5}, "text", "valid string"),
        ({"text": ["a"]}, "text", "valid string"),
        ({"text": "a" * (MAX_TEXT_CHARS + 1)}, "text", "it should have at most 200000 characters"),
        ({"txet": "dogs"}, "txet", "did you mean text"),
        ({"text": "a", "near": "b"}, "near", "a search has no such field"),
        ({"text": "a", "colour": "red"}, "colour", "it has collection, text"),
        ({"text": "a", "not_text": "\ud800"}, "not_text", "surrogate"),
        ({"text": " ", "not_text": "b"}, None, "not_text and unlike only take away: add something to look for"),
        ({"unlike": ["1"]}, None, "not_text and unlike only take away"),
        ({"text": "a", "unlike": ["\0"]}, "unlike.0", "NUL"),
        ({"like": ["1", "2"], "unlike": ["3", "2"]}, "unlike", 'item "2" is in like as well'),
        ({"text": "a", "top_k": 0}, "top_k", "it should be greater than or equal to 1"),
        ({"text": "a", "top_k": 1_000_000}, "top_k", "less than or equal to 10000"),
        ({"text": "a", "top_k": 10**400}, "top_k", "less than or equal to 10000"),
        ({"text": "a", "top_k": "many"}, "top_k", "valid integer"),
        ({"text": "a", "top_k": 2.5}, "top_k", "valid integer"),
        ({"text": "a", "top_k": True}, "top_k", "a number, not true or false"),
        ({"text": "a", "top_k": math.nan}, "top_k", "finite"),
        ({"text": "a", "min_score": math.nan}, "min_score", "less than or equal to 1"),
        ({"text": "a", "min_score": True}, "min_score", "a number, not true or false"),
        ({"text": "a", "min_percentile": 101}, "min_percentile", "less than or equal to 100"),
        ({"text": "a", "min_percentile": -1}, "min_percentile", "greater than or equal to 0"),
        ({"text": "a", "mode": "fast"}, "mode", "'auto', 'exact' or 'index'"),
        ({"text": "a", "criterion": "words"}, "criterion", "'image', 'text' or 'both'"),
        ({"keywords": "dog"}, None, "keywords only help to rank: add something to look for"),
        ({"text": "a", "keywords": ""}, "keywords", "at least 1 character"),
        ({"text": "a", "keywords": "\0"}, "keywords", "NUL"),
        ({"text": "a", "keywords": "dog " + "- " * 21}, "keywords", "more than 20 minus signs in a row"),
        ({"text": "a", "keywords": "a" * 1_001}, "keywords", "at most 1000 characters"),
        ({"text": "a", "filter": []}, "filter", "it should be an object"),
        ({"text": "a", "namespace": "\0"}, "namespace", "NUL"),
        ({"text": "a", "namespace": "\ud800"}, "namespace", "surrogate"),
        ({"text": "a", "collection": "\0"}, "collection", "NUL"),
        ({"text": "a", "collection": None}, "collection", "valid string"),
        ({"cursor": ""}, "cursor", "at least 1 character"),
        ({"cursor": "\ud800"}, "cursor", "surrogate"),
        ({"like": "42"}, "like", "it should be a list"),
        ({"like": ["1", ""]}, "like.1", "at least 1 character"),
        ({"like": [str(n) for n in range(21)]}, "like", "it should have at most 20 items, not 21"),
        ({"image": 5}, "image", "valid bytes"),
        ({"image_url": "http://a/" + "a" * 8_192}, "image_url", "at most 8192 characters"),
        ({"image_url": "\ud800"}, "image_url", "surrogate"),
        ({"vector": []}, "vector", "it should have at least 1 item"),
        ({"vector": [1] * 4_001}, "vector", "at most 4000 items"),
        ({"vector": "1"}, "vector", "it should be a list"),
        ({"vector": [1, math.nan]}, "vector.1", "finite"),
        ({"vector": [math.inf]}, "vector.0", "finite"),
        ({"vector": [1, None]}, "vector.1", "valid number"),
        ({"vector": [True]}, "vector.0", "not true or false"),
        ({"text": "a", "weights": {"txet": 1}}, "weights.txet", "weights has no such field; did you mean text"),
        ({"text": "a", "weights": {"colour": 1}}, "weights.colour", "it has text, not_text, image"),
        ({"text": "a", "weights": {"text": -1}}, "weights.text", "greater than or equal to 0"),
        ({"text": "a", "weights": {"text": math.inf}}, "weights.text", "finite"),
        ({"text": "a", "weights": {"text": "much"}}, "weights.text", "valid number"),
        ({"text": "a", "weights": 2}, "weights", "should be an object"),
    ],
)
def test_what_is_refused_names_its_field(fields: dict[str, Any], field: str | None, said: str) -> None:
    with pytest.raises(BadRequest, match=said) as refused:
        parse_request(fields)
    assert refused.value.field == field
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"cursor": "abc"},
        {"cursor": "abc", "text": "dogs"},
        {"text": "a" * 100_000},
        {"text": "dogs", "filter": deep(5_000)},  # how deep a filter may be is its own to say
        {"image_url": "http://a/dog.jpg", "criterion": "text"},
        {"text": "'; DROP TABLE clipgres.item; --", "keywords": "') OR 1=1"},
        {"text": "dogs", "not_text": "  ", "top_k": "12"},
    ],
)
def test_what_is_odd_but_fits_is_taken(fields: dict[str, Any]) -> None:
    parse_request(fields)


def test_what_is_taken_away_counts_half() -> None:
    weights = parse_request({"text": "dogs", "weights": {"text": 2}}).weights
    assert (weights.text, weights.not_text, weights.unlike, weights.image) == (2, 0.5, 0.5, 1)
