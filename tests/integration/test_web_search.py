"""The search page and the search API over a real database."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

import pytest
from sqlalchemy import Engine

from clipgres.settings import Settings
from tests.web import Site, captions, picture, png, site, upload


@pytest.fixture
def web(settings: Settings, engine: Engine) -> Site:
    """Three pictures: red, green, blue."""
    built = site(settings, engine)
    for colour in ("red", "green", "blue"):
        built.add(colour, key=colour)
    return built


@pytest.fixture
def red_address() -> Iterator[str]:
    """A red picture on a web server of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "image/png")
            self.end_headers()
            self.wfile.write(png("red"))

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/red.png"
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_first_view_is_the_box_and_how_many_pictures_there_are(web: Site) -> None:
    page = web.client.get("/")
    assert page.status_code == 200
    assert "3 pictures" in page.text


def test_a_text_finds_its_picture_first(web: Site) -> None:
    page = web.client.get("/?q=green").text
    assert captions(page)[0] == "a green field"
    assert "Exact search over 3 pictures" in page


def test_the_form_keeps_what_was_asked(web: Site) -> None:
    page = web.client.get("/?q=green&k=2&min=1").text
    assert 'value="green"' in page and 'value="2"' in page


def test_at_most_k_pictures_are_shown(web: Site) -> None:
    assert len(captions(web.client.get("/?q=green&k=2").text)) == 2


def test_what_the_threshold_hides_is_counted_and_can_be_shown(web: Site) -> None:
    page = web.client.get("/?q=green&min=60").text
    assert captions(page) == ["a green field"]
    assert "2 pictures below 60 % are hidden" in page
    assert 'href="/?q=green"' in page


def test_more_like_this_leaves_the_picture_itself_out(web: Site) -> None:
    page = web.client.get("/?like=blue").text
    assert sorted(captions(page)) == ["a green field", "a red field"]
    assert "Pictures like this one" in page


def test_an_uploaded_picture_is_searched_and_shown(web: Site) -> None:
    form = {"image": upload("blue"), "csrf_token": web.csrf("/")}
    page = web.client.post("/", data=form)
    assert page.status_code == 200
    assert captions(page.text)[0] == "a blue field"
    assert "data:image/webp;base64," in page.text


def test_a_pictures_address_in_the_box_is_fetched_and_searched(web: Site, red_address: str) -> None:
    led = web.client.get("/", query_string={"q": red_address})
    assert (led.status_code, led.location) == (302, f"/?image_url={quote(red_address, safe=':/')}")
    page = web.client.get(led.location).text
    assert captions(page)[0] == "a red field"
    assert f'src="{red_address}"' in page


def test_collections_can_be_chosen_when_there_are_several(web: Site) -> None:
    web.add("white", name="other")
    page = web.client.get("/?q=white&collection=other").text
    assert captions(page) == ["a white field"]
    assert "<option selected>other</option>" in page


def test_a_lone_collection_with_another_name_is_the_one_that_is_searched(settings: Settings, engine: Engine) -> None:
    web = site(settings, engine)
    web.add("red", name="photos")
    page = web.client.get("/").text
    assert '<input type="hidden" name="collection" value="photos">' in page


WRONG = {
    "q=x&k=0": "(k)",
    "q=x&k=1000000000": "(k)",
    "q=x&min=abc": "(min)",
    "q=%00": "nul",
    "q=" + "a" * 1_000_000: "text",
    "q=x&collection=nowhere": "there is no collection",
    "like=nothing": "there is no item",
    "like=%00": "nul",
    "q=x&where=%7B": "json",
    "q=x&where=%7B%22place%22%3A%7B%22%24gt%22%3A%22%5Cu0000%22%7D%7D": "nul",
    "q=x&weights=text": "weights",
    "q=x&by=smell": "what to compare with",
    "host=a.org": "say what to search for",
    "not=a+dog": "say what to search for",
    "saved=nothing": "there is no saved search",
    "saved=A+B": "of a-z, 0-9",
    "vector_of=nothing": "there is no saved search",
    "after=nonsense": "search again",
    "image_url=ftp://example.org/a.png": "only http and https",
    "image_url=http://10.0.0.1/a.png": "private",
}


def test_a_wrong_question_is_answered_above_the_box(web: Site) -> None:
    for query, word in WRONG.items():
        page = web.client.get(f"/?{query}")
        assert 400 <= page.status_code < 500, query[:100]
        assert 'role="alert"' in page.text and word in page.text.lower(), query[:100]


def test_a_file_that_is_no_picture_is_refused(web: Site) -> None:
    form = {"image": (io.BytesIO(b"<html>"), "a.png"), "csrf_token": web.csrf("/")}
    page = web.client.post("/", data=form)
    assert page.status_code == 400
    assert "not a picture of a known format" in page.text


def test_without_a_collection_the_page_says_how_to_add(settings: Settings, engine: Engine) -> None:
    page = site(settings, engine).client.get("/").text
    assert "There are no pictures yet" in page and "clipgres add" in page and "make demo" in page


def test_pictures_on_the_way_are_announced(settings: Settings, engine: Engine) -> None:
    web = site(settings, engine)
    web.client.post("/api/images", json=["https://pictures.example/late.png"])
    page = web.client.get("/").text
    assert "still being fetched" in page and "/batches" in page


def test_the_demonstration_model_is_named(settings: Settings, engine: Engine) -> None:
    web = site(settings, engine)
    object.__setattr__(web.encoder.space, "model", "tiny-clip")
    web.add("red")
    assert "tiny-clip, which knows emoji scenes only" in web.client.get("/?q=red").text


def test_a_picture_without_a_thumbnail_is_shown_from_its_address(settings: Settings, engine: Engine) -> None:
    web = site(settings, engine)
    web.add("red", keep_thumbnail=False)
    assert 'src="https://pictures.example/default/red.png"' in web.client.get("/?q=red").text


def test_the_api_answers_in_the_shape_of_the_contract(web: Site) -> None:
    answer = web.client.post("/api/search", json={"text": "green", "top_k": 1}).json
    assert answer and set(answer) == {"hits", "plan", "hidden", "next"}
    [hit] = answer["hits"]
    assert set(hit) == {
        "key", "score", "percentile", "url", "caption", "captions", "width", "height", "host", "metadata", "thumbnail",
        "page", "alive", "duplicates",
    }  # fmt: skip
    assert (hit["key"], hit["caption"], hit["width"]) == ("green", "a green field", 64)
    assert 0.9 < hit["score"] <= 1.001
    assert {"method", "index", "asked", "found", "matched", "ef_search", "capped", "took_ms"} <= set(answer["plan"])
    assert web.client.get(hit["thumbnail"]).status_code == 200
    assert web.client.get(hit["page"]).status_code == 200


def test_the_api_takes_a_picture(web: Site) -> None:
    answer = web.client.post("/api/search", data={"image": upload("red"), "top_k": "2"}).json
    assert answer and answer["hits"][0]["key"] == "red"


def test_the_api_takes_an_item(web: Site) -> None:
    answer = web.client.post("/api/search", json={"like": ["red"]}).json
    assert answer and {hit["key"] for hit in answer["hits"]} == {"green", "blue"}


def test_the_api_takes_an_address(web: Site, red_address: str) -> None:
    answer = web.client.post("/api/search", json={"image_url": red_address}).json
    assert answer and answer["hits"][0]["key"] == "red"


MISFITS: list[tuple[dict[str, object], int, str | None]] = [
    ({}, 400, None),
    ({"text": "  "}, 400, None),
    ({"text": "x", "top_k": 0}, 400, "top_k"),
    ({"text": "x", "min_score": "abc"}, 400, "min_score"),
    ({"text": "x", "collection": "nowhere"}, 404, None),
    ({"text": "x", "collection": "\0"}, 400, None),
    ({"text": "\0"}, 400, None),
    ({"like": ["\0"]}, 400, None),
    ({"text": "x", "filter": {"width": {"$near": 1}}}, 400, "filter"),
    ({"text": "x", "namespace": "\0"}, 400, None),
]


def test_the_api_names_what_does_not_fit(web: Site) -> None:
    for body, status, field in MISFITS:
        answer = web.client.post("/api/search", json=body)
        assert (answer.status_code, answer.mimetype) == (status, "application/problem+json"), body
        assert answer.json and answer.json["status"] == status
        assert field is None or answer.json["field"] == field, body


def test_an_upload_beyond_the_limit_is_refused(settings: Settings, engine: Engine) -> None:
    web = site(settings.model_copy(update={"upload_max_bytes": 1_000}), engine)
    answer = web.client.post("/api/search", data={"image": (io.BytesIO(b"x" * 200_000), "a.png")})
    assert (answer.status_code, answer.mimetype) == (413, "application/problem+json")


def test_a_form_of_a_hundred_thousand_parts_is_refused(web: Site) -> None:
    part = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
    answer = web.client.post(
        "/api/search", data=part * 100_000 + b"--x--", content_type="multipart/form-data; boundary=x"
    )
    assert answer.status_code == 413


def test_the_query_picture_of_a_photograph_is_small(web: Site) -> None:
    stream = io.BytesIO()
    picture("red").resize((3_000, 2_000)).save(stream, "JPEG")
    form = {"image": (io.BytesIO(stream.getvalue()), "big.jpg"), "csrf_token": web.csrf("/")}
    assert len(web.client.post("/", data=form).text) < 60_000
