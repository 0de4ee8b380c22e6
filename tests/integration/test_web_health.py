"""What the application says of itself, and what it says when something it needs is away."""

from __future__ import annotations

import logging

import pytest
from redis import Redis
from sqlalchemy import Engine

from clipgres.database import create_engine
from clipgres.settings import Settings
from tests.web import HTML, Site, site

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


@pytest.fixture
def stranded(settings: Settings) -> Site:
    """The application while its database and its queue are away."""
    return site(settings, create_engine(NOWHERE), redis=Redis(host="127.0.0.1", port=1, socket_timeout=0.2))


def test_it_is_ready_when_all_is_there(settings: Settings, engine: Engine) -> None:
    answer = site(settings, engine).client.get("/readyz")
    assert (answer.status_code, answer.json) == (200, {"status": "ok", "database": "ok", "queue": "ok"})


def test_it_lives_while_its_servers_are_away(stranded: Site) -> None:
    assert stranded.client.get("/healthz").json == {"status": "ok"}


def test_it_is_not_ready_and_says_which_part_is_away(stranded: Site) -> None:
    answer = stranded.client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json and "cannot answer" in answer.json["database"] and "cannot be reached" in answer.json["queue"]


def test_it_is_not_ready_before_the_migration(settings: Settings, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM clipgres.alembic_version")
    answer = site(settings, engine).client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json and "clipgres migrate" in answer.json["database"]


@pytest.mark.parametrize("path", ["/", "/?q=red", "/items/default/1", "/add", "/batches", "/batches/1", "/collections"])
def test_without_a_database_a_page_says_so_and_what_to_do(stranded: Site, path: str) -> None:
    page = stranded.client.get(path, headers=HTML)
    assert page.status_code == 503 and page.headers["Retry-After"]
    assert "Not available at this moment" in page.text and "<code>clipgres doctor</code>" in page.text


@pytest.mark.parametrize("path", ["/api/batches", "/api/collections", "/api/items/default/1", "/thumbnails/1"])
def test_without_a_database_a_program_is_told(stranded: Site, path: str) -> None:
    answer = stranded.client.get(path, headers={"Accept": "application/json"})
    assert (answer.status_code, answer.mimetype) == (503, "application/problem+json")


def test_a_bug_is_logged_and_shows_nothing_of_itself(
    settings: Settings, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    web = site(settings, engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE clipgres.batch RENAME COLUMN source TO origin")
    with caplog.at_level(logging.ERROR):
        answer = web.client.get("/api/batches")
    assert (answer.status_code, answer.mimetype) == (500, "application/problem+json")
    assert "Traceback" not in answer.text and "SELECT" not in answer.text
    assert "UndefinedColumn" in caplog.text


def test_what_is_not_there_is_said_in_the_readers_form(settings: Settings, engine: Engine) -> None:
    client = site(settings, engine).client
    assert "There is nothing here" in client.get("/nowhere", headers=HTML).text
    assert client.get("/api/nowhere").mimetype == "application/problem+json"
    wrong = client.get("/api/search")
    assert (wrong.status_code, wrong.mimetype) == (405, "application/problem+json")
    assert "POST" in wrong.headers["Allow"]


def test_a_redirect_stays_a_redirect(settings: Settings, engine: Engine) -> None:
    assert site(settings, engine).client.get("/items/default").status_code == 404
