"""Adding pictures over the page and the API, and the batches that come of it."""

from __future__ import annotations

import gzip
import io
import json

import pytest
from sqlalchemy import Engine, text

from clipgres.database import transaction
from clipgres.encoder import Space
from clipgres.errors import ModelError
from clipgres.lists.plain import zstd
from clipgres.settings import Settings
from tests.seed import FixedEncoders
from tests.web import Site, site

TSV = "a dog\thttps://pictures.example/dog.png\na cat\thttps://pictures.example/cat.png\nno address here\n"


@pytest.fixture
def web(settings: Settings, engine: Engine) -> Site:
    return site(settings, engine)


def jobs(web: Site) -> dict[str, str | None]:
    """The URLs that are to be fetched, with a caption of each."""
    statement = text("""
        SELECT im.url, min(c.text) AS caption
        FROM clipgres.job j
        JOIN clipgres.image im ON im.id = j.image_id
        LEFT JOIN clipgres.caption c USING (image_id)
        GROUP BY im.url
    """)
    with transaction(web.engine) as connection:
        return {row.url: row.caption for row in connection.execute(statement)}


def fail_all(web: Site) -> None:
    """Let every job end as a dead link."""
    with transaction(web.engine) as connection:
        connection.execute(text("UPDATE clipgres.job SET status = 'failed', reason = 'not_found'"))


def submit(web: Site, **fields: object) -> str:
    """Send the form and return the batch page that it leads to."""
    sent = web.client.post("/add", data={"csrf_token": web.csrf(), **fields})
    assert sent.status_code == 303
    return web.client.get(sent.headers["Location"]).text


def test_one_address_with_its_caption(web: Site) -> None:
    page = submit(web, url="https://pictures.example/dog.png", caption="a dog")
    assert jobs(web) == {"https://pictures.example/dog.png": "a dog"}
    assert "1 new address" in page


def test_pasted_lines_with_and_without_captions(web: Site) -> None:
    page = submit(web, lines="a dog\thttps://pictures.example/dog.png\r\nhttps://pictures.example/cat.png\r\nnonsense")
    assert jobs(web) == {"https://pictures.example/dog.png": "a dog", "https://pictures.example/cat.png": None}
    assert "1 line refused" in page and "nonsense" in page


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd.compress])
def test_a_file(web: Site, pack: type[bytes]) -> None:
    page = submit(web, list=(io.BytesIO(pack(TSV.encode())), "pictures.tsv"))
    assert set(jobs(web).values()) == {"a dog", "a cat"}
    assert "pictures.tsv" in page


def test_refused_lines_can_be_downloaded(web: Site) -> None:
    page = submit(web, lines="=cmd|' /C calc'!A0\n<script>alert(1)</script>\n")
    assert 'href="/batches/1/refused.tsv"' in page
    sent = web.client.get("/batches/1/refused.tsv")
    assert (sent.mimetype, sent.headers["X-Content-Type-Options"]) == ("text/tab-separated-values", "nosniff")
    assert sent.headers["Content-Disposition"] == "attachment; filename=batch-1-refused.tsv"
    assert sent.text.splitlines() == [
        "line\treason\tbegins_with",
        "1\tno http or https URL\t'=cmd|' /C calc'!A0",
        "2\tno http or https URL\t<script>alert(1)</script>",
    ]
    assert web.client.get("/batches/2/refused.tsv").status_code == 404


def test_a_file_that_is_larger_than_what_the_form_may_hold_in_memory(web: Site) -> None:
    lines = "".join(f"picture {number}\thttps://pictures.example/{number:060}.png\n" for number in range(30_000))
    page = submit(web, list=(io.BytesIO(lines.encode()), "many.tsv"))
    assert "30,000 new addresses" in page


def test_an_empty_form_says_what_to_give(web: Site) -> None:
    sent = web.client.post("/add", data={"csrf_token": web.csrf()})
    assert sent.status_code == 400
    assert "Give an address, lines, or a file" in sent.text


def test_a_form_that_does_not_fit_stays_filled_in(web: Site) -> None:
    fields = {"url": "https://pictures.example/a.png", "caption": "mine", "collection": "No Such Name"}
    sent = web.client.post("/add", data={"csrf_token": web.csrf(), **fields})
    assert sent.status_code == 400
    assert 'value="mine"' in sent.text and "a collection" in sent.text.lower()


def test_the_batch_page_says_why_pictures_failed_and_tries_again(web: Site) -> None:
    submit(web, lines=TSV)
    fail_all(web)
    page = web.client.get("/batches/1").text
    assert "The host says it is not there (404)." in page and "Done." in page
    token = web.csrf("/batches/1")
    assert web.client.post("/batches/1/retry", data={"csrf_token": token}).status_code == 303
    assert "Waiting for a worker" in web.client.get("/batches/1").text


def test_a_running_batch_is_refreshed_with_and_without_scripts(web: Site) -> None:
    page = submit(web, lines=TSV)
    assert '<noscript><meta http-equiv="refresh"' in page and "batch.js" in page
    fail_all(web)
    assert "refresh" not in web.client.get("/batches/1").text


def test_the_batches_are_listed(web: Site) -> None:
    submit(web, lines=TSV)
    page = web.client.get("/batches").text
    assert 'href="/batches/1"' in page and "pasted lines" in page


def test_without_batches_the_list_says_what_to_do(web: Site) -> None:
    assert "Nothing was added yet" in web.client.get("/batches").text


def test_the_api_takes_a_json_list(web: Site) -> None:
    rows = [
        {"url": "https://pictures.example/dog.png", "caption": "a dog", "key": "dog"},
        "https://pictures.example/cat.png",
    ]
    sent = web.client.post("/api/images", json=rows)
    assert sent.status_code == 202
    assert sent.json == {"batch": 1, "accepted": 2, "merged": 0, "refused": []}
    assert web.client.post("/api/images", json=rows).json == {"batch": 2, "accepted": 0, "merged": 2, "refused": []}


def test_the_api_names_the_lines_it_refuses(web: Site) -> None:
    answer = web.client.post("/api/images", data=TSV, content_type="text/tab-separated-values").json
    assert answer and answer["accepted"] == 2
    [refused] = answer["refused"]
    assert refused["line"] == 3 and refused["reason"] and refused["excerpt"] == "no address here"


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("url,caption\nhttps://pictures.example/dog.png,a dog\n", "text/csv"),
        ('{"url": "https://pictures.example/dog.png", "caption": "a dog"}\n', "application/jsonl"),
        (gzip.compress(b"a dog\thttps://pictures.example/dog.png\n"), "application/gzip"),
    ],
)
def test_the_api_reads_lists_as_they_come(web: Site, body: str | bytes, content_type: str) -> None:
    answer = web.client.post("/api/images?collection=animals", data=body, content_type=content_type)
    assert answer.json and answer.json["accepted"] == 1
    assert jobs(web) == {"https://pictures.example/dog.png": "a dog"}


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        ("hello", "text/plain", 415),
        ("a=b", "application/x-www-form-urlencoded", 415),
        ("{}", "application/json", 400),
        ("[3]", "application/json", 400),
        ("[", "application/json", 400),
        (b"PK\x03\x04", "text/csv", 400),
    ],
)
def test_the_api_refuses_what_is_no_list(web: Site, body: str | bytes, content_type: str, status: int) -> None:
    answer = web.client.post("/api/images", data=body, content_type=content_type)
    assert (answer.status_code, answer.mimetype) == (status, "application/problem+json")


def test_a_json_list_is_not_read_beyond_the_limit_of_an_upload(settings: Settings, engine: Engine) -> None:
    web = site(settings.model_copy(update={"upload_max_bytes": 1_000}), engine)
    assert web.client.post("/api/images", json=["https://pictures.example/dog.png"] * 10_000).status_code == 413


def test_the_api_says_how_far_a_batch_is(web: Site) -> None:
    web.client.post("/api/images", json=["https://pictures.example/dog.png"])
    fail_all(web)
    batch = web.client.get("/api/batches/1").json
    assert batch
    assert (batch["total"], batch["failed"], batch["left"], batch["is_done"]) == (1, 1, 0, True)
    assert batch["failed_by_reason"] == {"not_found": 1}
    assert batch["started_at"].startswith("20") and "T" in batch["started_at"]
    assert web.client.get("/api/batches").json == {"batches": [batch]}
    assert web.client.post("/api/batches/1/retry").json == {"retried": 1}


@pytest.mark.parametrize("path", ["/api/batches/99", "/api/batches/-1", "/api/batches/x", f"/api/batches/{2**63}"])
def test_a_batch_that_is_not_there(web: Site, path: str) -> None:
    answer = web.client.get(path)
    assert (answer.status_code, answer.mimetype) == (404, "application/problem+json")


def test_no_batch_is_retried_that_is_not_there(web: Site) -> None:
    assert web.client.post("/api/batches/99/retry").status_code == 404


def test_only_a_new_collection_needs_the_model(web: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    web.add("red")

    def gone(_self: FixedEncoders) -> Space:
        raise ModelError("there is no model here")

    monkeypatch.setattr(FixedEncoders, "default_space", gone)
    assert web.client.post("/api/images", json=["https://pictures.example/dog.png"]).status_code == 202
    answer = web.client.post("/api/images?collection=new", json=["https://pictures.example/dog.png"])
    assert (answer.status_code, answer.json and answer.json["detail"]) == (503, "there is no model here")


def test_a_bodys_captions_are_kept_as_they_are(web: Site) -> None:
    row = {"url": "https://pictures.example/a.png", "caption": "<b>é 🐕</b>"}
    web.client.post("/api/images", data=json.dumps([row]), content_type="application/json")
    assert jobs(web) == {"https://pictures.example/a.png": "<b>é 🐕</b>"}
