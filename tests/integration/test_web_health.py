"""What the application says of itself and of its errors."""

from __future__ import annotations

import logging

import pytest
from sqlalchemy import Engine

from clipgres.settings import Settings
from tests.web import HTML, site


def test_it_is_ready_when_all_is_there(settings: Settings, engine: Engine) -> None:
    answer = site(settings, engine).client.get("/readyz")
    assert (answer.status_code, answer.json) == (200, {"status": "ok", "database": "ok", "queue": "ok"})


def test_it_is_not_ready_before_the_migration(settings: Settings, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM clipgres.alembic_version")
    answer = site(settings, engine).client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json and "clipgres migrate" in answer.json["database"]


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
