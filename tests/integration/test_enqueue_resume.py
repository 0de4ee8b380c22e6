"""A list that is broken off and taken up again: every line counted once, every refused line reported once."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from clipgres.collections import Collection
from clipgres.enqueue import Added, enqueue
from clipgres.errors import Conflict
from clipgres.lists import Entry, OpenedList, RefusedLine, open_list
from tests.adding import collection_named, query

ROOT = Path(__file__).parents[2]
URL = "http://a/1.jpg"
COUNTS = "SELECT lines, accepted, merged, refused, finished IS NOT NULL FROM clipgres.batch ORDER BY id"


@pytest.fixture
def collection(engine: Engine) -> Collection:
    return collection_named(engine)


def open_tsv(path: Path) -> OpenedList:
    return open_list(path, "tsv", caption_max_chars=100)


class Stopped(Exception):
    """Raised in the middle of a list."""


def stopping(opened: OpenedList, after: int) -> OpenedList:
    """The same list, whose reading ends with an error once it passed a line."""

    def read(lines_done: int) -> Iterator[Entry]:
        for entry in opened.read(lines_done):
            if entry.line > after:
                raise Stopped
            yield entry

    return OpenedList(opened.name, opened.fingerprint, read)


def test_a_list_that_was_stopped_again_and_again_comes_to_the_same_counts(
    engine: Engine, collection: Collection, tmp_path: Path
) -> None:
    path = tmp_path / "list.tsv"
    path.write_text("".join(f"dog {n}\thttp://a/{n % 80}\n" + "bad line\n" * (n % 9 == 0) for n in range(100)))
    for after in sorted(random.Random(3).sample(range(112), 8)):
        with pytest.raises(Stopped):
            enqueue(engine, collection, stopping(open_tsv(path), after), chunk_rows=7)

    added = enqueue(engine, collection, open_tsv(path))

    assert added.resumed_at > 50
    assert query(engine, COUNTS) == [(112, 80, 20, 12, True)]
    assert query(engine, "SELECT count(*) FROM clipgres.caption") == [100]
    assert query(engine, "SELECT count(*) FROM clipgres.refused_line") == [12]


ADDING_PROGRAM = """
import sys
from pathlib import Path
from clipgres.collections import find
from clipgres.database import create_engine, transaction
from clipgres.enqueue import enqueue
from clipgres.lists import Report, open_list

engine = create_engine(sys.argv[1])
with transaction(engine) as connection:
    collection = find(connection, "default")
opened = open_list(sys.argv[2], "tsv", caption_max_chars=100)
enqueue(engine, collection, opened, on_progress=lambda added: print(added.lines, flush=True), chunk_rows=50)
"""


def test_a_list_whose_process_is_killed_comes_to_the_same_counts(
    engine: Engine, collection: Collection, database_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "list.tsv"
    path.write_text("".join(f"dog {n}\thttp://a/{n % 9_000}\n" for n in range(10_000)))
    for kill_after in (3, 5):
        command = [sys.executable, "-c", ADDING_PROGRAM, database_url, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
            assert process.stdout is not None
            for _ in range(kill_after):
                assert process.stdout.readline()
            process.kill()

    added = enqueue(engine, collection, open_tsv(path))

    assert added.resumed_at >= 8 * 50
    assert query(engine, COUNTS) == [(10_000, 9_000, 1_000, 0, True)]
    assert query(engine, "SELECT count(*), (SELECT count(*) FROM clipgres.caption) FROM clipgres.job") == [
        (9_000, 10_000)
    ]


def test_a_finished_list_is_a_new_batch_when_added_again(
    engine: Engine, collection: Collection, tmp_path: Path
) -> None:
    path = tmp_path / "list.tsv"
    path.write_text("dog\thttp://a/1\n")
    enqueue(engine, collection, open_tsv(path))

    again = enqueue(engine, collection, open_tsv(path))

    assert (again.resumed_at, again.accepted, again.merged) == (0, 0, 1)
    assert len(query(engine, COUNTS)) == 2


def test_one_list_is_added_by_one_process_at_a_time(
    engine: Engine, collection: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clipgres.enqueue.LOCK_TIMEOUT_SQL", text("SET LOCAL lock_timeout = '200ms'"))
    path = tmp_path / "list.tsv"
    path.write_text("dog\thttp://a/1\n")
    inside, go_on = threading.Event(), threading.Event()

    def read(lines_done: int) -> Iterator[Entry]:
        inside.set()
        go_on.wait(30)
        yield from open_tsv(path).read(lines_done)

    slow = OpenedList(open_tsv(path).name, open_tsv(path).fingerprint, read)
    first = threading.Thread(target=enqueue, args=(engine, collection, slow))
    first.start()
    assert inside.wait(30)
    with pytest.raises(Conflict, match=r"list\.tsv is being added to this collection by another process now"):
        enqueue(engine, collection, open_tsv(path))
    go_on.set()
    first.join()

    assert enqueue(engine, collection, open_tsv(path)).merged == 1


REPORTING_PROGRAM = ADDING_PROGRAM.replace(
    "enqueue(engine",
    """report = Report(Path(sys.argv[3]))
enqueue(engine""",
).replace(
    "chunk_rows=50",
    "on_opened=lambda added: report.begin(added.lines), on_refused=report.add, chunk_rows=50",
)


def test_the_report_has_every_refused_line_once_whenever_the_process_is_killed(
    engine: Engine, collection: Collection, database_url: str, tmp_path: Path
) -> None:
    path, report = tmp_path / "list.tsv", tmp_path / "refused.tsv"
    path.write_text("".join(f"dog {n}\thttp://a/{n}\n" if n % 3 else "bad\n" for n in range(3_000)))
    command = [sys.executable, "-c", REPORTING_PROGRAM, database_url, str(path), str(report)]
    for kill_after in (2, 4, None):
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
            assert process.stdout is not None
            for _ in range(kill_after or 0):
                assert process.stdout.readline()
            if kill_after:
                process.kill()
            process.stdout.read()

    numbers = [int(row.split("\t")[0]) for row in report.read_text().splitlines()[1:]]
    assert numbers == list(range(1, 3_001, 3))
    assert query(engine, COUNTS) == [(3_000, 2_000, 0, 1_000, True)]


def test_refused_lines_are_told_before_they_are_counted(engine: Engine, collection: Collection, tmp_path: Path) -> None:
    path = tmp_path / "list.tsv"
    path.write_text("dog\thttp://a/1\nbad\n")
    counted: list[int] = []

    def look(_line: RefusedLine) -> None:
        counted.extend(query(engine, "SELECT refused FROM clipgres.batch"))

    enqueue(engine, collection, open_tsv(path), on_refused=look)

    assert counted == [0]
    assert query(engine, COUNTS) == [(2, 1, 0, 1, True)]


def test_a_chunk_that_is_being_written_is_finished_when_reading_breaks_off(
    engine: Engine, collection: Collection, tmp_path: Path
) -> None:
    path = tmp_path / "list.tsv"
    path.write_text("".join(f"dog\thttp://a/{n}\n" for n in range(10)))

    with pytest.raises(Stopped):
        enqueue(engine, collection, stopping(open_tsv(path), after=7), chunk_rows=5)

    assert query(engine, COUNTS) == [(5, 5, 0, 0, False)]
    opened: list[Added] = []
    enqueue(engine, collection, open_tsv(path), on_opened=opened.append)
    assert [(before.resumed_at, before.lines, before.accepted) for before in opened] == [(5, 5, 5)]
