"""One table of bad input through every door: API, page, command line and Python say what is wrong with it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from html import unescape
from typing import Any

import pytest
from sqlalchemy import Engine, text

from clipgres.client import Client
from clipgres.database import transaction
from clipgres.errors import UserError
from clipgres.fetching import Fetcher
from clipgres.search import Searcher
from clipgres.settings import Settings
from tests.decoding import shared_decoders
from tests.integration.test_cli_search import Terminal
from tests.seed import FixedEncoders
from tests.web import Site, captions, site

Fields = dict[str, Any]
Said = Callable[[Fields], str]

# What the page and the command line call the fields.
PAGE_NAMES = {"text": "q", "not_text": "not", "top_k": "k", "filter": "where", "keywords": "words", "cursor": "after"}
OPTIONS = {"not_text": "--not", "filter": "--where", "top_k": "-k"}

COUNT_SQL = text("""
    SELECT (SELECT count(*) FROM clipgres.image), (SELECT count(*) FROM clipgres.caption),
           (SELECT count(*) FROM clipgres.alias), (SELECT count(*) FROM clipgres.saved_search),
           (SELECT count(*) FROM pg_tables)
""")


@pytest.fixture
def web(settings: Settings, engine: Engine) -> Site:
    built = site(settings, engine)
    for colour in ("red", "green", "blue"):
        built.add(colour, key=colour)
    return built


@pytest.fixture
def doors(web: Site, settings: Settings, engine: Engine) -> Iterator[dict[str, Said]]:
    """The ways in; each returns what it says of a request that is refused."""
    terminal = Terminal(settings, web.encoder)
    with Fetcher(settings) as fetcher:
        client = Client(Searcher(engine, FixedEncoders(web.encoder), fetcher, shared_decoders(), settings), engine)
        yield {
            "api": lambda fields: api(web, fields),
            "page": lambda fields: page(web, fields),
            "cli": lambda fields: cli(terminal, fields),
            "python": lambda fields: python(client, fields),
        }


def api(web: Site, fields: Fields) -> str:
    answer = web.client.post("/api/search", data=json.dumps(fields), content_type="application/json")
    assert 400 <= answer.status_code < 500 and answer.mimetype == "application/problem+json"
    problem: Any = answer.json
    return str(problem["detail"])


def page(web: Site, fields: Fields) -> str:
    answer = web.client.get("/", query_string=_query(fields), follow_redirects=True)
    assert 400 <= answer.status_code < 500
    alert = re.search(r'role="alert"><p>(.*?)</p>', answer.text, re.DOTALL)
    assert alert
    return unescape(alert[1])


def cli(terminal: Terminal, fields: Fields) -> str:
    done = terminal.run("search", *_arguments(fields))
    assert (done.exit_code in (1, 2), done.stdout) == (True, "")
    assert done.exit_code == 2 or done.stderr.count("\n") == 1
    return done.stderr


def python(client: Client, fields: Fields) -> str:
    with pytest.raises(UserError) as refused:
        client.search(**fields)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def _query(fields: Fields) -> Fields:
    return {
        PAGE_NAMES.get(name, name): json.dumps(value) if name == "filter" else value for name, value in fields.items()
    }


def _arguments(fields: Fields) -> list[str]:
    arguments = []
    for name, value in fields.items():
        for each in value if isinstance(value, list) else [value]:
            written = json.dumps(each) if name == "filter" else str(each)
            arguments += [OPTIONS.get(name, f"--{name}"), written] if name != "text" else []
    return [*arguments, "--", fields["text"]] if "text" in fields else arguments


def deep(levels: int) -> Fields:
    conditions: Fields = {"width": 1}
    for _ in range(levels):
        conditions = {"$not": conditions}
    return conditions


ALL = ("api", "page", "cli", "python")
PROGRAMS = ("api", "python")
NUL, HALF = "a\0b", "a\ud800b"

# What is asked for, through which doors, and what each of them must say.
BAD: dict[str, tuple[Fields, tuple[str, ...], str]] = {
    "nothing": ({}, PROGRAMS, "say what to search for"),
    "an empty text": ({"text": "   "}, PROGRAMS, "say what to search for"),
    "only what to leave out": ({"not_text": "a dog"}, ALL, "something to look for|say what to search for"),
    "only a filter": ({"filter": {"width": 1}}, ALL, "say what to search for"),
    "a text of another type": ({"text": ["x"]}, PROGRAMS, "text: "),
    "a list of another type": ({"like": 5}, PROGRAMS, "like: "),
    "a filter of another type": ({"text": "x", "filter": [1]}, PROGRAMS, "filter: "),
    "a filter that is a number": ({"text": "x", "filter": 3}, ("api", "page", "cli"), "filter: "),
    "a filter of 10,000 terms": (
        {"text": "x", "filter": {"$or": [{"width": n} for n in range(10_000)]}}, ALL, "filter: more than",
    ),
    "a filter of 90 levels": ({"text": "x", "filter": deep(90)}, ALL, "filter: more than"),
    "a filter of 500 levels": ({"text": "x", "filter": deep(500)}, ALL, "levels"),
    "an operator that is not there": ({"text": "x", "filter": {"width": {"$gtee": 1}}}, ALL, "filter.*did you mean"),
    "NUL in a filter": ({"text": "x", "filter": {"host": NUL}}, ALL, "filter.*NUL"),
    "NUL in a filter's name": ({"text": "x", "filter": {NUL: 1}}, ALL, "filter.*NUL"),
    "half a surrogate pair in a filter": ({"text": "x", "filter": {"host": HALF}}, ALL, "filter.*surrogate"),
    "NUL in the text": ({"text": NUL}, ALL, "text.*NUL"),
    "half a surrogate pair in the text": ({"text": HALF}, ("api", "cli", "python"), "text.*surrogate"),
    "NUL in a key": ({"like": [NUL]}, ALL, "like.*NUL"),
    "NUL in what to leave out": ({"text": "x", "not_text": NUL}, ALL, "(not_text|without).*NUL"),
    "NUL in keywords": ({"text": "x", "keywords": NUL}, ALL, "(keywords|caption words).*NUL"),
    "NUL in a namespace": ({"text": "x", "namespace": NUL}, ALL, "namespace.*NUL"),
    "NUL in a collection": ({"text": "x", "collection": NUL}, ALL, "collection.*NUL"),
    "top_k of 0": ({"text": "x", "top_k": 0}, ALL, "top.k|\\(k\\)"),
    "top_k of a million": ({"text": "x", "top_k": 1_000_000}, ALL, "top.k|\\(k\\)"),
    "top_k that is no number": ({"text": "x", "top_k": "many"}, ALL, "top.k|\\(k\\)"),
    "a vector with NaN": ({"vector": [float("nan")] * 512}, PROGRAMS, "NaN|finite"),
    "a vector with infinity": ({"vector": [float("inf")] * 512}, PROGRAMS, "Infinity|finite"),
    "a vector of another dimension": ({"vector": [1.0, 2.0]}, PROGRAMS, "vector: .*512"),
    "a vector of zeros": ({"vector": [0.0] * 512}, PROGRAMS, "vector|cancel"),
    "a collection that is not there": ({"text": "x", "collection": "nowhere"}, ALL, 'no collection "nowhere"'),
    "an item that is not there": ({"like": ["nothing"]}, ALL, 'no item "nothing"'),
    "an item to get away from that is not there": ({"text": "x", "unlike": ["nothing"]}, ALL, 'no item "nothing"'),
    "an item on both sides": ({"like": ["red"], "unlike": ["red"]}, ALL, "(unlike|less like this): "),
    "a criterion that is not there": ({"text": "x", "criterion": "smell"}, PROGRAMS, "criterion: "),
    "a weight that is not there": ({"text": "x", "weights": {"texts": 2}}, PROGRAMS, "weights.*did you mean text"),
    "a weight of another type": ({"text": "x", "weights": {"text": "much"}}, PROGRAMS, "weights.text: "),
    "a negative weight": ({"text": "x", "weights": {"text": -1}}, PROGRAMS, "weights.text: "),
    "a similarity beyond one": ({"text": "x", "min_score": 2}, PROGRAMS, "min_score: "),
    "a percentile beyond a hundred": ({"text": "x", "min_percentile": 101}, PROGRAMS, "min_percentile: "),
    "a cursor of another's making": ({"cursor": "WzFd.abc"}, ("api", "page", "cli"), "search again"),
    "an address of another kind": ({"image_url": "file:///etc/passwd"}, PROGRAMS, "image_url"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_each_door_says_what_is_wrong(doors: dict[str, Said], name: str) -> None:
    fields, through, said = BAD[name]
    for door in through:
        words = doors[door](fields)
        assert re.search(said, words, re.IGNORECASE), (door, words)
        assert len(words) < 500, door


@pytest.mark.parametrize(
    "body",
    ["", "{", "[]", "null", "3", '"x"', "[" * 100_000, '{"text": NaN}', b"\xff\xfe", '{"text": "x",}', "{" * 5_000],
)
def test_malformed_json_is_refused(web: Site, doors: dict[str, Said], body: str | bytes) -> None:
    answer = web.client.post("/api/search", data=body, content_type="application/json")
    assert (answer.status_code, answer.mimetype) == (400, "application/problem+json")
    if isinstance(body, str) and body.startswith("{"):
        shown = web.client.get("/", query_string={"q": "x", "where": body})
        assert shown.status_code == 400 and "JSON" in shown.text


def test_an_unknown_field_is_named_with_the_nearest(web: Site) -> None:
    answer: Any = web.client.post("/api/search", json={"text": "x", "tpo_k": 3}).json
    assert (answer["field"], "did you mean top_k?" in answer["detail"]) == ("tpo_k", True)


def test_a_text_of_100_kilobytes_is_answered_and_what_was_cut_is_said(
    web: Site, settings: Settings, engine: Engine
) -> None:
    long = "green " * 17_000
    answer: Any = web.client.post("/api/search", json={"text": long}).json
    assert answer["plan"]["text_was_cut"] and answer["hits"][0]["key"] == "green"
    shown = web.client.get("/", query_string={"q": long.strip()}).text
    assert captions(shown)[0] == "a green field" and "its end did not count" in shown
    done = Terminal(settings, web.encoder).run("search", long)
    assert done.exit_code == 0 and "its end did not count" in done.stderr
    with Fetcher(settings) as fetcher:
        searcher = Searcher(engine, FixedEncoders(web.encoder), fetcher, shared_decoders(), settings)
        hits = Client(searcher, engine).search(long)
    assert hits.plan.text_was_cut and hits[0].key == "green"


SQL = [
    "'; DROP TABLE clipgres.image; --",
    "%s %(x)s :x $1 {items} {{7*7}}",
    '" OR ""="',
    "\\'; --",
    "*/ x /*",
    "%%' || 'x",
]


@pytest.mark.parametrize("words", SQL)
def test_sql_in_any_field_changes_nothing(web: Site, settings: Settings, engine: Engine, words: str) -> None:
    def counted() -> tuple[int, ...]:
        with transaction(engine) as connection:
            return tuple(connection.execute(COUNT_SQL).one())

    before = counted()
    conditions: list[Fields] = [
        {words: words}, {"host": words}, {"caption": {"$match": words}}, {"caption": {"$contains": words}},
        {"x": {"$in": [words]}}, {"x": {"$gt": words}}, {words: {"$exists": True}}, {"$not": {"key": words}},
    ]  # fmt: skip
    asked: list[Fields] = [
        {"text": words}, {"text": "red", "not_text": words}, {"like": [words]}, {"text": "red", "unlike": [words]},
        {"text": "red", "keywords": words}, {"text": "red", "namespace": words}, {"text": "red", "collection": words},
        {"cursor": words}, {"image_url": words}, *({"text": "red", "filter": condition} for condition in conditions),
    ]  # fmt: skip
    terminal = Terminal(settings, web.encoder)
    for fields in asked:
        answers = [
            web.client.post("/api/search", json=fields),
            web.client.get("/", query_string=_query(fields), follow_redirects=True),
        ]
        assert all(answer.status_code < 500 for answer in answers), fields
        if "image_url" not in fields:
            assert terminal.run("search", *_arguments(fields)).exit_code in (0, 1), fields
    for method in ("get", "put", "delete"):
        assert getattr(web.client, method)(f"/api/searches/{words}", json={"text": words}).status_code < 500
    assert counted() == before
