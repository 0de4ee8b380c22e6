"""`clipgres failures`, `retry`, `ignore` and what `status` says of the whole, on a real database."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine

from clipgres.cli import main
from clipgres.cli.tools import Tools
from clipgres.settings import Settings
from tests.adding import add_urls, collection_named, query, set_job


class Typist:
    """Types commands; stdout and stderr apart."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self.settings, self.engine = settings, engine

    def type(self, line: str, **environment: str) -> tuple[int, str, str]:
        """The exit code, the result and the notes of a command."""
        done = CliRunner().invoke(main, line.split(), obj=Tools(self.settings), env=environment)
        return done.exit_code, done.stdout, done.stderr

    def out(self, line: str, **environment: str) -> str:
        """The result of one that must succeed."""
        code, out, notes = self.type(line, **environment)
        assert code == 0, notes
        return out

    def json(self, line: str) -> Any:
        """The document of one that must succeed."""
        return json.loads(self.out(f"{line} --json"))


@pytest.fixture
def typist(settings: Settings, engine: Engine) -> Typist:
    """Two hosts with four failures, one of them with words on record."""
    add_urls(engine, collection_named(engine), *(f"a.example/{number}" for number in range(3)), "b.example/[red]1")
    query(engine, "UPDATE clipgres.job SET status = 'failed', reason = 'not_found', attempts = 1")
    set_job(engine, "b.example/%5Bred%5D1", reason="tls_failed")
    query(
        engine,
        "INSERT INTO clipgres.fetch_attempt (image_id, reason, detail) "
        "SELECT image_id, reason, 'the certificate ended in May' FROM clipgres.job WHERE reason = 'tls_failed'",
    )
    return Typist(settings, engine)


def test_failures_by_reason_host_and_batch(typist: Typist) -> None:
    assert [(group["reason"], group["images"]) for group in typist.json("failures")] == [
        ("not_found", 3),
        ("tls_failed", 1),
    ]
    assert typist.json("failures --by host --host B.example") == [
        {"host": "b.example", "images": 1, "reasons": {"tls_failed": 1}, "paused_until": None}
    ]
    assert typist.json("failures --by batch --reason not_found")[0]["reasons"] == {"not_found": 3}
    _, out, notes = typist.type("failures")
    assert "Nothing to mend here: ignore them." in out and "http://a.example/" in out
    assert "clipgres retry --reason REASON, --host HOST or --batch N" in notes
    assert "3 not_found" in typist.out("failures --by host") and "1 tls_failed" in typist.out("failures --by batch")


def test_single_pictures_come_with_their_words(typist: Typist) -> None:
    _, out, notes = typist.type("failures --reason tls_failed --batch 1")
    assert "http://b.example/%5Bred%5D1" in out and "the certificate ended in May" in out
    assert "Try again: clipgres retry --reason tls_failed --batch 1" in notes
    _, out, notes = typist.type("failures --host a.example --limit 2")
    assert out.count("http://a.example/") == 2 and "The latest 2 of 3" in notes


def test_a_table_fits_a_terminal(typist: Typist) -> None:
    for line in ("failures", "failures --by host", "failures --by batch", "failures --host a.example", "status"):
        out = typist.out(line, COLUMNS="80", FORCE_COLOR="1")
        lines = re.sub(r"\x1b\[[0-9;]*m", "", out).splitlines()
        assert "\x1b" in out and max(map(len, lines)) <= 80


def test_ignore_retry_and_take_back(typist: Typist) -> None:
    code, out, notes = typist.type("ignore --host A.example --reason not_found")
    assert (code, out) == (0, "3 pictures ignored.\n")
    assert "Take them back: clipgres retry --ignored --reason not_found --host a.example" in notes
    assert typist.out("ignore --host a.example") == "Nothing to ignore.\n"
    _, out, notes = typist.type("failures")
    assert "not_found" not in out and "3 pictures ignored: --ignored shows them." in notes
    assert [group["images"] for group in typist.json("failures --ignored")] == [3]
    assert "3 ignored" in typist.out("status 1")
    assert typist.out("retry") == "1 picture will be tried again.\n"
    assert typist.out("retry --ignored --collection default") == "3 pictures will be tried again.\n"
    assert (typist.out("failures"), typist.out("failures --ignored")) == ("Nothing failed.\n", "Nothing is ignored.\n")
    assert typist.out("retry") == "Nothing to try again.\n"


@pytest.mark.parametrize("command", ["failures", "retry", "ignore"])
def test_what_does_not_fit_is_said(typist: Typist, command: str) -> None:
    bad = {
        "--reason not_fund": (2, "did you mean not_found?"),
        "--batch 0": (2, "0 is not in the range"),
        "--batch -1": (2, "-1 is not in the range"),
        f"--batch {2**63}": (1, "batch: it should be less than or equal to"),
        "--batch 99": (1, "there is no batch 99; `clipgres status` lists the latest"),
        "--host a_b:x": (1, "host: 'a_b:x' is not a host, such as example.org"),
        "--collection nope": (1, 'there is no collection "nope"'),
    }
    for options, (code, said) in bad.items():
        exit_code, out, notes = typist.type(f"{command} {options}")
        assert (exit_code, out) == (code, "") and said in notes, options
    assert typist.type("ignore")[0] == 2
    assert "ignore" in typist.type("ignore")[2]
    assert query(typist.engine, "SELECT DISTINCT status, ignored_at FROM clipgres.job") == [("failed", None)]


def test_status_says_what_waits_and_what_holds_it_up(typist: Typist) -> None:
    add_urls(typist.engine, collection_named(typist.engine, "photos"), "c.example/1", "c.example/2", "c.example/3")
    set_job(typist.engine, "c.example/1", reason="timeout", attempts=1, next_attempt_at="2100-01-01Z")
    query(typist.engine, "INSERT INTO clipgres.host VALUES ('c.example', '2100-01-01Z', 3, 'timeout')")
    told = typist.out("status")
    assert "2 due, 0 under way, 1 to be tried again later, the first in" in told
    assert "Left alone for a while: c.example for" in told and "(timeout)." in told
    backlog = typist.json("status")["backlog"]
    assert (backlog["due"], backlog["waiting"], backlog["held"], backlog["paused_hosts"]) == (2, 1, 0, 1)
    assert backlog["oldest_wait_s"] >= 0
    query(typist.engine, "UPDATE clipgres.collection SET paused_at = now()")
    told = typist.out("status")
    assert "0 due, 0 under way" in told
    assert "Paused: photos, 3 pictures waiting; `clipgres resume --collection photos`" in told
    assert "paused: `clipgres resume`" in told
