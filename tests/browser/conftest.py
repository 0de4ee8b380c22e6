"""A real Chromium, and the real application that it looks at."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright
from sqlalchemy import Engine
from werkzeug.serving import make_server

from clipgres.settings import Settings
from tests.web import Site, png, site

WIDTHS = (1280, 390)
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]
NAMES = ("chromium", "chromium-browser", "google-chrome")


@dataclass(frozen=True, slots=True)
class Served:
    """The application and where a browser finds it."""

    site: Site
    url: str


def find_chromium() -> str:
    """The program; without one the test that asks is skipped, or fails where CI is set."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        give_up = pytest.fail if os.environ.get("CI") else pytest.skip
        give_up("there is no Chromium on the PATH: `apt-get install chromium` brings one")
    return path


@pytest.fixture(scope="session")
def chromium(nothing_left_running: None) -> Iterator[Browser]:
    """One browser for the run."""
    path = find_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def served(settings: Settings, engine: Engine) -> Iterator[Served]:
    """The application on a port of this machine."""
    built = site(settings, engine)
    server = make_server("127.0.0.1", 0, built.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Served(built, f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def open_page(chromium: Browser, served: Served) -> Iterator[Callable[..., Page]]:
    """Opens pages of a width; the test fails if one of them has an error or talks to another host."""
    troubles: list[str] = []
    contexts = []

    def trouble(message: ConsoleMessage) -> None:
        if message.type == "error" and "status of 4" not in message.text:
            troubles.append(message.text)

    def request(sent: Request) -> None:
        if not sent.url.startswith((served.url, "data:", "blob:", "https://pictures.example")):
            troubles.append(f"a request to {sent.url}")

    def opened(path: str = "/", *, width: int = 1280, scripts: bool = True, **more: Any) -> Page:
        size = {"width": width, "height": 844 if width < 600 else 800}
        context = chromium.new_context(viewport=size, java_script_enabled=scripts, **more)  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", trouble)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", request)
        page.goto(served.url + path)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert troubles == []


@pytest.fixture
def red_file(tmp_path: Path) -> Path:
    """A red picture to choose, drop or paste."""
    path = tmp_path / "red.png"
    path.write_bytes(png("red"))
    return path
