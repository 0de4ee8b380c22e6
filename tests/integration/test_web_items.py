"""The page of one picture, thumbnails, collections, and captions that mean harm."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest
from markupsafe import escape
from sqlalchemy import Engine, text

from clipgres.database import transaction
from clipgres.settings import Settings
from tests.web import HTML, Site, site

HOSTILE = ["<img src=x onerror=alert(1)>", "{{7*7}}", '"><script>alert(1)</script>', "{% raw %}", "' onmouseover='x"]


HISTORY_SQL = """
    INSERT INTO clipgres.fetch_attempt (image_id, at, reason, http_status, detail, took_ms) VALUES
        (:image, now() - interval '2 days', NULL, 200, NULL, NULL),
        (:image, now() - interval '1 day', NULL, 304, NULL, NULL),
        (:image, now(), 'not_found', 404, 'HTTP 404 <b>', 7)
"""


@pytest.fixture
def web(settings: Settings, engine: Engine) -> Site:
    return site(settings, engine)


def test_the_page_of_a_picture(web: Site) -> None:
    web.add("red", captions=["a red field", "poppies"], key="r", metadata={"year": 2024, "by": "Ada"})
    page = web.client.get("/items/default/r").text
    for words in ("a red field", "poppies", "64 × 48 px", "2024", "Ada", "https://pictures.example/default/red.png"):
        assert words in page
    assert 'href="/?like=r"' in page


KEYS = ["a/b", "a//b", "http://x/?y=1#z", "ключ", "a b", "%41", "{{7*7}}", "?", "a&b=c", ".hidden"]


def test_any_key_has_its_page(web: Site) -> None:
    for place, key in enumerate(KEYS):
        web.add("red", key=key, url=f"https://pictures.example/{place}.png")
    answer: Any = web.client.post("/api/search", json={"text": "red"}).json
    pages = [hit["page"] for hit in answer["hits"]]
    links = [unescape(link) for link in re.findall(r'href="(/[^"]+)"', web.client.get("/?q=red").text)]
    found = [link for link in links if link.startswith(("/items/", "/?like="))]
    assert (len(pages), len(found)) == (len(KEYS), 2 * len(KEYS))
    assert [link for link in pages + found if web.client.get(link).status_code != 200] == []


def test_the_api_tells_of_an_item(web: Site) -> None:
    image = web.add("red", key="r", metadata={"year": 2024})
    item = web.client.get("/api/items/default/r").json
    assert item and (item["key"], item["caption"], item["metadata"]) == ("r", "a red field", {"year": 2024})
    assert item["thumbnail"] == f"/thumbnails/{image}"


def test_a_picture_whose_original_is_gone_says_so_and_why(web: Site) -> None:
    image = web.add("red", key="r")
    with transaction(web.engine) as connection:
        connection.execute(text("UPDATE clipgres.image SET state = 'failed', reason = 'not_found'"))
        connection.execute(text(HISTORY_SQL), {"image": image})
    page = web.client.get("/items/default/r").text
    assert "gone: the host says it is not there (404)" in page
    assert re.findall(r"<td>(.+?)</td>", page) == ["HTTP 404 &lt;b&gt;", "unchanged", "fetched"]
    item: Any = web.client.get("/api/items/default/r").json
    assert (item["alive"], item["reason"]) == (False, "not_found")
    assert [(each["http_status"], each["took_ms"]) for each in item["history"]] == [(404, 7), (304, None), (200, None)]
    assert "original gone, kept as thumbnail" in web.client.get("/?q=red").text
    hits: Any = web.client.post("/api/search", json={"text": "red"}).json
    assert hits["hits"][0]["alive"] is False


def test_an_item_that_is_not_there(web: Site) -> None:
    web.add("red")
    for path in ("/items/default/x", "/items/nowhere/x", "/items/default/%00", "/items/%00/x"):
        page = web.client.get(path, headers=HTML)
        assert page.status_code == 404 and "There is nothing here" in page.text
        assert web.client.get(f"/api{path}").mimetype == "application/problem+json"


def test_a_thumbnail_is_kept_by_the_browser(web: Site) -> None:
    image = web.add("red")
    first = web.client.get(f"/thumbnails/{image}")
    assert (first.status_code, first.mimetype) == (200, "image/webp")
    assert first.data[8:12] == b"WEBP"
    assert first.cache_control.max_age and first.headers["ETag"]
    again = web.client.get(f"/thumbnails/{image}", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


BAD_IDS = ["0", "999", "-1", "x", f"{2**63}", "1%00", "../1", "..%2f..%2fetc%2fpasswd", "%2e%2e/healthz", "1.webp"]


def test_a_thumbnail_that_is_not_there(web: Site) -> None:
    web.add("red")
    answers = {image: web.client.get(f"/thumbnails/{image}", headers=HTML).status_code for image in BAD_IDS}
    assert set(answers.values()) == {404}, answers


def test_hostile_captions_are_text(web: Site) -> None:
    for place, caption in enumerate(HOSTILE):
        web.add("red", captions=[caption, "another"], key=f"{place}", url=f"https://pictures.example/{place}.png")
    results = web.client.get("/?q=red").text
    for place, caption in enumerate(HOSTILE):
        page = web.client.get(f"/items/default/{place}").text
        assert escape(caption) in page and escape(caption) in results
        assert caption == escape(caption) or (caption not in page and caption not in results)


def test_hostile_metadata_is_text(web: Site) -> None:
    web.add("red", key="r", metadata={caption: [caption] for caption in HOSTILE})
    page = web.client.get("/items/default/r").text
    assert [caption for caption in HOSTILE if caption in page] == ["{{7*7}}", "{% raw %}"]


def test_a_hostile_question_is_text(web: Site) -> None:
    web.add("red")
    page = web.client.get("/", query_string={"q": '"><script>alert(1)</script>'}).text
    assert "<script>alert" not in page and "&lt;script&gt;" in page


def test_a_link_leads_only_to_the_web(web: Site, engine: Engine) -> None:
    web.add("red", key="r")
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE clipgres.image SET url = 'javascript:alert(1)'")
    for path in ("/?q=red", "/items/default/r"):
        assert 'href="javascript:' not in web.client.get(path).text


def test_links_elsewhere_tell_nothing_of_us(web: Site) -> None:
    web.add("red", key="r")
    for path in ("/?q=red", "/items/default/r"):
        page = web.client.get(path).text
        assert page.count('href="https://') == page.count('rel="noopener noreferrer"') > 0


def test_the_collections_in_numbers(web: Site) -> None:
    web.add("red")
    web.add("blue", name="other")
    page = web.client.get("/collections").text
    assert "fake/encoder" in page and 'href="/?collection=other"' in page
    listed: Any = web.client.get("/api/collections").json
    assert [(each["name"], each["items"]) for each in listed["collections"]] == [("default", 1), ("other", 1)]


def test_without_collections_the_page_says_what_to_do(web: Site) -> None:
    assert "There are no collections yet" in web.client.get("/collections").text
