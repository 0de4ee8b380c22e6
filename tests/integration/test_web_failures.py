"""The page of failures and its JSON: what they show, what they do, and what they refuse."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from html import unescape
from typing import Any

import pytest
from sqlalchemy import Engine

from clipgres.presence import WorkerInfo, announce
from clipgres.redis_client import connect_redis
from clipgres.settings import Settings
from tests.adding import add_urls, collection_named, query, set_job
from tests.web import HTML, Site, offline_site, site

PROBLEM = "application/problem+json"


@pytest.fixture
def web(settings: Settings, engine: Engine) -> Site:
    """Two hosts with four failures, one of them with words on record."""
    collection = collection_named(engine)
    add_urls(engine, collection, *(f"a.example/{number}" for number in range(3)), "b.example/1")
    for number in range(3):
        set_job(engine, f"a.example/{number}", status="failed", reason="not_found", attempts=1)
    set_job(engine, "b.example/1", status="failed", reason="tls_failed", attempts=1)
    query(
        engine,
        "INSERT INTO clipgres.fetch_attempt (image_id, reason, detail) "
        "SELECT image_id, reason, 'not <b>your</b> certificate' FROM clipgres.job WHERE reason = 'tls_failed'",
    )
    return site(settings, engine)


def page(web: Site, path: str) -> str:
    """The words of a page, without its markup."""
    answer = web.client.get(path, headers=HTML)
    assert answer.status_code == 200
    return shown(answer.text)


def shown(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


def press(web: Site, button: str, **fields: Any) -> str:
    """Send one of the two forms as the page has it, and return the page that it leads to."""
    sent = web.client.post(f"/failures/{button}", data={"csrf_token": web.csrf(), **fields})
    assert sent.status_code == 303
    return page(web, sent.headers["Location"])


def open_jobs(web: Site) -> int:
    found: int = query(web.engine, "SELECT count(*) FROM clipgres.job WHERE status = 'pending'")[0]
    return found


def test_the_page_shows_reasons_advice_examples_and_words(web: Site) -> None:
    words = page(web, "/failures")
    assert "4 pictures failed" in words and "Try all 4 again" in words
    assert "The host says it is not there (404)." in words and "Nothing to mend here: ignore them." in words
    assert "http://a.example/2" in words and "Not <b>your</b> certificate." in words
    assert "0 due, 0 under way, 0 to be tried again later." in words
    assert "No worker is alive" in words
    assert "Ignore all" not in words  # everything at once is never ignored


def test_the_page_is_narrowed_down_by_its_address(web: Site) -> None:
    assert "1 picture failed" in page(web, "/failures?reason=tls_failed&host=B.example&batch=1&collection=default")
    assert "Nothing failed here" in page(web, "/failures?reason=tls_failed&host=a.example")
    by_host = page(web, "/failures?by=host")
    assert "a.example 3 not_found 3 b.example 1 tls_failed 1" in by_host
    assert re.search(r"Batch 1 3 not_found , 1 tls_failed test, \d.* UTC 4", page(web, "/failures?by=batch"))
    assert 'href="/failures?batch=1&amp;reason=tls_failed"' in web.client.get("/batches/1").text


def test_an_empty_page_says_what_to_do_next(settings: Settings, engine: Engine) -> None:
    words = page(site(settings, engine), "/failures")
    assert "Nothing failed Addresses that could not be fetched or read stand here" in words and "Add pictures" in words


def test_the_buttons_do_what_the_page_showed(web: Site) -> None:
    words = press(web, "ignore", host="a.example", by="host")
    assert "3 pictures ignored from now on." in words and "3 ignored here" in words
    assert "1 picture failed" in page(web, "/failures")
    assert "3 failures ignored" in page(web, "/batches/1")
    assert "3 pictures ignored" in page(web, "/failures?ignored=1") and open_jobs(web) == 0
    assert "3 pictures will be tried again." in press(web, "retry", host="a.example", ignored="1")
    assert open_jobs(web) == 3
    assert "3 pictures will be tried again." not in page(web, "/failures")  # it is said once


def test_workers_pauses_and_a_queue_that_is_away_are_told(web: Site, settings: Settings, redis_url: str) -> None:
    worker = WorkerInfo(name="w@host", slots=1, pid=1, since=datetime.now(UTC), model=None, trouble="no <model> here")
    with connect_redis(redis_url) as redis:
        announce(redis, worker)
    query(web.engine, "UPDATE clipgres.collection SET paused_at = now()")
    words = page(web, "/failures")
    assert "1 worker alive. w@host: no <model> here" in words
    assert "Paused: default, 0 pictures waiting; clipgres resume --collection default lets it go on" in words
    away = settings.model_copy(update={"redis_url": type(settings.redis_url)("redis://127.0.0.1:1")})
    assert "The queue does not answer; nothing is lost by that." in page(site(away, web.engine), "/failures")


def test_without_a_database_programs_are_told() -> None:
    answer = offline_site().client.get("/api/failures")
    assert (answer.status_code, answer.mimetype) == (503, PROBLEM)


def test_programs_get_counts_groups_and_pictures(web: Site) -> None:
    told = web.client.get("/api/failures?reason=tls_failed&by=host").json
    assert told is not None and (told["failed"], told["ignored"]) == (1, 0)
    assert told["groups"] == [{"host": "b.example", "images": 1, "reasons": {"tls_failed": 1}, "paused_until": None}]
    [picture] = told["pictures"]
    assert (picture["url"], picture["detail"]) == ("http://b.example/1", "not <b>your</b> certificate")
    assert len((web.client.get("/api/failures?limit=2").json or {})["pictures"]) == 2


def test_programs_ignore_and_retry(web: Site) -> None:
    def post(action: str, **fields: Any) -> Any:
        return web.client.post(f"/api/failures/{action}", json=fields).json

    assert post("ignore", reason="not_found", host="A.EXAMPLE") == {"ignored": 3}
    assert post("retry") == {"retried": 1}
    assert post("retry", ignored=True, batch=1) == {"retried": 3}


BAD = [
    ({"reason": "not_fund"}, "did you mean not_found?"),
    ({"reason": "\0"}, "there is no reason"),
    ({"batch": "-1"}, "batch: it should be greater than or equal to 1"),
    ({"batch": str(2**63)}, "batch: it should be less than or equal to 9223372036854775807"),
    ({"batch": "one"}, "batch: it should be a valid integer"),
    ({"host": "a b"}, "'a b' is not a host"),
    ({"host": "a\0b"}, "is not a host"),
    ({"host": "x" * 300}, "is not a host"),
    ({"collection": "\0"}, "NUL"),
    ({"collection": "x" * 600}, "collection: "),
    ({"ignored": "perhaps"}, "ignored: it should be a valid boolean"),
]


def test_every_door_says_what_does_not_fit(web: Site) -> None:
    token = web.csrf("/failures?host=a.example")
    for fields, said in BAD:
        answers = [
            web.client.get("/api/failures", query_string=fields),
            web.client.post("/api/failures/retry", json=fields),
            web.client.post("/api/failures/ignore", json=fields),
        ]
        for answer in answers:
            assert (answer.status_code, answer.mimetype) == (400, PROBLEM)
            told = answer.json or {}
            assert said in told["detail"] and told["field"] == next(iter(fields))
        asked = web.client.get("/failures", query_string=fields, headers=HTML)
        assert asked.status_code == 400 and said.lower() in unescape(asked.text).lower()
        for button in ("retry", "ignore"):
            sent = web.client.post(f"/failures/{button}", data={"csrf_token": token, **fields})
            assert sent.status_code == 400
    assert open_jobs(web) == 0


def test_what_is_no_filter_is_refused(web: Site) -> None:
    post = web.client.post
    assert post("/api/failures/retry", data="x").status_code == 400
    assert post("/api/failures/retry", json=[1]).status_code == 400
    assert post("/api/failures/retry", json={"batch": True}).status_code == 400
    assert "they have collection, reason" in (post("/api/failures/retry", json={"resaon": "gone"}).json or {})["detail"]
    assert post("/api/failures/ignore", json={}).status_code == 400
    assert post("/api/failures/retry", json={"batch": 99}).status_code == 404
    assert post("/api/failures/retry", json={"collection": "a;b"}).status_code == 404
    for query_string in ("by=colour", "limit=0", "limit=1e3", "limit=1001", "batch=1&batch=2", "by=host&by=batch"):
        assert web.client.get(f"/api/failures?{query_string}").status_code == 400, query_string
    assert open_jobs(web) == 0


def test_writes_need_the_token_and_forms_their_own(web: Site, settings: Settings) -> None:
    assert web.client.post("/failures/retry", data={"host": "a.example"}).status_code == 400
    tokened = settings.model_copy(update={"admin_token": type(settings.redis_url)("secret")})
    guarded = site(tokened, web.engine, bind_host="0.0.0.0")  # noqa: S104
    assert guarded.client.get("/failures", headers=HTML).status_code == 200
    for action in ("retry", "ignore"):
        assert guarded.client.post(f"/api/failures/{action}", json={"host": "a.example"}).status_code == 401
        form = {"csrf_token": guarded.csrf("/failures?host=a.example"), "host": "a.example"}
        assert guarded.client.post(f"/failures/{action}", data=form).status_code == 401
    told = guarded.client.post("/api/failures/retry", json={}, headers={"Authorization": "Bearer secret"})
    assert told.json == {"retried": 4}
