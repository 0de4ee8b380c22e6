"""Mixed queries, pages, thresholds and saved searches on the search page and in the API."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest
from sqlalchemy import Engine

from clipgres.settings import Settings
from tests.web import Site, captions, offline_site, site, upload

COLOURS = ("red", "green", "blue", "white", "black", "orange", "purple", "gold", "teal", "navy")


@pytest.fixture
def web(settings: Settings, engine: Engine) -> Site:
    """Ten pictures in plain colours."""
    built = site(settings, engine)
    for place, colour in enumerate(COLOURS):
        built.add(colour, key=colour, metadata={"place": place})
    return built


def link(page: str, words: str) -> str:
    """Where the link with these words leads."""
    found = re.search(rf'href="([^"]+)"[^>]*>{words}</a>', page)
    assert found, words
    return unescape(found[1])


def hidden(page: str, name: str) -> list[str]:
    """The values of the form's hidden fields of a name."""
    return [unescape(value) for value in re.findall(rf'<input type="hidden" name="{name}" value="([^"]*)">', page)]


def test_the_form_without_scripts_leads_to_a_short_address(web: Site) -> None:
    led = web.client.get("/?q=green&image=&not=&by=image&words=&min=0&standing=0&k=&mode=auto&where=&host=&save_as=")
    assert (led.status_code, led.location) == (302, "/?q=green")
    assert web.client.get("/?q=green&not=&after=abc").location == "/?q=green&after=abc"


def test_what_is_left_out_moves_the_answer(web: Site) -> None:
    towards = captions(web.client.get("/?like=teal").text)
    away = captions(web.client.get("/?like=teal&not=green").text)
    assert sorted(towards) == sorted(away)
    assert away.index("a green field") > towards.index("a green field")


def test_less_like_this_adds_to_the_search(web: Site) -> None:
    page = web.client.get("/?q=teal").text
    assert 'form="search" name="unlike" value="green"' in page
    page = web.client.get("/?q=teal&unlike=green").text
    assert "a green field" not in captions(page)
    assert hidden(page, "unlike") == ["green"] and 'name="drop" value="unlike:green"' in page
    assert web.client.get("/?q=teal&unlike=green&drop=unlike:green").location == "/?q=teal"


def test_a_picture_survives_added_words(web: Site) -> None:
    token = web.csrf("/")
    first = web.client.post("/", data={"image": upload("blue"), "csrf_token": token}).text
    [kept] = hidden(first, "picture")
    mixed = web.client.post("/", data={"picture": kept, "q": "white", "not": "red", "csrf_token": token}).text
    assert hidden(mixed, "picture") == [kept]
    assert "<q>white</q> and this picture, without <q>red</q>" in mixed
    assert captions(first)[0] == "a blue field"
    assert set(captions(mixed)[:2]) == {"a blue field", "a white field"}


def test_without_its_picture_a_search_is_an_address_again(web: Site) -> None:
    form = {"picture": "UklGRg==", "q": "green", "drop": "picture", "csrf_token": web.csrf("/")}
    led = web.client.post("/", data=form)
    assert (led.status_code, led.location) == (303, "/?q=green")


def test_a_text_longer_than_an_address_is_answered_where_it_was_sent_to(web: Site) -> None:
    page = web.client.post("/", data={"q": "green " * 10_000, "csrf_token": web.csrf("/")})
    assert page.status_code == 200
    assert "its end did not count" in page.text


def test_a_filter_and_its_simple_fields_narrow_the_search(web: Site) -> None:
    query = {
        "q": "red",
        "where": '{"place": {"$lt": 3}}',
        "host": "pictures.example",
        "width": "10",
        "caption": "field",
    }
    assert sorted(captions(web.client.get("/", query_string=query).text)) == [
        "a blue field", "a green field", "a red field",
    ]  # fmt: skip
    assert captions(web.client.get("/", query_string=query | {"width": "1000"}).text) == []


def test_pages_follow_one_another_and_lead_back(web: Site) -> None:
    page = web.client.get("/?q=green&k=4").text
    assert captions(page)[0] == "a green field"
    seen = captions(page)
    while "Next page" in page:
        assert 'rel="next"' in page
        page = web.client.get(link(page, "Next page")).text
        assert "A further page of the search" in page
        assert 'value="green"' in page and link(page, "First page") == "/?q=green&k=4"
        seen += captions(page)
    assert sorted(seen) == sorted(f"a {colour} field" for colour in COLOURS)


def test_a_picture_keeps_its_place_over_pages(web: Site) -> None:
    token = web.csrf("/")
    page = web.client.post("/", data={"image": upload("blue"), "k": "4", "csrf_token": token}).text
    cursor = re.search(r'name="after" value="([^"]+)">Next page', page)
    assert cursor
    form = {"picture": hidden(page, "picture")[0], "after": cursor[1], "k": "4", "csrf_token": token}
    second = web.client.post("/", data=form).text
    assert len(captions(second)) == 4 and not set(captions(second)) & set(captions(page))
    assert hidden(second, "picture") == hidden(page, "picture")


def test_an_expired_page_leads_to_the_search_again(web: Site) -> None:
    page = web.client.get("/?q=green&after=expired")
    assert page.status_code == 400
    assert link(page.text, "Search again") == "/?q=green"


def test_how_far_a_hit_stands_out_is_shown_and_can_be_asked_for(settings: Settings, engine: Engine) -> None:
    web = site(settings, engine)
    for hue in range(0, 360, 6):
        web.add(f"hsl({hue}, 100%, 50%)", f"hue {hue}", key=str(hue), url=f"https://pictures.example/{hue}.png")
    page = web.client.get("/?q=red&standing=90").text
    assert "hue 0" in captions(page) and 0 < len(captions(page)) < 10
    assert "pictures below the threshold are hidden" in page and link(page, "Show them") == "/?q=red"
    assert re.search(r"above 9[0-9.]+ %", page)


SAVED = {"text": "green", "not_text": "red", "min_score": 0.6, "filter": {"place": {"$lt": 5}}}


def test_a_search_is_saved_opened_changed_and_deleted(web: Site) -> None:
    form = {"q": "green", "not": "red", "min": "60", "where": '{"place": {"$lt": 5}}', "k": "", "by": "image"}
    token = web.csrf("/")
    led = web.client.post("/searches", data=form | {"save_as": "greens", "csrf_token": token})
    assert (led.status_code, led.location) == (303, "/?saved=greens")
    page = web.client.get("/?saved=greens").text
    assert captions(page) == ["a green field"] and "Saved search “greens”" in page
    assert 'name="not" value="red"' in page and "4 pictures below 60 % are hidden" in page
    assert link(page, "Show them") == "/?" + "q=green&not=red&where=%7B%22place%22:+%7B%22$lt%22:+5%7D%7D"
    assert len(captions(web.client.get("/?saved=greens&min=0").text)) == 5
    again = web.client.post("/searches", data=form | {"save_as": "greens", "csrf_token": token})
    assert again.status_code == 409 and "already" in again.text
    assert web.client.post(
        "/searches", data=form | {"save_as": "greens", "replace": "yes", "csrf_token": token}
    ).location
    assert web.client.post("/searches/delete", data={"name": "greens", "csrf_token": token}).location == "/"
    assert web.client.get("/?saved=greens").status_code == 404


MISFITS = [
    ({"save_as": "x"}, "say what to search for"),
    ({"q": "red"}, "saved search&#39;s name"),
    ({"q": "red", "save_as": "No Name!"}, "saved search&#39;s name"),
    ({"q": "red", "save_as": "x", "k": "0"}, "(k)"),
    ({"q": "red", "save_as": "x", "where": '{"place": {"$near": 1}}'}, "filter"),
]


def test_what_cannot_be_saved_is_said_above_the_box(web: Site) -> None:
    token = web.csrf("/")
    for form, words in MISFITS:
        page = web.client.post("/searches", data=form | {"csrf_token": token})
        assert page.status_code == 400 and 'role="alert"' in page.text, form
        assert words in page.text.lower(), form
    with_picture = {"save_as": "x", "image": upload("red"), "csrf_token": token}
    page = web.client.post("/searches", data=with_picture)
    assert page.status_code == 400 and "cannot be saved" in page.text and hidden(page.text, "picture")


def test_the_api_keeps_searches(web: Site) -> None:
    assert web.client.get("/api/searches").json == {"searches": []}
    kept = web.client.put("/api/searches/greens", json=SAVED)
    assert (kept.status_code, kept.json) == (200, {"name": "greens", "request": SAVED})
    assert web.client.put("/api/searches/greens", json=SAVED).status_code == 200
    listed: Any = web.client.get("/api/searches").json
    assert [(each["name"], each["request"]) for each in listed["searches"]] == [("greens", SAVED)]
    asked: Any = web.client.post("/api/search", json=web.client.get("/api/searches/greens").json["request"]).json  # type: ignore[index]
    assert [hit["key"] for hit in asked["hits"]] == ["green"]
    assert web.client.delete("/api/searches/greens").status_code == 204
    assert web.client.get("/api/searches/greens").status_code == 404
    assert web.client.delete("/api/searches/greens").status_code == 404


def test_a_saved_vector_is_opened_by_its_name(web: Site) -> None:
    [vector] = web.encoder.text(["green"]).tolist()
    assert web.client.put("/api/searches/v", json={"vector": vector, "min_score": 0.95}).status_code == 200
    page = web.client.get("/?saved=v").text
    assert captions(page) == ["a green field"]
    assert hidden(page, "vector_of") == ["v"] and link(page, "Show them") == "/?vector_of=v"
    assert len(captions(web.client.get("/?vector_of=v&unlike=red").text)) == 9


def test_the_api_pages_by_the_cursor_alone(web: Site) -> None:
    keys: list[str] = []
    body: dict[str, Any] = {"text": "green", "top_k": 4}
    while body:
        answer: Any = web.client.post("/api/search", json=body).json
        keys += [hit["key"] for hit in answer["hits"]]
        body = {"cursor": answer["next"]} if answer["next"] else {}
    assert sorted(keys) == sorted(COLOURS)


def test_the_api_mixes_a_picture_with_words(web: Site) -> None:
    fields = {"image": upload("blue"), "text": "white", "not_text": "red", "unlike": ["navy", "black"], "top_k": "2"}
    answer: Any = web.client.post("/api/search", data=fields | {"weights": '{"image": 2, "not_text": 0.1}'}).json
    assert answer["hits"][0]["key"] == "blue"
    assert {hit["key"] for hit in answer["hits"]}.isdisjoint({"navy", "black"})


TOKEN = "a-long-secret-of-the-tests"


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_on_the_network_keeping_searches_needs_the_token(method: str) -> None:
    public = offline_site(settings={"admin_token": TOKEN}, bind_host="0.0.0.0")  # noqa: S104 - nothing is bound
    asked = {"json": {"text": "x"}, "method": method}
    assert public.client.open("/api/searches/x", **asked).status_code == 401
    let_in = public.client.open("/api/searches/x", **asked, headers={"Authorization": f"Bearer {TOKEN}"})
    assert let_in.status_code == 503
