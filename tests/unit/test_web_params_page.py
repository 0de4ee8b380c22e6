"""From the search page's address and form to a search request, and back."""

from __future__ import annotations

import io
from base64 import b64encode
from typing import Any

import pytest
from flask import Flask, request
from hypothesis import given
from hypothesis import strategies as st

from clipgres.errors import BadRequest
from clipgres.request import Criterion, Mode, SearchRequest
from webapp.params_page import NAMES, PAGE_TOP_K, Picture, Values, from_page, picture_of, tidied, values_of

app = Flask(__name__)


def values(query: str | dict[str, Any]) -> Values:
    with app.test_request_context("/", query_string=query):
        return tidied(request.args)


def page(query: str | dict[str, Any]) -> SearchRequest | None:
    return from_page(values(query))


def asked(query: str | dict[str, Any]) -> SearchRequest:
    wanted = page(query)
    assert wanted
    return wanted


def sent(**form: Any) -> Picture | None:
    with app.test_request_context("/", method="POST", data=form):
        return picture_of(request)


@pytest.mark.parametrize("query", ["", "q=+&k=5&collection=default", "collection=pets&min=30", "by=text&standing=99"])
def test_without_a_question_nothing_is_asked_for(query: str) -> None:
    assert page(query) is None


def test_a_text_is_asked_for_with_the_pages_own_number_of_pictures() -> None:
    wanted = asked("q=two+dogs")
    assert (wanted.text, wanted.collection, wanted.top_k, wanted.min_score) == ("two dogs", "default", PAGE_TOP_K, None)


def test_an_address_in_the_box_is_a_pictures_address() -> None:
    wanted = asked("q=https://example.org/dog.jpg")
    assert (wanted.text, wanted.image_url) == (None, "https://example.org/dog.jpg")


def test_a_text_that_only_holds_an_address_is_a_text() -> None:
    assert asked("q=see+https://example.org/dog.jpg").image_url is None


def test_several_keys_are_taken_once_each() -> None:
    wanted = asked("like=a&like=b%2Fc&like=&like=a&unlike=+d+&unlike=e")
    assert (wanted.like, wanted.unlike) == (("a", "b/c"), (" d ", "e"))


def test_every_short_name_has_its_field() -> None:
    wanted = asked("q=x&not=y&by=both&words=beach&standing=99.9&mode=exact&weights=text%3D2&namespace=n&collection=c")
    assert (wanted.not_text, wanted.criterion, wanted.keywords, wanted.mode) == (
        "y",
        Criterion.BOTH,
        "beach",
        Mode.EXACT,
    )
    assert (wanted.min_percentile, wanted.weights.text, wanted.namespace, wanted.collection) == (99.9, 2, "n", "c")


@pytest.mark.parametrize(
    ("query", "compiled"),
    [
        ("host=a.org", {"host": "a.org"}),
        ("width=640&caption=snow", {"width": {"$gte": 640}, "caption": {"$match": "snow"}}),
        ({"where": '{"year": 1}', "host": "a.org"}, {"year": 1, "host": "a.org"}),
        ({"where": '{"host": "b"}', "host": "a"}, {"$and": [{"host": "b"}, {"host": "a"}]}),
        ({"where": '{"year": 1}'}, {"year": 1}),
    ],
)
def test_the_simple_fields_and_the_filter_must_all_hold(query: str | dict[str, str], compiled: dict[str, Any]) -> None:
    more = query if isinstance(query, str) else None
    wanted = asked(f"q=x&{more}" if more else {"q": "x", **query})  # type: ignore[dict-item]
    assert wanted.filter == compiled


@pytest.mark.parametrize(("given_", "cosine"), [("25", 0.25), ("25%", 0.25), ("12.5", 0.125), ("100 %", 1.0)])
def test_the_least_similarity_is_in_percent(given_: str, cosine: float) -> None:
    assert asked({"q": "x", "min": given_}).min_score == cosine


def test_a_slider_at_its_beginning_is_off() -> None:
    wanted = asked("q=x&min=0&standing=0")
    assert (wanted.min_score, wanted.min_percentile) == (None, None)


def test_a_cursor_alone_is_enough_and_alone_is_passed_on() -> None:
    assert asked("after=abc") == SearchRequest(cursor="abc")
    assert asked("q=x&after=abc") == SearchRequest(cursor="abc")


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
        ("q=x&standing=101", "standing"),
        ("q=x&width=wide", "width"),
        ("q=x&where=%7B", "filter"),
        ("q=x&where=3", "filter"),
        ("q=x&where=3&host=a", "filter"),
        ("q=x&by=smell", "criterion"),
        ("q=x&mode=fast", "mode"),
        ("q=x&fold=twins", "fold"),
        ("q=x&weights=text", "weights"),
        ("q=x&weights=text%3D2,text%3D3", "weights"),
        ("q=x&weights=text%3Dmuch", "weights.text"),
        ("q=x&like=%00", "like.0"),
        ("like=%00&after=abc", "like.0"),
        ("host=a.org", "q"),
        ("not=a+dog", "q"),
        ("unlike=a", "q"),
        ("q=" + "a" * 1_000_000, "text"),
    ],
)
def test_what_does_not_fit_is_named(query: str, field: str) -> None:
    with pytest.raises(BadRequest) as refused:
        page(query)
    assert refused.value.field == field


def test_what_is_empty_or_off_leaves_the_address() -> None:
    given_ = "image=&q=+a+dog+&not=&by=image&mode=auto&min=0&k=&collection=default&like=+k&nonsense=1"
    assert list(values(given_).items(multi=True)) == [("q", "a dog"), ("like", " k")]


@pytest.mark.parametrize(
    ("drop", "left"),
    [
        ("not", {"q", "like", "min", "standing"}),
        ("like:b", {"q", "not", "like", "min", "standing"}),
        ("threshold", {"q", "not", "like"}),
        ("picture", {"q", "not", "like", "min", "standing"}),
    ],
)
def test_a_button_takes_one_part_away(drop: str, left: set[str]) -> None:
    kept = values({"q": "x", "not": "y", "like": ["a", "b"], "min": "3", "standing": "99", "drop": drop})
    assert set(kept) == left
    assert kept.getlist("like") == (["a"] if drop == "like:b" else ["a", "b"])


@given(
    st.lists(
        st.tuples(st.sampled_from([*NAMES, "drop"]), st.sampled_from(["", " ", "0", "25%", "%", "image", "http://a"]))
    )
)
def test_tidying_twice_changes_nothing(pairs: list[tuple[str, str]]) -> None:
    once = tidied(Values(pairs))
    assert list(tidied(once).items(multi=True)) == list(once.items(multi=True))


REQUESTS: list[dict[str, Any]] = [
    {"text": "a dog", "not_text": "a cat", "min_score": 0.255, "min_percentile": 99.97, "top_k": 5, "mode": "index"},
    {"text": "a dog", "fold": "near"},
    {
        "like": ["a", "b"],
        "unlike": ["c"],
        "weights": {"like": 2, "unlike": 0.25},
        "namespace": "n",
        "collection": "pets",
    },
    {"image_url": "https://a.org/x.png", "criterion": "text", "keywords": 'beach "two dogs" -cat'},
    {
        "text": "x",
        "filter": {"host": "a.org", "width": {"$gte": 640}, "caption": {"$match": "snow"}, "year": {"$lt": 3}},
    },
    {"text": "x", "filter": {"width": {"$gte": 640, "$lt": 900}, "host": {"$in": ["a", "b"]}}},
    {"text": "x", "filter": {"$or": [{"a": "é"}, {"b": None}]}},
]


@pytest.mark.parametrize("fields", REQUESTS)
def test_a_request_and_its_address_say_the_same(fields: dict[str, Any]) -> None:
    wanted = SearchRequest.model_validate(fields)
    assert from_page(values_of(wanted)) == wanted.model_copy(update={"top_k": fields.get("top_k", PAGE_TOP_K)})


def test_what_only_programs_ask_for_stays_out_of_the_address() -> None:
    assert set(values_of(SearchRequest(text="x", top_k=10_000, image=b"x"))) == {"q"}


def test_a_picture_is_the_chosen_one_or_the_kept_one() -> None:
    kept = b64encode(b"RIFF").decode()
    assert sent(image=(io.BytesIO(b"\xff\xd8"), "a.jpg"), picture=kept) == Picture(b"\xff\xd8")
    assert sent(image=(io.BytesIO(b""), ""), picture=kept) == Picture(b"RIFF", kept)
    assert sent(picture=kept, drop="picture") is None
    assert sent(q="dogs") is None


def test_a_kept_picture_that_came_back_broken_is_named() -> None:
    with pytest.raises(BadRequest) as refused:
        sent(picture="no base64")
    assert refused.value.field == "image"
