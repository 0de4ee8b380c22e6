"""From a request to a search request."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from flask import Flask, request

from clipgres.errors import BadRequest
from clipgres.request import SearchRequest
from webapp.params import PAGE_TOP_K, from_api, from_page

app = Flask(__name__)


def page(query: str) -> SearchRequest | None:
    with app.test_request_context(f"/?{query}"):
        return from_page(request)


def api(**kwargs: Any) -> SearchRequest:
    with app.test_request_context("/api/search", method="POST", **kwargs):
        return from_api(request)


def test_an_empty_page_asks_for_nothing() -> None:
    assert page("q=+&k=5&collection=default") is None


def test_a_text_is_asked_for_with_the_pages_own_number_of_pictures() -> None:
    wanted = page("q=two+dogs")
    assert wanted
    assert (wanted.text, wanted.collection, wanted.top_k, wanted.min_score) == ("two dogs", "default", PAGE_TOP_K, None)


def test_an_address_in_the_box_is_a_pictures_address() -> None:
    wanted = page("q=https://example.org/dog.jpg")
    assert wanted
    assert (wanted.text, wanted.image_url) == (None, "https://example.org/dog.jpg")


def test_a_text_that_only_holds_an_address_is_a_text() -> None:
    wanted = page("q=see+https://example.org/dog.jpg")
    assert wanted and wanted.image_url is None


def test_several_keys_are_taken() -> None:
    wanted = page("like=a&like=b%2Fc&like=")
    assert wanted and wanted.like == ("a", "b/c")


@pytest.mark.parametrize(("given", "cosine"), [("25", 0.25), ("25%", 0.25), ("12.5", 0.125), ("0", 0.0), ("100", 1.0)])
def test_the_least_similarity_is_in_percent(given: str, cosine: float) -> None:
    with app.test_request_context("/", query_string={"q": "x", "min": given}):
        wanted = from_page(request)
    assert wanted and wanted.min_score == cosine


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("q=x&k=0", "k"),
        ("q=x&k=-1", "k"),
        ("q=x&k=1000000000", "k"),
        ("q=x&k=9999999999999999999999", "k"),
        ("q=x&k=abc", "k"),
        ("q=x&k=%D9%A3", "k"),
        ("q=x&min=abc", "min"),
        ("q=x&min=101", "min"),
        ("q=x&min=nan", "min"),
        ("q=x&min=-1", "min"),
        ("q=" + "a" * 1_000_000, "text"),
    ],
)
def test_what_does_not_fit_is_named(query: str, field: str) -> None:
    with pytest.raises(BadRequest) as refused:
        page(query)
    assert refused.value.field == field


def test_json_is_taken_by_the_names_of_the_design() -> None:
    wanted = api(json={"text": "dogs", "top_k": 5, "min_score": 0.2, "filter": {"width": {"$gte": 640}}})
    assert (wanted.text, wanted.top_k, wanted.min_score, wanted.filter) == ("dogs", 5, 0.2, {"width": {"$gte": 640}})


def test_multipart_brings_a_picture_and_fields() -> None:
    fields = {"image": (io.BytesIO(b"\xff\xd8\xff"), "a.jpg"), "top_k": "5", "filter": '{"host": "a.org"}'}
    wanted = api(data=fields)
    assert (wanted.image, wanted.top_k, wanted.filter) == (b"\xff\xd8\xff", 5, {"host": "a.org"})


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
    "body", ["", "{", "[]", "null", "3", "[" * 100_000, '{"text": NaN}', b"\xff", b'{"text": "\0"}']
)
def test_what_is_no_json_object_is_refused(body: str | bytes) -> None:
    with pytest.raises(BadRequest):
        api(data=body, content_type="application/json")


def test_a_body_must_say_that_it_is_json() -> None:
    with pytest.raises(BadRequest, match="application/json"):
        api(data='{"text": "dogs"}', content_type="text/plain")


def test_an_empty_file_is_named() -> None:
    with pytest.raises(BadRequest) as refused:
        api(data={"image": (io.BytesIO(b""), "a.jpg")})
    assert refused.value.field == "image"


def test_a_file_field_without_a_file_is_no_picture() -> None:
    with app.test_request_context("/", method="POST", data={"image": (io.BytesIO(b""), ""), "q": "dogs"}):
        wanted = from_page(request)
    assert wanted and wanted.image is None
