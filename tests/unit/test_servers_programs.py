"""What the worker and the web server are given, and how their readiness is told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from pydantic import SecretStr

from clipgres.servers.account import Account
from clipgres.servers.home import Home
from clipgres.servers.programs import environment, in_url, reachable, web_child, worker_child
from clipgres.settings import Settings, load_settings

HOME = Home(Path("/srv/clipgres"), Account("me", is_service=False))


@pytest.fixture(params=[200, 503])
def page(request: pytest.FixtureRequest) -> Iterator[tuple[int, int]]:
    """The port of a web server that answers /readyz, and the status it answers with."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(request.param if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port, request.param
        server.shutdown()


def test_a_given_setting_reaches_the_children_wherever_it_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(model="tiny-clip", redis_url=SecretStr("unix:///r"), thumbnails=False, batch_images=7)
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    assert load_settings() == settings


def test_a_setting_that_was_not_given_is_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPGRES_THREADS", "3")
    monkeypatch.setenv("HF_HOME", "/models")
    found = environment(Settings.model_construct())
    assert "CLIPGRES_THREADS" not in found
    assert found["HF_HOME"] == "/models"


def test_a_home_names_its_worker_the_same_each_time() -> None:
    settings = Settings(redis_url=SecretStr("unix:///r"))
    names = [worker_child(settings, home).command[-1] for home in (HOME, HOME, Home(Path("/other"), HOME.account))]
    assert names[0] == names[1] != names[2]


def test_a_user_folder_named_like_ours_is_not_imported(tmp_path: Path) -> None:
    command = web_child(Settings(), "127.0.0.1", 8000, HOME).command
    assert command[1] == "-P" and command[3].startswith("import webapp;")


def test_the_page_is_ready_when_it_says_so(page: tuple[int, int]) -> None:
    port, status = page
    assert web_child(Settings(), "127.0.0.1", port, HOME).ready() == (status == 200)


def test_a_page_that_is_not_there_is_not_ready() -> None:
    assert not web_child(Settings(), "127.0.0.1", 1, HOME).ready()


@pytest.mark.parametrize(("host", "expected"), [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("10.0.0.5", "10.0.0.5")])  # noqa: S104
def test_the_address_is_one_to_open(host: str, expected: str) -> None:
    assert in_url(reachable(host)) == expected
