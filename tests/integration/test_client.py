"""Search from Python: what may be asked, and the hits as a sequence, a frame, a grid and a table."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import Engine

import clipgres
from clipgres.client import Client
from clipgres.decoding.pool import Decoders
from clipgres.errors import BadRequest, Conflict, NotFound, SetupError, Unavailable
from clipgres.fetching import Fetcher
from clipgres.hits import Hits
from clipgres.hits_plot import match
from clipgres.redis_client import connect_redis
from clipgres.request import SearchRequest
from clipgres.search import Searcher
from clipgres.settings import Settings
from tests.decoding import shared_decoders
from tests.fakes import FakeEncoder
from tests.seed import FixedEncoders, seed_collection, seed_picture

COLOURS = ("red", "green", "blue")
MARKUP = "<b>a $very$ red</b> picture"


def picture(colour: str) -> Image.Image:
    """A picture full of a colour."""
    return Image.new("RGB", (64, 48), colour)


@pytest.fixture
def encoder() -> FakeEncoder:
    """An encoder that counts its work."""
    return FakeEncoder(dimension=32)


@pytest.fixture
def client(engine: Engine, settings: Settings, encoder: FakeEncoder) -> Iterator[Client]:
    """A client of a collection of three colours; blue has no thumbnail."""
    collection = seed_collection(engine, encoder)
    for colour in COLOURS:
        caption = MARKUP if colour == "red" else f"a {colour} picture"
        url, kept = f"http://a.org/{colour}", colour != "blue"
        seed_picture(
            engine, collection, encoder, picture(colour), url=url, captions=[caption], key=colour, keep_thumbnail=kept
        )
    with Fetcher(settings) as fetcher:
        yield Client(Searcher(engine, FixedEncoders(encoder), fetcher, shared_decoders(), settings), engine)


@pytest.fixture
def paging(
    client: Client, engine: Engine, settings: Settings, encoder: FakeEncoder, redis_url: str
) -> Iterator[Client]:
    """The same with a Redis, which keeps further pages."""
    redis = connect_redis(redis_url)
    with (
        Fetcher(settings) as fetcher,
        Client(
            Searcher(engine, FixedEncoders(encoder), fetcher, Decoders(settings), settings, redis), engine
        ) as paging,
    ):
        yield paging


def keys(hits: Hits) -> list[str]:
    """What was found, in order."""
    return [hit.key for hit in hits]


def file_of(colour: str, kind: str) -> bytes:
    """A picture as a file."""
    stream = BytesIO()
    picture(colour).save(stream, kind)
    return stream.getvalue()


def test_a_text_finds_its_picture(client: Client) -> None:
    hits = client.search("green", top_k=2)
    assert (len(hits), hits[0].key, hits[-1], hits.hidden) == (2, "green", hits[1], 0)
    assert (hits.plan.method, hits.plan.asked) == ("exact", 2)
    assert keys(hits[1:]) == [hits[1].key]


def test_a_picture_is_given_as_path_bytes_or_image(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "blue.png"
    path.write_bytes(file_of("blue", "PNG"))
    for image in (path, str(path), file_of("blue", "WEBP"), picture("blue"), picture("blue").convert("P")):
        assert client.search(image=image)[0].key == "blue"


def test_like_leaves_the_items_themselves_out(client: Client) -> None:
    assert sorted(keys(client.search(like="red"))) == ["blue", "green"]
    assert keys(client.search(like=["red", "blue"])) == ["green"]


def test_filters_thresholds_and_modes_go_through(client: Client) -> None:
    assert keys(client.search("red", filter={"key": {"$ne": "red"}}, top_k=1)) != ["red"]
    assert client.search(image=picture("red"), min_score=0.99, mode="exact").hidden == 2


def test_a_mixed_query_is_all_fields_by_name(client: Client) -> None:
    hits = client.search(
        "green", image=picture("blue"), not_text="red", unlike="red", weights={"image": 3}, min_percentile=None
    )
    assert keys(hits) == ["blue", "green"]
    fused = client.search("green", criterion="both", keywords="picture")
    assert (fused.plan.criterion, "keywords" in fused.plan.fused) == ("both", True)


@pytest.mark.parametrize("kind", [list, tuple, np.asarray, lambda vector: np.asarray(vector, np.float16)])
def test_a_vector_is_a_list_or_an_array(client: Client, encoder: FakeEncoder, kind: Callable[[Any], Any]) -> None:
    [vector] = encoder.text(["green"])
    assert client.search(vector=kind(vector.tolist()))[0].key == "green"


def test_pages_follow_one_another(paging: Client) -> None:
    hits: Hits | None = paging.search("green", top_k=2)
    found = []
    while hits is not None:
        found += keys(hits)
        hits = paging.next_page(hits)
    assert sorted(found) == sorted(COLOURS)


def test_a_search_is_saved_and_asked_again(client: Client) -> None:
    client.save("greens", text="green", unlike="red", top_k=1)
    assert keys(client.saved("greens")) == ["green"]
    assert keys(client.saved("greens", top_k=5, text="blue")) == ["blue", "green"]
    with pytest.raises(Conflict, match="already"):
        client.save("greens", text="red")
    client.save("greens", replace=True, text="red")
    assert keys(client.saved("greens"))[0] == "red"
    with pytest.raises(NotFound, match='did you mean "greens"'):
        client.saved("green")


@pytest.mark.parametrize(
    ("fields", "error", "said"),
    [
        ({}, BadRequest, "say what to search for"),
        ({"text": "red", "filter": {"width": {"$gtee": 1}}}, BadRequest, "did you mean"),
        ({"text": "red", "collection": "pets"}, NotFound, 'no collection "pets"'),
        ({"image": "/nowhere/at/all.png"}, BadRequest, "No such file"),
        ({"like": "white"}, NotFound, 'no item "white"'),
        ({"vector": [[1, 2]]}, BadRequest, "vector: one row"),
        ({"vector": "red"}, BadRequest, "vector: it should be a list of numbers"),
        ({"vector": [1.0, 2.0]}, BadRequest, "vector"),
        ({"vector": [float("nan")] * 32}, BadRequest, "vector"),
        ({"like": 5}, BadRequest, "like: "),
        ({"text": "x", "filter": ["width"]}, BadRequest, "filter: "),
        ({"text": "x", "weights": {"texts": 2}}, BadRequest, "did you mean text"),
    ],
)
def test_what_is_wrong_is_said(client: Client, fields: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        client.search(**fields)


def test_a_refused_filter_runs_no_model(client: Client, encoder: FakeEncoder) -> None:
    with pytest.raises(BadRequest):
        client.search("never seen", filter={"width": "wide"})
    assert encoder.texts_seen == 0
    assert client.search("never seen").plan.found == 3
    assert encoder.texts_seen == 1


def test_hits_become_a_frame(client: Client) -> None:
    frame = client.search("red").to_frame()
    assert frame.key[0] == "red"
    assert {"score", "caption", "url", "width", "metadata"} <= set(frame.columns)
    assert list(client.search("red", filter={"key": "none"}).to_frame().columns) == list(frame.columns)


def test_hits_become_a_grid(client: Client) -> None:
    hits = client.search(image=picture("red"))
    figure = hits.plot(columns=2, title="red $things$")
    asked, *drawn = (axis for axis in figure.axes if axis.get_title())
    assert (asked.get_title(), bool(asked.images)) == ("query", True)
    assert [bool(axis.images) for axis in drawn] == [hit.has_thumbnail for hit in hits]
    assert drawn[0].get_title().startswith("100 %\n<b>a $very$ red</b>")
    stream = BytesIO()
    figure.savefig(stream)
    assert Image.open(stream).size > (100, 100)


@pytest.mark.parametrize(
    ("fields", "words", "has_picture"),
    [
        ({"text": "red $things$", "not_text": "blue"}, "red $things$\nnot blue", False),
        ({"image": file_of("red", "JPEG")}, "", True),
        ({"like": ("red",), "unlike": ("blue",)}, "like red\nnot blue", True),
        ({"like": ("blue",)}, "like blue", False),
        ({"like": ("gone",)}, "like gone", False),
    ],
)
def test_the_query_stands_beside_the_hits(
    client: Client, engine: Engine, fields: dict[str, Any], words: str, has_picture: bool
) -> None:
    answer = client.search("red").answer
    first, *others = Hits(answer, engine, SearchRequest(**fields)).plot(columns=2).axes
    title, *below = first.get_title().split("\n", 1)
    assert (title, bool(first.images)) == ("query", has_picture)
    assert [*below, *(part.get_text() for part in first.texts)] == ([words] if words else [])
    shown = [axis.get_title().split("\n")[0] for axis in others if axis.get_title()]
    assert shown == [f"{hit.percent} %" for hit in answer.hits]
    assert not Hits(answer, engine, SearchRequest(cursor="next")).plot().axes[0].get_title().startswith("query")


def test_a_further_page_shows_the_query_too(paging: Client) -> None:
    second = paging.next_page(paging.search("red", top_k=1))
    assert second is not None
    assert [part.get_text() for part in second.plot().axes[0].texts] == ["red"]


def test_a_percentile_is_said_where_there_is_one(client: Client, engine: Engine) -> None:
    answer = client.search("red").answer
    best = replace(answer.hits[0], percentile=99.87)
    hits = Hits(replace(answer, hits=[best, *answer.hits[1:]]), engine)
    assert [match(hit) for hit in hits] == [
        f"{best.percent} %, above 99.8 %",
        *(f"{hit.percent} %" for hit in hits[1:]),
    ]
    assert hits.plot().axes[0].get_title().startswith(match(best)) and match(best) in hits._repr_html_()
    assert hits.to_frame().percentile[0] == 99.87


def test_no_hits_are_a_grid_that_says_so(client: Client) -> None:
    assert client.search("red", filter={"key": "none"}).plot().get_suptitle() == "nothing found"


def test_in_a_notebook_hits_are_a_table_without_markup_of_others(client: Client) -> None:
    html = client.search("red")._repr_html_()
    assert html.count("data:image/webp;base64,") == 2
    assert "&lt;b&gt;a $very$ red&lt;/b&gt;" in html and "<b>" not in html


def test_connect_takes_settings_by_name() -> None:
    with pytest.raises(SetupError, match="DATABASE_URI: unknown; did you mean CLIPGRES_DATABASE_URL"):
        clipgres.connect(database_uri="postgresql://")
    with clipgres.connect(database_url="postgresql://nobody@127.0.0.1:1/nothing", model="tiny-clip") as client:
        with pytest.raises(Unavailable, match="cannot answer now"):
            client.search("red")


@pytest.mark.parametrize(("module", "show"), [("pandas", Hits.to_frame), ("matplotlib.pyplot", Hits.plot)])
def test_what_only_notebooks_need_is_missed_in_words(
    client: Client, monkeypatch: pytest.MonkeyPatch, module: str, show: Callable[[Hits], object]
) -> None:
    hits = client.search("red")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SetupError, match=r'is not installed; it comes with: pip install "clipgres\[notebook\]"'):
        show(hits)


def test_importing_clipgres_loads_next_to_nothing() -> None:
    heavy = {"torch", "pandas", "matplotlib", "sqlalchemy", "numpy"}
    code = "import sys, clipgres; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert heavy & set(done.stdout.split()) == set()
