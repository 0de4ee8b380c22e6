"""Duplicates through every door: the commands, the page, HTTP, Python and SQL."""

from __future__ import annotations

import json
import re
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine, text

from clipgres.cli import main
from clipgres.cli.tools import Tools
from clipgres.client import Client
from clipgres.collections import find
from clipgres.database import transaction
from clipgres.duplicates import find_duplicates
from clipgres.errors import BadRequest
from clipgres.servers.postgres import SUPERUSER, embedded_database_url
from clipgres.settings import Settings
from clipgres.text_vectors import TextVectors
from tests.seed import FixedEncoders
from tests.web import HTML, Site, site
from worker.duplicates import group_duplicates

PAGE = (Path(__file__).parents[2] / "docs" / "duplicates.md").read_text(encoding="utf-8")
FILE = "f" * 64


@pytest.fixture
def web(settings: Settings, engine: Engine) -> Site:
    """A site with two files, one of three reds and one of a blue; their groups are not found yet."""
    made = site(settings, engine)
    for name in ("red", "crimson", "scarlet"):
        made.add("red", name, key=name, url=f"http://a.org/{name}")
    made.add("blue", key="blue")
    with transaction(engine) as connection:
        change = "UPDATE clipgres.image SET bytes = 1000, sha256 = decode(:file, 'hex'), phash = 0 WHERE host = 'a.org'"
        connection.execute(text(change), {"file": FILE})
        rest = "UPDATE clipgres.image SET sha256 = sha256('x'), phash = 1 WHERE host <> 'a.org'"
        connection.execute(text(rest))
    return made


def run(settings: Settings, web: Site, *arguments: str) -> Result:
    tools = Tools(settings)
    tools.encoders = FixedEncoders(web.encoder)
    return CliRunner().invoke(main, list(arguments), obj=tools, terminal_width=200)


def out(settings: Settings, web: Site, *arguments: str) -> str:
    done = run(settings, web, *arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_commands_tell_find_and_decide(settings: Settings, web: Site) -> None:
    assert "No duplicates are known" in out(settings, web, "duplicates", "list")
    found = run(settings, web, "duplicates", "find")
    assert re.search(r"bytes +1 +3\n", found.stdout)
    assert "Looked at 4 new pictures" in found.stderr
    assert json.loads(out(settings, web, "duplicates", "find", "--json"))["groups"] == {"bytes": 1, "near": 1}
    listed = out(settings, web, "duplicates", "list")
    assert listed.splitlines()[1].split()[:7] == ["bytes", "3", "1", "3.0", "kB", "red,", "crimson,"]
    [group] = json.loads(out(settings, web, "duplicates", "list", "--kind", "bytes", "--json"))
    assert [example["key"] for example in group["examples"]] == ["red", "crimson", "scarlet"]
    assert "kept apart" in out(settings, web, "duplicates", "split", "red", "scarlet")
    near = [
        json.loads(out(settings, web, "search", "red", "--fold", fold, "--json"))["hits"] for fold in ("near", "bytes")
    ]
    assert [{hit["key"]: hit["duplicates"] for hit in hits} for hits in near] == [
        {"red": 1, "scarlet": 0, "blue": 0},
        {"red": 2, "blue": 0},
    ]
    assert "in one group" in out(settings, web, "duplicates", "join", "red", "scarlet")
    shown = run(settings, web, "search", "red", "--fold", "near")
    assert shown.stdout.splitlines()[0].split()[:3] == ["match", "alike", "caption"]
    assert "; 2 duplicates folded" in shown.stderr
    assert "are one picture" in run(settings, web, "duplicates", "join", "red", "red").stderr


def test_the_commands_show_suspects_and_take_a_decision(settings: Settings, web: Site) -> None:
    assert "No file is given by 20 addresses" in out(settings, web, "duplicates", "placeholders")
    assert FILE in out(settings, web, "duplicates", "placeholders", "--urls", "3")
    done = run(settings, web, "duplicates", "placeholder", "crimson", "--note", "grey")
    assert done.stdout == "It is a placeholder: 3 pictures left the collections.\n"
    assert f"placeholder {FILE} --no" in done.stderr
    [one] = json.loads(out(settings, web, "duplicates", "placeholders", "--urls", "3", "--json"))
    assert (one["is_placeholder"], one["note"], one["largest_hosts"]) == (True, "grey", ["a.org"])
    assert json.loads(out(settings, web, "search", "red", "--json"))["plan"]["found"] == 1
    assert "3 addresses will be embedded again" in out(settings, web, "duplicates", "placeholder", "crimson", "--no")


def test_the_page_and_http_and_python_fold(settings: Settings, web: Site, engine: Engine) -> None:
    with transaction(engine) as connection:
        collection = find(connection, "default")
    find_duplicates(engine, collection)
    shown = web.client.get("/?q=red&fold=bytes", headers=HTML).text
    assert "+2 alike" in shown and "2 duplicates folded" in shown
    assert '<option value="bytes" selected>' in shown and "one of the same file" in shown
    assert "alike" not in web.client.get("/?q=red", headers=HTML).text.split('id="results"')[1]
    body = web.client.post("/api/search", json={"text": "red", "fold": "bytes"}).json
    assert body is not None
    assert [hit["duplicates"] for hit in body["hits"]] == [2, 0]
    assert body["plan"]["folded"] == 2
    hits = Client(web.app.extensions["clipgres"].searcher, engine).search("red", fold="near")
    assert [hit.duplicates for hit in hits] == [2, 0]


def test_another_value_is_refused_through_every_door(settings: Settings, web: Site, engine: Engine) -> None:
    message = "'none', 'url', 'bytes' or 'near'"
    page = web.client.get("/?q=red&fold=twins", headers=HTML)
    assert page.status_code == 400 and message in page.text.replace("&#39;", "'")
    answer = web.client.post("/api/search", json={"text": "red", "fold": "twins"})
    assert answer.status_code == 400
    assert answer.json == answer.json | {"field": "fold"} and message in answer.text
    with pytest.raises(BadRequest, match=re.escape(message)):
        Client(web.app.extensions["clipgres"].searcher, engine).search("red", fold="twins")
    done = run(settings, web, "search", "red", "--fold", "twins")
    assert done.exit_code == 2 and "'none', 'url', 'bytes', 'near'" in done.stderr


def test_a_worker_groups_what_is_new_once_all_is_in(web: Site, engine: Engine) -> None:
    count = text("SELECT count(*) FROM clipgres.duplicate")
    with transaction(engine) as connection:
        collection = find(connection, "default")
        connection.execute(text("UPDATE clipgres.job SET status = 'pending' WHERE key = 'blue'"))
    group_duplicates(engine, collection)
    with transaction(engine) as connection:
        assert connection.execute(count).scalar_one() == 0
        connection.execute(text("UPDATE clipgres.job SET status = 'ok'"))
    group_duplicates(engine, collection)
    with transaction(engine) as connection:
        assert connection.execute(count).scalar_one() == 6


def test_the_statements_of_the_page_run_for_a_reader(web: Site, engine: Engine, postgres: Settings) -> None:
    with transaction(engine) as connection:
        collection = find(connection, "default")
    find_duplicates(engine, collection)
    TextVectors(engine, FixedEncoders(web.encoder)).of("red", collection.space)
    url = embedded_database_url(postgres, role=SUPERUSER, database=str(engine.url.database))
    grouped, folded = re.findall(r"```sql\n(.*?);\n```", PAGE, re.DOTALL)
    with closing(psycopg.connect(url, autocommit=True)) as reader:
        reader.execute("SET SESSION ROLE clipgres_reader")
        assert [row[1:] for row in reader.execute(grouped)] == [(3, "crimson")]
        assert [row[0] for row in reader.execute(folded)] == ["red", "blue"]
