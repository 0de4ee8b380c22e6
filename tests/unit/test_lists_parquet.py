"""Parquet: its rows are those of any list, what JSON cannot hold is made to fit, and a broken file is said."""

from __future__ import annotations

import datetime
import io
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from clipgres.errors import BadRequest, SetupError
from clipgres.lists import ListRow, RefusedLine, open_list, open_stream
from clipgres.optional import optional

URL = "https://example.com/a.jpg"


def write(path: Path, **columns: list[object]) -> Path:
    """Write a Parquet file with these columns."""
    parquet.write_table(pyarrow.table(columns), path)
    return path


def test_named_columns_become_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "list.parquet", url=[URL, None], caption=["a dog", "a cat"], width=[640, 1])
    first, second = open_list(path, caption_max_chars=100).read(0)
    assert first == ListRow(1, URL, ("a dog",), metadata={"width": 640})
    assert isinstance(second, RefusedLine)
    assert second.reason == "no URL"


def test_it_is_told_by_its_content_and_goes_on_at_any_row(tmp_path: Path) -> None:
    path = write(tmp_path / "list.tsv", url=[f"{URL}?{number}" for number in range(2_500)])
    opened = open_list(path, caption_max_chars=100)
    assert [row.line for row in opened.read(2_498)] == [2_499, 2_500]
    assert [row.line for row in opened.read(2_499)] == [2_500]


def test_what_json_cannot_hold_is_made_to_fit(tmp_path: Path) -> None:
    day = datetime.date(2026, 1, 2)
    path = write(tmp_path / "list.parquet", url=[URL], day=[day], score=[float("nan")], image=[b"raw"])
    (row,) = open_list(path, caption_max_chars=100).read(0)
    assert isinstance(row, ListRow)
    assert row.metadata == {"day": "2026-01-02"}


def test_a_broken_file_is_said(tmp_path: Path) -> None:
    path = tmp_path / "list.parquet"
    path.write_bytes(b"PAR1 and then nothing")
    with pytest.raises(BadRequest, match=r"list\.parquet cannot be read"):
        list(open_list(path, caption_max_chars=100).read(0))


def test_a_stream_may_be_parquet(tmp_path: Path) -> None:
    packed = write(tmp_path / "list.parquet", url=[URL], caption=["a dog"]).read_bytes()
    opened = open_stream(io.BytesIO(packed), "standard input", caption_max_chars=100)
    assert list(opened.read(0)) == [ListRow(1, URL, ("a dog",))]


def test_a_stream_of_parquet_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipgres.lists.opening.SPOOLED_MAX_BYTES", 1_000)
    with pytest.raises(BadRequest, match="Parquet of more than 1,000 bytes: name the file"):
        open_stream(io.BytesIO(b"PAR1" * 1_000), "standard input", caption_max_chars=100)


def test_a_library_that_is_missing_says_how_to_get_it() -> None:
    with pytest.raises(SetupError, match=r'pip install "clipgres\[parquet\]"'):
        optional("no_such_library.part", extra="parquet")
