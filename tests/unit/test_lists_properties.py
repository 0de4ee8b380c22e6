"""Lists of any bytes: only rows and refusals, every line accounted for, and what was written reads back."""

from __future__ import annotations

import csv
import gzip
import io
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clipgres.errors import BadRequest
from clipgres.lists import ListRow, RefusedLine
from tests.listing import URL, read

pieces = st.one_of(
    st.binary(max_size=30),
    st.sampled_from(
        [b"\n", b"\r\n", b"\t", b",", b'"', URL.encode(), b"caption,url\n", b"url\tcaption\n", b"{}", b"\0"]
    ),
    st.sampled_from([b'{"url": "http://a/"}\n', b'"a\nb",http://a/\n', b"\xff", b"[" * 20, b"a\thttp://a/\n"]),
)
contents = st.lists(pieces, max_size=40).map(b"".join)


@pytest.mark.parametrize("format", ["auto", "tsv", "csv", "jsonl"])
@pytest.mark.parametrize("packed", [False, True])
@given(body=contents, cut=st.integers(0, 20))
@example(body=b'\n"\n', cut=0)
def test_any_bytes_give_only_rows_and_refusals_with_growing_lines(
    format: str, packed: bool, body: bytes, cut: int
) -> None:
    try:
        entries = read(gzip.compress(body)[: -cut or None] if packed else body, format)
    except BadRequest as error:
        assert "cannot be read" in str(error)
        return
    lines = [entry.line for entry in entries]
    assert all(isinstance(entry, ListRow | RefusedLine) for entry in entries)
    assert lines == sorted(set(lines))
    assert all(1 <= line <= body.count(b"\n") + 2 for line in lines)


@pytest.mark.parametrize("format", ["auto", "tsv", "csv", "jsonl"])
@given(body=contents, lines_done=st.integers(0, 40))
def test_reading_on_after_any_line_gives_exactly_the_rest(format: str, body: bytes, lines_done: int) -> None:
    try:
        whole = read(body, format)
    except BadRequest:
        return
    assert read(body, format, lines_done) == [entry for entry in whole if entry.line > lines_done]


@given(body=contents)
@example(body=b"\xef\xbb\xbf \n\x85\n\xff")
def test_every_line_of_jsonl_that_is_not_blank_is_a_row_or_a_refusal(body: bytes) -> None:
    try:
        entries = read(body, "jsonl")
    except BadRequest:
        return
    lines = body.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    said = [number for number, line in enumerate(lines, start=1) if line.decode(errors="replace").strip()]
    assert [entry.line for entry in entries] == said


# What a line may hold: anything but its own end, NUL, and half a character.
texts = st.text(st.characters(exclude_characters="\0\r\n", exclude_categories=["Cs"]), max_size=20)
rows = st.lists(st.tuples(texts, texts.map(lambda text: text.replace("\t", " "))), max_size=8)


def captioned(values: list[tuple[int, str]]) -> list[ListRow]:
    """The rows with these captions, as a list keeps them."""
    return [ListRow(line, URL, (text.strip(),) if text.strip() else ()) for line, text in values]


@given(rows=rows)
def test_what_was_written_as_tsv_reads_back(rows: list[tuple[str, str]]) -> None:
    body = "".join(f"{caption}\t{URL}\n" for _, caption in rows)

    assert read(body, "tsv") == captioned([(line, caption) for line, (_, caption) in enumerate(rows, start=1)])


@given(rows=rows)
def test_what_was_written_as_csv_reads_back(rows: list[tuple[str, str]]) -> None:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([("caption", "url"), *((text, URL) for text, _ in rows)])

    assert read(file.getvalue(), "csv") == captioned([(line, text) for line, (text, _) in enumerate(rows, start=2)])


@given(rows=st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)))
def test_what_was_written_as_jsonl_reads_back(rows: list[str]) -> None:
    body = "".join(json.dumps({"url": URL, "text": text}) + "\n" for text in rows)

    assert read(body, "jsonl") == captioned(list(enumerate(rows, start=1)))
