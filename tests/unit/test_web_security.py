"""The walls of the web application: hosts, other sites, tokens, headers; none of them needs a database."""

from __future__ import annotations

import base64
import io

import pytest

from clipgres.errors import SetupError
from tests.web import HTML, Site, offline_site

TOKEN = "a-long-secret-of-the-tests"
EVERY_ADDRESS = "0.0.0.0"  # noqa: S104 - nothing is bound by the tests
LIST = ["https://pictures.example/dog.png"]
PAGES = ["/", "/?q=red", "/add", "/batches", "/failures", "/collections", "/items/default/x", "/nowhere"]


@pytest.fixture
def web() -> Site:
    """The application on loopback, without its servers: what passes the walls is answered with 503."""
    return offline_site()


@pytest.fixture
def public() -> Site:
    """The application as it listens to the network."""
    return offline_site(settings={"admin_token": TOKEN}, bind_host=EVERY_ADDRESS)


@pytest.mark.parametrize("path", [*PAGES, "/healthz", "/api/batches", "/static/style.css"])
def test_every_answer_carries_the_headers(web: Site, path: str) -> None:
    headers = web.client.get(path).headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"


LOOPBACK = ["localhost", "localhost:8000", "127.0.0.1:8000", "127.1.2.3", "[::1]:8000", "LOCALHOST"]
FOREIGN = ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1:8000", "a@evil.example", "x y"]


@pytest.mark.parametrize("host", LOOPBACK)
def test_a_loopback_name_is_answered(web: Site, host: str) -> None:
    assert web.client.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", [*FOREIGN, EVERY_ADDRESS, ""])
def test_a_foreign_name_for_this_machine_is_not(web: Site, host: str) -> None:
    assert web.client.get("/healthz", headers={"Host": host}).status_code in {400, 421}


def test_on_the_network_any_name_is_answered(public: Site) -> None:
    assert public.client.get("/healthz", headers={"Host": "pictures.example"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost:9999"},
        {"Origin": "null"},
        {"Origin": "http://[bad"},
    ],
)
def test_another_site_can_send_nothing(web: Site, headers: dict[str, str]) -> None:
    assert web.client.post("/api/images", json=LIST, headers=headers).status_code == 403
    assert web.client.post("/api/batches/1/retry", headers=headers).status_code == 403


OWN = [{"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}, {"Origin": "http://localhost"}, {}]


@pytest.mark.parametrize("headers", OWN)
def test_this_site_and_programs_can(web: Site, headers: dict[str, str]) -> None:
    assert web.client.post("/api/images", json=LIST, headers=headers).status_code == 503


def test_another_site_may_link_here_but_not_read(web: Site) -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    script = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    assert web.client.get("/healthz", headers=link).status_code == 200
    assert web.client.get("/healthz", headers=script).status_code == 403


def test_a_form_needs_its_token(web: Site) -> None:
    for path in ("/", "/add", "/batches/1/retry"):
        assert web.client.post(path, data={"url": LIST[0]}).status_code == 400
        assert web.client.post(path, data={"csrf_token": "made up"}).status_code == 400


def test_a_form_that_is_too_old_says_so(web: Site) -> None:
    assert "too old" in web.client.post("/add", data={"url": LIST[0]}, headers=HTML).text


def test_it_refuses_to_start_on_the_network_without_a_token() -> None:
    with pytest.raises(SetupError, match="CLIPGRES_ADMIN_TOKEN"):
        offline_site(bind_host=EVERY_ADDRESS)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.53"])
def test_it_starts_on_loopback_without_one(host: str) -> None:
    assert offline_site(bind_host=host).client.get("/healthz").status_code == 200


WRITES = [("POST", "/api/images"), ("POST", "/api/batches/1/retry"), ("GET", "/add")]


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"me:{password}".encode()).decode()


@pytest.mark.parametrize("given", ["", "Bearer wrong", "Bearer ", "Bearer", "Basic !!", basic("wrong"), basic("")])
@pytest.mark.parametrize(("method", "path"), WRITES)
def test_on_the_network_a_write_needs_the_token(public: Site, method: str, path: str, given: str) -> None:
    answer = public.client.open(path, method=method, headers={"Authorization": given} if given else {})
    assert answer.status_code == 401
    assert {"basic", "bearer"} == {header.split()[0].lower() for header in answer.headers.getlist("WWW-Authenticate")}


@pytest.mark.parametrize("given", [f"Bearer {TOKEN}", basic(TOKEN)])
@pytest.mark.parametrize(("method", "path"), WRITES)
def test_on_the_network_the_token_lets_in(public: Site, method: str, path: str, given: str) -> None:
    answer = public.client.open(path, method=method, json=LIST, headers={"Authorization": given})
    assert answer.status_code == 503


def test_on_the_network_only_an_admin_may_send_much() -> None:
    small = {"admin_token": TOKEN, "upload_max_bytes": 1_000}
    public = offline_site(settings=small, bind_host=EVERY_ADDRESS)

    def send(headers: dict[str, str]) -> int:
        return public.client.post(
            "/add", data={"list": (io.BytesIO(b"x" * 200_000), "a.tsv")}, headers=headers
        ).status_code

    assert send({}) == 413
    assert send({"Authorization": f"Bearer {TOKEN}"}) == 400  # read, and found to lack its CSRF token


def test_the_token_is_not_shown(public: Site) -> None:
    assert TOKEN.encode() not in public.app.config["SECRET_KEY"]
    assert all(TOKEN not in public.client.get(path).text for path in ("/", "/healthz", "/readyz", "/add"))
