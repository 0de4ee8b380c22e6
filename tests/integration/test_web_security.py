"""The walls of the web application: hosts, other sites, forms, tokens, headers."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest
from sqlalchemy import Engine
from werkzeug.test import TestResponse

from clipgres.errors import SetupError
from clipgres.settings import Settings
from tests.web import HTML, Site, site

TOKEN = "a-long-secret-of-the-tests"
EVERY_ADDRESS = "0.0.0.0"  # noqa: S104 - nothing is bound by the tests
LIST = ["https://pictures.example/dog.png"]


@pytest.fixture
def web(settings: Settings, engine: Engine) -> Site:
    return site(settings, engine)


@pytest.fixture
def public(settings: Settings, engine: Engine) -> Site:
    """The application as it listens to the network."""
    with_token = Settings(**settings.model_dump() | {"admin_token": TOKEN})
    return site(with_token, engine, bind_host=EVERY_ADDRESS)


@pytest.mark.parametrize(
    "path", ["/", "/add", "/batches", "/collections", "/healthz", "/nowhere", "/api/batches", "/static/style.css"]
)
def test_every_answer_carries_the_headers(web: Site, path: str) -> None:
    headers = web.client.get(path).headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize("path", ["/", "/?q=red", "/add", "/batches", "/collections", "/nowhere"])
def test_no_page_needs_what_the_policy_forbids(web: Site, path: str) -> None:
    web.add("red")
    page = web.client.get(path, headers=HTML).text
    assert " style=" not in page and "<style" not in page and " onclick" not in page
    assert page.count("<script") == page.count('<script type="module" src="/static/')


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8000", "127.0.0.1:8000", "127.1.2.3", "[::1]:8000", "LOCALHOST"]
)
def test_a_loopback_name_is_answered(web: Site, host: str) -> None:
    assert web.client.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.1:8000",
        "127.0.0.1@evil.example",
        EVERY_ADDRESS,
        "x y",
    ],
)
def test_a_foreign_name_for_this_machine_is_not(web: Site, host: str) -> None:
    assert web.client.get("/api/batches", headers={"Host": host}).status_code in {400, 421}


def test_a_form_needs_its_token(web: Site) -> None:
    assert web.client.post("/add", data={"url": LIST[0]}).status_code == 400
    assert web.client.post("/batches/1/retry").status_code == 400
    assert web.client.post("/", data={"q": "red"}).status_code == 400
    assert web.client.post("/add", data={"url": LIST[0], "csrf_token": "made up"}).status_code == 400


def test_a_form_that_is_too_old_says_so(web: Site) -> None:
    assert "too old" in web.client.post("/add", data={"url": LIST[0]}, headers=HTML).text


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost:9999"},
        {"Origin": "null"},
    ],
)
def test_another_site_can_send_nothing(web: Site, headers: dict[str, str]) -> None:
    assert web.client.post("/api/images", json=LIST, headers=headers).status_code == 403
    assert web.client.post("/api/batches/1/retry", headers=headers).status_code == 403


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}, {"Origin": "http://localhost"}, {}]
)
def test_this_site_and_programs_can(web: Site, headers: dict[str, str]) -> None:
    assert web.client.post("/api/images", json=LIST, headers=headers).status_code == 202


def test_another_site_may_link_here_but_not_read(web: Site) -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    script = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    assert web.client.get("/", headers=link).status_code == 200
    assert web.client.get("/", headers=script).status_code == 403


def test_a_browsers_form_passes_although_its_origin_is_null(web: Site) -> None:
    form = {"csrf_token": web.csrf(), "url": LIST[0]}
    same = {"Origin": "null", "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate"}
    assert web.client.post("/add", data=form, headers=same).status_code == 303
    assert web.client.post("/add", data=form, headers={"Origin": "null"}).status_code == 303


def test_it_refuses_to_start_on_the_network_without_a_token(settings: Settings, engine: Engine) -> None:
    with pytest.raises(SetupError, match="CLIPGRES_ADMIN_TOKEN"):
        site(settings, engine, bind_host=EVERY_ADDRESS)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.53"])
def test_it_starts_on_loopback_without_one(settings: Settings, engine: Engine, host: str) -> None:
    assert site(settings, engine, bind_host=host).client.get("/healthz").status_code == 200


WRITES: list[Callable[[Site, dict[str, str]], TestResponse]] = [
    lambda web, headers: web.client.post("/api/images", json=LIST, headers=headers),
    lambda web, headers: web.client.post("/api/batches/1/retry", headers=headers),
    lambda web, headers: web.client.get("/add", headers=headers),
]


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize(
    "given",
    ["", "Bearer wrong", "Bearer ", "Basic !!", "Basic " + base64.b64encode(b"me:wrong").decode(), "Bearer ключ"],
)
def test_on_the_network_a_write_needs_the_token(public: Site, write: Callable[..., TestResponse], given: str) -> None:
    answer = write(public, {"Authorization": given} if given else {})
    assert answer.status_code == 401
    assert {"basic", "bearer"} == {header.split()[0].lower() for header in answer.headers.getlist("WWW-Authenticate")}


@pytest.mark.parametrize("given", [f"Bearer {TOKEN}", "Basic " + base64.b64encode(f"me:{TOKEN}".encode()).decode()])
def test_on_the_network_the_token_lets_in(public: Site, given: str) -> None:
    answers = [write(public, {"Authorization": given}).status_code for write in WRITES]
    assert answers == [202, 200, 200]


def test_on_the_network_anyone_may_search(public: Site) -> None:
    public.add("red")
    assert public.client.get("/?q=red", headers={"Host": "pictures.example"}).status_code == 200
    assert public.client.post("/api/search", json={"text": "red"}).status_code == 200


def test_the_token_is_not_shown(public: Site) -> None:
    assert TOKEN not in repr(public.app.config["SECRET_KEY"])
    assert all(TOKEN not in public.client.get(path).text for path in ("/", "/healthz", "/readyz", "/add"))
