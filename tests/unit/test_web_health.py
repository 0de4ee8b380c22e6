"""What the application says when its database and its queue are away."""

from __future__ import annotations

import pytest

from tests.web import HTML, Site, offline_site


@pytest.fixture
def stranded() -> Site:
    return offline_site()


def test_it_lives_while_its_servers_are_away(stranded: Site) -> None:
    assert stranded.client.get("/healthz").json == {"status": "ok"}


def test_it_is_not_ready_and_says_which_part_is_away(stranded: Site) -> None:
    answer = stranded.client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json and "cannot answer" in answer.json["database"] and "cannot be reached" in answer.json["queue"]


@pytest.mark.parametrize(
    "path", ["/", "/?q=red", "/items/default/1", "/add", "/batches", "/batches/1", "/failures", "/collections"]
)
def test_without_a_database_a_page_says_so_and_what_to_do(stranded: Site, path: str) -> None:
    page = stranded.client.get(path, headers=HTML)
    assert page.status_code == 503 and page.headers["Retry-After"]
    assert "Not available at this moment" in page.text and "<code>clipgres doctor</code>" in page.text


@pytest.mark.parametrize("path", ["/api/batches", "/api/collections", "/api/items/default/1", "/thumbnails/1"])
def test_without_a_database_a_program_is_told(stranded: Site, path: str) -> None:
    answer = stranded.client.get(path, headers={"Accept": "application/json"})
    assert (answer.status_code, answer.mimetype) == (503, "application/problem+json")
