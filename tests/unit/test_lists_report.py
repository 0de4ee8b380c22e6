"""The report of refused lines: one row each, safe in a spreadsheet, and exact after any stop."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clipgres.errors import BadRequest
from clipgres.lists import RefusedLine, Report, report


def rows(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE))


def written(path: Path) -> list[int]:
    """The line numbers in a report, whose header must be there."""
    header, *lines = rows(path.read_text("utf-8"))
    assert header == ["line", "reason", "begins_with"]
    return [int(line[0]) for line in lines]


def add(path: Path, *lines: int, after: int = 0) -> None:
    opened = Report(path)
    opened.begin(after)
    for line in lines:
        opened.add(RefusedLine(line, "no URL", "x"))
    opened.close()


@given(reason=st.text(max_size=20), excerpt=st.text(max_size=20))
@example(reason="no URL", excerpt='"=HYPERLINK(""http://evil.test/"")"')
def test_any_text_is_one_row_of_three_cells_and_no_formula(reason: str, excerpt: str) -> None:
    _, row = report([RefusedLine(7, reason, excerpt)]).removesuffix("\n").split("\n")

    number, _, begins = row.split("\t")
    assert number == "7"
    assert not begins.startswith(("=", "+", "-", "@", '"'))


def test_a_new_import_begins_a_new_report(tmp_path: Path) -> None:
    add(tmp_path / "r.tsv", 1, 2)
    add(tmp_path / "r.tsv", 5)

    assert written(tmp_path / "r.tsv") == [5]


def test_a_resumed_one_keeps_what_is_counted_and_nothing_that_will_be_read_again(tmp_path: Path) -> None:
    path = tmp_path / "r.tsv"
    add(path, 3, 9, 12, 14)
    path.write_bytes(path.read_bytes()[:-4])  # killed in the middle of a row

    add(path, 12, 14, 20, after=10)

    assert written(path) == [3, 9, 12, 14, 20]


@pytest.mark.parametrize("before", ["", "my notes\n", "1\tno header\tx\n"])
def test_a_resumed_one_keeps_no_other_file(tmp_path: Path, before: str) -> None:
    (tmp_path / "r.tsv").write_text(before)

    add(tmp_path / "r.tsv", 12, after=10)

    assert written(tmp_path / "r.tsv") == [12]


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="cannot be written: No such file or directory"):
        Report(tmp_path / "none" / "r.tsv")


def test_what_is_no_file_is_not_opened() -> None:
    with pytest.raises(BadRequest, match="/dev/null cannot be written: it is no file"):
        Report(Path("/dev/null"))
