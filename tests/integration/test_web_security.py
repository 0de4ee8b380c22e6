"""What the walls let through: forms as browsers send them, the token, and pages that keep to their own policy."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from clipgres.settings import Settings
from tests.web import HTML, Site, site

TOKEN = "a-long-secret-of-the-tests"
EVERY_ADDRESS = "0.0.0.0"  # noqa: S104 - nothing is bound by the tests
LIST = ["https://pictures.example/dog.png"]


@pytest.fixture
def web(settings: Settings, engine: Engine) -> Site:
    return site(settings, engine)


def test_no_page_needs_what_the_policy_forbids(web: Site) -> None:
    web.add("red", key="r")
    web.client.post("/api/images", json=LIST)
    others = ("/add", "/batches", "/batches/1", "/failures", "/collections", "/nowhere")
    for path in ("/", "/?q=red", "/items/default/r", *others):
        page = web.client.get(path, headers=HTML).text
        assert " style=" not in page and "<style" not in page and " onclick" not in page
        assert page.count("<script") == page.count('<script type="module" src="/static/')


def test_a_browsers_form_passes_although_its_origin_is_null(web: Site) -> None:
    form = {"csrf_token": web.csrf(), "url": LIST[0]}
    same = {"Origin": "null", "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate"}
    assert web.client.post("/add", data=form, headers=same).status_code == 303
    assert web.client.post("/add", data=form, headers={"Origin": "null"}).status_code == 303


def test_a_form_of_another_visitor_does_not_pass(web: Site) -> None:
    stolen = web.csrf()
    other = web.app.test_client()
    assert other.post("/add", data={"csrf_token": stolen, "url": LIST[0]}).status_code == 400


def test_on_the_network_writes_take_the_token_and_searches_none(settings: Settings, engine: Engine) -> None:
    with_token = Settings(**settings.model_dump() | {"admin_token": TOKEN})
    public = site(with_token, engine, bind_host=EVERY_ADDRESS)
    public.add("red")
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert public.client.post("/api/images", json=LIST, headers=bearer).status_code == 202
    assert public.client.get("/?q=red", headers={"Host": "pictures.example"}).status_code == 200
    assert public.client.post("/api/search", json={"text": "red"}).status_code == 200
