"""Lists: every line becomes a row or a refusal with its number, whatever the bytes."""

from __future__ import annotations

import gzip
import io
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clipgres.errors import BadRequest
from clipgres.lists import Entry, ListRow, RefusedLine, open_list, open_rows, open_stream

URL = "https://example.com/a.jpg"
MAX = 100


def read(content: str | bytes, format: str = "auto", lines_done: int = 0) -> list[Entry]:
    body = content if isinstance(content, bytes) else content.encode()
    return list(open_stream(io.BytesIO(body), "list", format, caption_max_chars=MAX).read(lines_done))


def reasons(entries: list[Entry]) -> dict[int, str]:
    return {entry.line: entry.reason for entry in entries if isinstance(entry, RefusedLine)}


@pytest.mark.parametrize(
    ("content", "row"),
    [
        (f"two dogs\t{URL}\n", ListRow(1, URL, ("two dogs",))),
        (f"{URL}\ttwo dogs\n", ListRow(1, URL, ("two dogs",))),
        (f"https://example.com/page\t{URL}", ListRow(1, URL, ("https://example.com/page",))),
        (f"{URL}\n", ListRow(1, URL)),
        (f"\t{URL}\n", ListRow(1, URL)),
        (f"two dogs\t{URL}\r\n", ListRow(1, URL, ("two dogs",))),
        (f'a 5" pipe, "open\t{URL}', ListRow(1, URL, ('a 5" pipe, "open',))),
        (f"\ufefftwo dogs\t{URL}", ListRow(1, URL, ("two dogs",))),
        (f"one\vtwo\u2028three\t{URL}", ListRow(1, URL, ("one\vtwo\u2028three",))),
        (f"\n \n\ntwo dogs\t{URL}", ListRow(4, URL, ("two dogs",))),
    ],
)
def test_a_tsv_line_is_a_caption_and_a_url_in_either_order(content: str, row: ListRow) -> None:
    assert read(content, "tsv") == [row]


def test_a_tsv_header_names_the_columns() -> None:
    content = f"id\tURL\tTEXT\twidth\n7\t{URL}\ttwo dogs\t640\n"

    assert read(content) == [ListRow(2, URL, ("two dogs",), key="7", metadata={"width": "640"})]


def test_csv_columns_are_named_and_the_others_are_metadata() -> None:
    content = f'key,namespace,url,caption,alt,license\nk1,shop,{URL},"two, ""dogs""",dogs,CC-BY\n'

    assert read(content) == [ListRow(2, URL, ('two, "dogs"', "dogs"), "k1", "shop", {"license": "CC-BY"})]


def test_a_quoted_csv_value_may_hold_line_ends() -> None:
    content = f'caption,url\r\n"one\r\n\r\nthree",{URL}\r\nfour,{URL}\r\n'

    assert read(content, "csv") == [ListRow(2, URL, ("one\n\nthree",)), ListRow(5, URL, ("four",))]


def test_an_unbalanced_csv_quote_costs_one_line_only() -> None:
    lines = ["caption,url", f'"open,{URL}', *(f"dog {number},{URL}" for number in range(500))]

    entries = read("\n".join(lines))

    assert reasons(entries) == {2: "a quote that is not closed"}
    assert [entry.line for entry in entries] == list(range(2, 503))


def test_a_csv_quote_that_closes_on_a_later_line_does_not_swallow_the_lines_between() -> None:
    content = f'caption,url\n"open,{URL}\ndog,{URL}\n"cat",{URL}\n'

    entries = read(content)

    assert [type(entry) for entry in entries] == [RefusedLine, ListRow, ListRow]


def test_csv_without_a_url_column_is_one_refusal() -> None:
    assert reasons(read("caption,link\ndog,x\ncat,y\n", "csv")) == {1: "the header must name a column image_url or url"}


def test_jsonl_keeps_types_and_all_captions() -> None:
    content = f'{{"image_url": "{URL}", "url": "page", "captions": ["a", " ", "b"], "id": 7, "width": 640, "ok": null}}'

    assert read(content) == [ListRow(1, URL, ("a", "b"), key="7", metadata={"url": "page", "width": 640})]


@pytest.mark.parametrize(
    ("format", "line", "reason"),
    [
        ("tsv", "two dogs", "no http or https URL"),
        ("tsv", "dogs\tftp://example.com/a", "no http or https URL"),
        ("tsv", f"a\tb\t{URL}", "3 columns where a caption and a URL are expected"),
        ("tsv", f"caf\xe9\t{URL}".encode("latin-1"), "not UTF-8: byte 4 is 0xE9"),
        ("tsv", f"a\0b\t{URL}", "it holds a NUL character"),
        ("tsv", b"\xed\xa0\x80\t" + URL.encode(), "not UTF-8: byte 1 is 0xED"),
        ("tsv", f"{'x' * 101}\t{URL}", "a caption is longer than 100 characters"),
        ("tsv", "x" * 1_000_001, "the line is longer than 1,000,000 bytes"),
        ("jsonl", "{'url': 1}", "not JSON: Expecting property name enclosed in double quotes at character 2"),
        ("jsonl", "[1]", "not an object with named values, such as url and caption"),
        ("jsonl", '{"caption": "dog"}', "no URL"),
        ("jsonl", '{"url": ["a"]}', "url is not a text"),
        ("jsonl", '{"url": "a", "key": 1.5}', "key is not a text"),
        ("jsonl", '{"url": "a", "captions": [1]}', "captions is neither a text nor a list of texts"),
        ("jsonl", r'{"url": "a", "text": "\ud800"}', "it holds half a character (a lone surrogate)"),
        ("jsonl", r'{"url": "a", "more": [{"x": "\u0000"}]}', "it holds a NUL character"),
        ("jsonl", '{"url": "a", "x": 1e999}', "it holds a value that JSON cannot express"),
        ("jsonl", '{"url": "a", "x": NaN}', "a number that is too large or not finite, or nesting that is too deep"),
        ("jsonl", "[" * 100_000, "a number that is too large or not finite, or nesting that is too deep"),
    ],
)
def test_a_bad_line_is_refused_with_its_number_and_reading_goes_on(format: str, line: str | bytes, reason: str) -> None:
    good = f'{{"url": "{URL}"}}' if format == "jsonl" else f"dog\t{URL}"
    body = line if isinstance(line, bytes) else line.encode()

    entries = read(b"\n".join([good.encode(), body, good.encode()]), format)

    assert reasons(entries) == {2: reason}
    assert [entry.line for entry in entries] == [1, 2, 3]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a", "1 column where the header has 2"),
        (f"a,{URL},c", "3 columns where the header has 2"),
        (f'"a"b,{URL}', "',' expected after '\"'"),
        (f"a\rb,{URL}", "new-line character seen in unquoted field"),
        (f"{'x' * 200_000},{URL}", "field larger than field limit (131072)"),
    ],
)
def test_a_bad_csv_line_is_refused_with_its_number_and_reading_goes_on(line: str, reason: str) -> None:
    entries = read(f"caption,url\n{line}\ndog,{URL}\n", "csv")

    assert {number: why.split(" - ")[0] for number, why in reasons(entries).items()} == {2: reason}
    assert entries[1:] == [ListRow(3, URL, ("dog",))]


def test_an_excerpt_cannot_move_a_cursor() -> None:
    [refused] = read("\x1b[2Jdog\x07" + "x" * 500, "tsv")

    assert isinstance(refused, RefusedLine)
    assert refused.excerpt.isprintable()
    assert len(refused.excerpt) == 120


def test_a_literal_backslash_u0000_is_text() -> None:
    assert read(rf'{{"url": "{URL}", "caption": "\\u0000"}}') == [ListRow(1, URL, ("\\u0000",))]


@pytest.mark.parametrize(
    ("content", "row"),
    [
        (f'{{"url": "{URL}"}}', ListRow(1, URL)),
        (f"caption,url\ndog,{URL}", ListRow(2, URL, ("dog",))),
        (f'"caption","url"\n"dog","{URL}"', ListRow(2, URL, ("dog",))),
        (f"dog, cat\t{URL}", ListRow(1, URL, ("dog, cat",))),
        (URL, ListRow(1, URL)),
    ],
)
def test_the_content_tells_the_format(content: str, row: ListRow) -> None:
    assert read(content) == [row]


@pytest.mark.parametrize("name", ["a.csv", "A.CSV", "a.csv.gz"])
def test_the_name_tells_the_format(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(b"caption,link\n")

    [refused] = open_list(path, caption_max_chars=MAX).read(0)

    assert isinstance(refused, RefusedLine)
    assert "header" in refused.reason


def test_a_gzipped_list_is_read_whatever_its_name(tmp_path: Path) -> None:
    path = tmp_path / "list.tsv"
    path.write_bytes(gzip.compress(f"dog\t{URL}\n".encode()))

    assert list(open_list(path, caption_max_chars=MAX).read(0)) == [ListRow(1, URL, ("dog",))]


@pytest.mark.parametrize("damage", ["cut", "broken", "cut in the header"])
def test_a_damaged_gzip_ends_with_a_refusal(damage: str) -> None:
    body = bytearray(gzip.compress("".join(f"dog {n}\t{URL}\n" for n in range(5_000)).encode()))
    if damage == "broken":
        body[len(body) // 2] ^= 0xFF
    entries = read(bytes(body[: {"cut": len(body) // 2, "cut in the header": 6}.get(damage)]), "tsv")

    assert "damaged or cut off" in list(reasons(entries).values())[-1]
    assert isinstance(entries[-1], RefusedLine)


@pytest.mark.parametrize(
    ("head", "word"),
    [
        (b"\x28\xb5\x2f\xfd....", "zstd"),
        (b"PK\x03\x04....", "ZIP"),
        ("dog".encode("utf-16"), "UTF-16"),
    ],
)
def test_a_file_that_is_no_text_is_refused_at_once_with_the_way_out(head: bytes, word: str, tmp_path: Path) -> None:
    path = tmp_path / "list.tsv"
    path.write_bytes(head)

    with pytest.raises(BadRequest, match=rf"list\.tsv cannot be read: .*{word}"):
        open_list(path, caption_max_chars=MAX)


def test_a_missing_file_a_folder_and_an_unknown_format_are_said(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=r"none\.tsv cannot be read: No such file"):
        open_list(tmp_path / "none.tsv", caption_max_chars=MAX)
    with pytest.raises(BadRequest, match="cannot be read: Is a directory"):
        open_list(tmp_path, caption_max_chars=MAX)
    with pytest.raises(BadRequest, match="the format is one of auto, tsv, csv, jsonl, not 'xls'"):
        read("", "xls")


def test_the_standard_input_is_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(f"dog\t{URL}".encode())))

    opened = open_list("-", caption_max_chars=MAX)

    assert opened.fingerprint is None
    assert list(opened.read(0)) == [ListRow(1, URL, ("dog",))]


def test_the_fingerprint_follows_content_size_and_format(tmp_path: Path) -> None:
    path = tmp_path / "list.tsv"
    fingerprints = set()
    for content, format in (("a", "tsv"), ("b", "tsv"), ("bb", "tsv"), ("bb", "csv")):
        path.write_text(content)
        fingerprints.add(open_list(path, format, caption_max_chars=MAX).fingerprint)

    assert len(fingerprints) == 4
    assert open_list(path, "csv", caption_max_chars=MAX).fingerprint in fingerprints


def test_rows_of_a_program_are_lines_too() -> None:
    rows = [{"url": URL, "caption": "dog"}, {"caption": "cat"}, 7, {"url": URL, "size": float("nan")}]

    entries = list(open_rows(rows, "api", caption_max_chars=MAX).read(0))

    assert entries[0] == ListRow(1, URL, ("dog",))
    assert list(reasons(entries)) == [2, 3, 4]


def test_a_line_of_a_gigabyte_would_not_be_held_in_memory() -> None:
    class Endless(io.RawIOBase):
        left = 200_000_000

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            count = min(len(buffer), self.left)
            self.left -= count
            buffer[:count] = b"x" * count
            return count

    tracemalloc.start()
    entries = list(open_stream(io.BufferedReader(Endless()), "list", "tsv", caption_max_chars=MAX).read(0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert list(reasons(entries)) == [1]
    assert peak < 10_000_000


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
