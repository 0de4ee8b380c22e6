"""`clipgres add` with a list: its report, its dry run, and what it shows meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine

from clipgres.cli import main
from clipgres.cli.reading import Reading
from clipgres.cli.tools import Tools
from clipgres.lists import OpenedList, RefusedLine, open_list
from clipgres.settings import Settings
from tests.adding import add_urls, collection_named, query, set_job
from tests.listing import URL

BAD = "".join(f"dog {number}\thttp://a.example/{number}\n" if number % 2 else "bad\n" for number in range(60))


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A list of which every other line is bad."""
    path = tmp_path / "list.tsv"
    path.write_text(BAD)
    return path


@pytest.fixture
def offline(tmp_path: Path) -> Settings:
    """Settings whose database is not there."""
    return Settings(database_url="postgresql://me@127.0.0.1:1/none", home=tmp_path / "home")


def run(settings: Settings, *arguments: object) -> Result:
    return CliRunner().invoke(main, ["add", *map(str, arguments)], obj=Tools(settings))


def shared(*shares: float) -> OpenedList:
    """A list of which so much is read each time one asks."""
    return OpenedList("list", None, lambda _done: iter([]), iter(shares).__next__)


def clock_of(*seconds: float) -> Callable[[], float]:
    """A clock that shows these."""
    return iter(seconds).__next__


def numbers(path: Path) -> list[int]:
    return [int(row.split("\t")[0]) for row in path.read_text().splitlines()[1:]]


def test_every_refused_line_goes_to_the_report(
    settings: Settings, engine: Engine, listed: Path, tmp_path: Path
) -> None:
    collection_named(engine)

    done = run(settings, listed, "--refused", tmp_path / "r.tsv")

    assert "Batch 1: 30 accepted, 0 merged, 30 refused." in done.stdout
    assert done.stderr.count(" refused: no http or https URL: bad") == 20
    assert f"All refused lines are in {tmp_path / 'r.tsv'}" in done.stderr.replace("\n", "")
    assert numbers(tmp_path / "r.tsv") == list(range(1, 61, 2))


def test_without_a_report_the_way_to_the_kept_ones_is_said(settings: Settings, engine: Engine, listed: Path) -> None:
    collection_named(engine)

    assert "More refused lines: clipgres status 1 --refused" in run(settings, listed).stderr


def test_a_report_never_overwrites_the_list(offline: Settings, listed: Path) -> None:
    done = run(offline, listed, "--refused", listed)

    assert (done.exit_code, listed.read_text()) == (2, BAD)
    assert "--refused would overwrite the list itself" in done.stderr


def test_a_report_never_overwrites_the_list_that_is_the_standard_input(listed: Path) -> None:
    command = [sys.executable, "-m", "clipgres.cli", "add", "-", "--dry-run", "--refused", str(listed)]
    with listed.open("rb") as stdin:
        done = subprocess.run(command, stdin=stdin, capture_output=True, text=True, check=False)

    assert (done.returncode, listed.read_text()) == (2, BAD)
    assert "--refused would overwrite the list itself" in done.stderr


def test_a_dry_run_needs_no_database_and_writes_nothing_but_the_report(
    offline: Settings, listed: Path, tmp_path: Path
) -> None:
    done = run(offline, listed, "--dry-run", "--refused", tmp_path / "r.tsv")

    assert (done.exit_code, done.stdout) == (0, "30 rows would be taken, 30 refused. Nothing was written.\n")
    assert done.stderr.startswith("Line 1 refused: no http or https URL: bad\n")
    assert numbers(tmp_path / "r.tsv") == list(range(1, 61, 2))
    assert json.loads(run(offline, listed, "--dry-run", "--json").stdout) == {"lines": 60, "fit": 30, "refused": 30}
    assert run(offline, listed, "--dry-run", "--wait").exit_code == 2


def test_a_dry_run_leaves_no_trace_in_the_database(settings: Settings, engine: Engine, listed: Path) -> None:
    run(settings, listed, "--dry-run")

    assert query(engine, "SELECT (SELECT count(*) FROM clipgres.batch), (SELECT count(*) FROM clipgres.alias)") == [
        (0, 0)
    ]


def test_nobody_waits_for_hosts_that_are_left_alone_for_long(
    settings: Settings, engine: Engine, tmp_path: Path
) -> None:
    add_urls(engine, collection_named(engine), "a/1", "a/2", "a/3")
    set_job(engine, "a/1", status="ok")
    query(engine, "UPDATE clipgres.job SET next_attempt_at = now() + interval '16 min' WHERE status = 'pending'")
    path = tmp_path / "list.tsv"
    path.write_text("".join(f"dog\thttp://a/{number}\n" for number in (1, 2, 3)))

    done = run(settings, path, "--wait")

    said = " ".join(done.stderr.split())
    assert done.exit_code == 1
    assert "2 pictures of batch 2 wait for hosts that fail or asked for time, due in 1" in said
    assert "so far 1 searchable, 0 failed" in said
    assert "`clipgres status 2`" in said


def test_the_encoding_of_a_list_can_be_named(settings: Settings, engine: Engine, tmp_path: Path) -> None:
    collection_named(engine)
    path = tmp_path / "list.tsv"
    path.write_bytes(f"caf\xe9\t{URL}\n".encode("latin-1"))

    assert "give --encoding latin-1" in run(settings, path, "--dry-run").stderr
    assert "1 accepted" in run(settings, path, "--encoding", "latin-1").stdout
    assert query(engine, "SELECT text FROM clipgres.caption") == ["caf\xe9"]


def test_a_resumed_list_says_where_it_goes_on(settings: Settings, engine: Engine, listed: Path) -> None:
    collection = collection_named(engine)
    opened = open_list(listed, caption_max_chars=settings.caption_max_chars)
    query(
        engine,
        "INSERT INTO clipgres.batch (collection_id, source, fingerprint, lines, accepted, refused)"
        " VALUES (:collection, :source, :fingerprint, 40, 20, 20) RETURNING id",
        collection=collection.id,
        source=opened.name,
        fingerprint=opened.fingerprint,
    )

    done = run(settings, listed)

    assert "Goes on after line 40 of the same list." in done.stderr
    assert "Batch 1: 30 accepted, 0 merged, 30 refused." in done.stdout


def test_where_there_is_no_terminal_a_line_now_and_then_says_how_far_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Reading(shared(0.1, 0.25, 0.3), None, clock_of(0, 5, 20, 25)) as reading:
        reading.begin(1_000)
        reading.refuse(RefusedLine(1_001, "no URL", "dog [bold]"))
        for lines in (2_000, 5_000, 6_000):
            reading.go_on(lines, 1)

    assert capsys.readouterr().err.splitlines() == [
        "Goes on after line 1,000 of the same list.",
        "Line 1,001 refused: no URL: dog [bold]",
        "Read 5,000 lines, 1 refused, 200 lines/s, 1 min 15 s left",
    ]


def test_a_terminal_gets_a_bar_with_the_share_the_pace_and_the_rest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    with Reading(shared(0.0, 0.25), None, clock_of(0, 0, 100)) as reading:
        reading.go_on(0, 0)
        reading.go_on(5_000, 2)

    assert "5,000 lines, 2 refused, 50 lines/s, 5 min 0 s left" in capsys.readouterr().err
