"""Saved searches: what was asked for comes back, with its thresholds, under its name alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from clipgres.database import create_engine, transaction
from clipgres.errors import BadRequest, Conflict, NotFound
from clipgres.request import parse_request
from clipgres.saved import delete_saved, list_saved, load, save
from clipgres.servers.postgres import SUPERUSER, embedded_database_url
from clipgres.settings import Settings

EVERYTHING: dict[str, Any] = {
    "collection": "holidays",
    "text": "two dogs; \N{DOG FACE} \" ' \\ DROP",
    "not_text": "snow",
    "image_url": "http://a.org/dog.jpg",
    "like": ["1", "2"],
    "unlike": ["3"],
    "vector": [0.1, -2.5, 1e-30],
    "weights": {"text": 2.0, "unlike": 1.0},
    "criterion": "both",
    "keywords": '"red dog" -cat',
    "filter": {"width": {"$gte": 640}, "$or": [{"host": "a.org"}, {"n": {"$in": [1, 2.5]}}]},
    "namespace": "mine",
    "top_k": 50,
    "min_score": 0.25,
    "min_percentile": 99.5,
    "mode": "exact",
}


def test_a_search_comes_back_as_it_was_asked_for(engine: Engine) -> None:
    request = parse_request(EVERYTHING)
    save(engine, "dogs", request)
    assert load(engine, "dogs") == request


def test_what_was_left_out_is_not_kept(engine: Engine) -> None:
    save(engine, "dogs", parse_request({"text": "dogs", "weights": {"text": 2}, "min_score": 0.3}))
    [saved] = list_saved(engine)
    assert saved.request == {"text": "dogs", "weights": {"text": 2.0}, "min_score": 0.3}
    assert (saved.name, saved.created_at.tzinfo is not None) == ("dogs", True)


def test_a_name_is_taken_until_it_is_replaced_or_deleted(engine: Engine) -> None:
    save(engine, "dogs", parse_request({"text": "dogs"}))
    with pytest.raises(Conflict, match='saved search "dogs" already'):
        save(engine, "dogs", parse_request({"text": "cats"}))
    assert load(engine, "dogs").text == "dogs"
    save(engine, "dogs", parse_request({"text": "cats"}), replace=True)
    save(engine, "ants", parse_request({"text": "ants"}), replace=True)
    assert load(engine, "dogs").text == "cats"
    assert [saved.name for saved in list_saved(engine)] == ["ants", "dogs"]
    delete_saved(engine, "dogs")
    assert [saved.name for saved in list_saved(engine)] == ["ants"]


@pytest.mark.parametrize("look", [load, delete_saved])
def test_a_name_that_is_not_there_suggests_the_nearest(engine: Engine, look: Callable[[Engine, str], Any]) -> None:
    with pytest.raises(NotFound, match=r'there is no saved search "cats"$'):
        look(engine, "cats")
    save(engine, "big-dogs", parse_request({"text": "dogs"}))
    with pytest.raises(NotFound, match='"big_dogs"; did you mean "big-dogs"'):
        look(engine, "big_dogs")


NAMES = ("", "Dogs", "-dogs", "two dogs", "a" * 64, "dogs\n", "d\0", "\ud800", "../x", "d\u00f6gs")


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_does_not_fit_says_what_one_may_hold(engine: Engine, name: str) -> None:
    for act in (lambda: save(engine, name, parse_request({"text": "dogs"})), lambda: load(engine, name)):
        with pytest.raises(BadRequest, match="1 to 63 characters of a-z") as refused:
            act()
        assert refused.value.field == "name"


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({"image": b"GIF89a"}, "image", "use an address or an item"),
        ({"text": "dogs", "cursor": "abc"}, "cursor", "a page cannot be saved"),
        ({"text": "dogs", "filter": {"width": {"$near": 1}}}, "filter", "no operator"),
    ],
)
def test_what_cannot_be_kept_is_said(engine: Engine, fields: dict[str, Any], field: str, said: str) -> None:
    with pytest.raises(BadRequest, match=said) as refused:
        save(engine, "dogs", parse_request(fields))
    assert refused.value.field == field
    assert list_saved(engine) == []


def test_a_search_of_another_version_says_what_does_not_fit(engine: Engine) -> None:
    with transaction(engine) as connection:
        kept = '{"text": "dogs", "colour": "red"}'
        insert = text("INSERT INTO clipgres.saved_search (name, request) VALUES ('old', CAST(:kept AS jsonb))")
        connection.execute(insert, {"kept": kept})
    with pytest.raises(BadRequest, match='"old" does not fit any more: colour: a search has no such field') as no:
        load(engine, "old")
    assert no.value.field == "colour"
    assert [saved.name for saved in list_saved(engine)] == ["old"]
    save(engine, "old", parse_request({"text": "dogs"}), replace=True)
    assert load(engine, "old").text == "dogs"


def test_the_role_of_the_web_may_do_all_of_it(engine: Engine, postgres: Settings) -> None:
    url = embedded_database_url(postgres, role=SUPERUSER, database=str(engine.url.database))
    web = create_engine(url)
    event.listen(web, "begin", lambda connection: connection.exec_driver_sql("SET LOCAL ROLE clipgres_web"))
    save(web, "dogs", parse_request({"text": "dogs"}))
    save(web, "dogs", parse_request({"text": "cats"}), replace=True)
    assert load(web, "dogs").text == "cats"
    assert [saved.name for saved in list_saved(web)] == ["dogs"]
    delete_saved(web, "dogs")
    web.dispose()
