"""The commands, run in this process on a real database and queue; the model is small and only named."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine, text

from clipgres.cli import main
from clipgres.cli.tools import Tools
from clipgres.database import transaction
from clipgres.migrations import downgrade, head_revision
from clipgres.presence import WorkerInfo, announce
from clipgres.redis_client import connect_redis
from clipgres.settings import Settings
from tests.models import write_small_clip


class Terminal:
    """Types commands."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def run(self, *arguments: str, input: str | None = None) -> Result:
        """Run one command to its end."""
        return CliRunner().invoke(main, list(arguments), input=input, obj=Tools(self._settings), terminal_width=200)

    def out(self, *arguments: str) -> str:
        """Run one that must succeed, and return what it printed as its result."""
        done = self.run(*arguments)
        assert done.exit_code == 0, done.output
        return done.stdout


@pytest.fixture
def terminal(settings: Settings, tmp_path: Path) -> Terminal:
    """A terminal whose settings name a small model."""
    write_small_clip(tmp_path / "small")
    return Terminal(settings.model_copy(update={"model": str(tmp_path / "small")}))


@pytest.fixture
def listed(tmp_path: Path) -> str:
    """A list of three pictures, one of them twice, and two bad lines."""
    path = tmp_path / "list.tsv"
    lines = [
        "a dog\thttp://a.example/1.jpg",
        "the same dog\thttp://A.example:80/1.jpg",
        "a cat\thttp://a.example/2.jpg",
    ]
    path.write_text("\n".join([*lines, "no address here", "bad\thttp://me:secret@a.example/3.jpg"]) + "\n")
    return str(path)


def test_a_new_database_says_what_to_do_next(terminal: Terminal) -> None:
    assert "`clipgres add list.tsv --wait` adds some" in terminal.out("status")
    assert "`clipgres add FILE` makes one" in terminal.out("collections", "list")
    assert terminal.out("failures") == "Nothing failed.\n"


def test_add_counts_what_was_accepted_merged_and_refused(terminal: Terminal, listed: str) -> None:
    done = terminal.run("add", listed)
    assert "Batch 1: 2 accepted, 1 merged, 2 refused." in done.stdout
    assert "Line 4 refused" in done.stderr
    assert "Line 5 refused" in done.stderr


def test_add_prints_one_json_document(terminal: Terminal, listed: str) -> None:
    added = json.loads(terminal.out("add", listed, "--json"))
    assert {name: added[name] for name in ("lines", "accepted", "merged", "refused")} == {
        "lines": 5,
        "accepted": 2,
        "merged": 1,
        "refused": 2,
    }


def test_refused_lines_can_be_asked_for_later(terminal: Terminal, listed: str) -> None:
    terminal.out("add", listed)
    assert [line["line"] for line in json.loads(terminal.out("status", "1", "--refused", "--json"))] == [4, 5]


def test_a_caption_goes_with_a_url_alone(terminal: Terminal, listed: str) -> None:
    assert terminal.run("add", listed, "--caption", "a dog").exit_code == 2


def test_status_shows_a_batch(terminal: Terminal, listed: str) -> None:
    terminal.out("add", listed)
    shown = json.loads(terminal.out("status", "1", "--json"))
    assert (shown["total"], shown["pending"], shown["is_done"]) == (2, 2, False)
    assert "2 accepted, 1 merged, 2 refused" in terminal.out("status", "1")


def test_status_without_redis_still_shows_the_batches(terminal: Terminal, settings: Settings, listed: str) -> None:
    terminal.out("add", listed)
    away = settings.model_copy(update={"redis_url": type(settings.redis_url)("redis://127.0.0.1:1")})
    assert "The queue does not answer" in Terminal(away).out("status")


def test_status_shows_what_troubles_a_worker(terminal: Terminal, settings: Settings, redis_url: str) -> None:
    worker = WorkerInfo(name="w@host", slots=1, pid=1, since=datetime.now(UTC), model=None, trouble="no model here")
    with connect_redis(redis_url) as redis:
        announce(redis, worker)
    assert "1 worker alive.\nw@host: no model here" in terminal.out("status")
    assert "w@host: no model here" in terminal.run("doctor").stdout


def test_the_life_of_a_collection(terminal: Terminal) -> None:
    assert "Made pets: small at" in terminal.out("collections", "create", "pets")
    terminal.out("collections", "alias", "animals", "pets")
    names = [one["name"] for one in json.loads(terminal.out("collections", "list", "--json"))]
    assert names == ["animals", "pets"]
    assert "exact search" in terminal.out("collections", "stats", "pets")
    assert terminal.run("collections", "delete", "pets", input="n\n").exit_code == 1
    assert terminal.out("collections", "delete", "pets", "--yes") == "Deleted animals, pets.\n"
    assert json.loads(terminal.out("collections", "list", "--json")) == []


def test_a_collections_last_name_cannot_be_moved_away(terminal: Terminal) -> None:
    terminal.out("collections", "create", "old")
    terminal.out("collections", "create", "new")
    refused = terminal.run("collections", "alias", "old", "new")
    assert (refused.exit_code, "clipgres collections alias old-old old" in refused.stderr) == (1, True)
    terminal.out("collections", "alias", "spare", "old")
    assert terminal.out("collections", "alias", "old", "new") == "old and new are the same collection now.\n"


def test_a_wrong_setting_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPGRES_FETCH_THREDS", "3")
    done = CliRunner().invoke(main, ["status"])
    assert (done.exit_code, done.stderr) == (
        1,
        "clipgres: unknown setting CLIPGRES_FETCH_THREDS; did you mean CLIPGRES_FETCH_THREADS?\n",
    )


def test_the_doctor_says_that_no_worker_is_alive(terminal: Terminal) -> None:
    done = terminal.run("doctor", "--json")
    broken = [finding["subject"] for finding in json.loads(done.stdout) if finding["health"] == "broken"]
    assert (done.exit_code, broken) == (1, ["workers"])


def test_the_doctor_names_a_table_of_no_collection(terminal: Terminal, engine: Engine) -> None:
    with transaction(engine) as connection:
        connection.execute(text("CREATE TABLE clipgres.item_999 ()"))
    assert "of no collection: item_999" in terminal.run("doctor").stdout


def test_print_url_is_an_address_that_opens(terminal: Terminal) -> None:
    with psycopg.connect(terminal.out("psql", "--print-url").strip()) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_migrating_says_where_the_database_is_and_can_be_done_again(terminal: Terminal, database_url: str) -> None:
    downgrade(database_url, "base")
    for _ in range(2):
        assert terminal.out("migrate") == f"The database is at revision {head_revision()}.\n"


def test_a_database_that_is_away_is_one_line(settings: Settings) -> None:
    away = settings.model_copy(update={"database_url": type(settings.database_url)("postgresql://me@127.0.0.1:1/db")})
    done = Terminal(away).run("status")
    assert done.exit_code == 1
    assert done.stderr.startswith("clipgres: the database cannot answer now")
    assert done.stderr.count("\n") == 1


def test_an_unfinished_search_text_is_explained(terminal: Terminal) -> None:
    done = terminal.run("search")
    assert done.exit_code == 2
    assert done.stderr.endswith(
        "Error: say what to search for: a TEXT, --image FILE|URL, --like KEY, or --saved NAME\n"
    )


def test_help_teaches(terminal: Terminal) -> None:
    for command in (
        "up",
        "add",
        "search",
        "searches",
        "collections",
        "doctor",
        "psql",
        "migrate",
        "status",
        "failures",
        "retry",
        "ignore",
    ):
        assert len(terminal.out(command, "--help").splitlines()) > 5
