"""From a request of a program to a search request."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from flask import Flask, request

from clipgres.errors import BadRequest
from clipgres.request import Criterion, SearchRequest
from webapp.params import from_api

app = Flask(__name__)


def api(**kwargs: Any) -> SearchRequest:
    with app.test_request_context("/api/search", method="POST", **kwargs):
        return from_api(request)


def test_json_is_taken_by_the_names_of_the_design() -> None:
    wanted = api(json={"text": "dogs", "top_k": 5, "min_score": 0.2, "filter": {"width": {"$gte": 640}}})
    assert (wanted.text, wanted.top_k, wanted.min_score, wanted.filter) == ("dogs", 5, 0.2, {"width": {"$gte": 640}})


def test_multipart_brings_a_picture_and_fields() -> None:
    fields = {"image": (io.BytesIO(b"\xff\xd8\xff"), "a.jpg"), "top_k": "5", "filter": '{"host": "a.org"}'}
    wanted = api(data=fields)
    assert (wanted.image, wanted.top_k, wanted.filter) == (b"\xff\xd8\xff", 5, {"host": "a.org"})


def test_multipart_brings_whatever_json_can() -> None:
    fields = {
        "image": (io.BytesIO(b"\xff\xd8\xff"), "a.jpg"),
        "like": ["a", "b/c"],
        "unlike": ["d"],
        "weights": '{"image": 2}',
        "vector": "[1, 0.5]",
        "not_text": "a dog",
        "criterion": "both",
        "keywords": "beach",
        "min_percentile": "99.5",
    }
    wanted = api(data=fields)
    assert (wanted.like, wanted.unlike, wanted.vector) == (("a", "b/c"), ("d",), (1.0, 0.5))
    assert (wanted.weights.image, wanted.not_text, wanted.criterion) == (2, "a dog", Criterion.BOTH)
    assert (wanted.keywords, wanted.min_percentile) == ("beach", 99.5)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"text": "x", "top_k": 0}, "top_k"),
        ({"text": "x", "top_k": 10**9}, "top_k"),
        ({"text": "x", "top_k": "many"}, "top_k"),
        ({"text": "x", "min_score": 2}, "min_score"),
        ({"text": "x", "tpo_k": 3}, "tpo_k"),
        ({"text": ["x"]}, "text"),
        ({"text": "\ud800"}, "text"),
        ({"image": "aGVsbG8="}, "image"),
        ({"text": "x", "filter": []}, "filter"),
    ],
)
def test_a_wrong_field_of_json_is_named(body: dict[str, Any], field: str) -> None:
    with pytest.raises(BadRequest) as refused:
        api(data=json.dumps(body), content_type="application/json")
    assert refused.value.field == field


@pytest.mark.parametrize(
    "body",
    ["", "{", "[]", "null", "3", "[" * 100_000, "[" * 500 + "]" * 500, '{"text": NaN}', b"\xff", b'{"text": "\0"}'],
)
def test_what_is_no_json_object_is_refused(body: str | bytes) -> None:
    with pytest.raises(BadRequest):
        api(data=body, content_type="application/json")


def test_a_body_must_say_that_it_is_json() -> None:
    with pytest.raises(BadRequest, match="application/json"):
        api(data='{"text": "dogs"}', content_type="text/plain")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"image": (io.BytesIO(b""), "a.jpg")}, "image"),
        ({"image": [(io.BytesIO(b"a"), "a.jpg"), (io.BytesIO(b"b"), "b.jpg")]}, "image"),
        ({"text": ["a", "b"]}, "text"),
        ({"text": "a", "weights": "text=2"}, "weights"),
        ({"text": "a", "filter": "[" * 500 + "]" * 500}, "filter"),
        ({"vector": "[NaN]"}, "vector"),
        ({"text": "a", "q": "b"}, "q"),
    ],
)
def test_a_wrong_field_of_a_form_is_named(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(BadRequest) as refused:
        api(data=fields, content_type="multipart/form-data")
    assert refused.value.field == field
