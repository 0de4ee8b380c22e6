"""Lists: what a line of each format says, and why one that says nothing is refused."""

from __future__ import annotations

import pytest

from clipgres.lists import ListRow, RefusedLine, open_rows
from tests.listing import MAX, URL, read, reasons


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
        (
            "jsonl",
            '{"url": "a", "x": ' + "[" * 500 + "]" * 500 + "}",
            "it holds values that are nested more than 100 deep",
        ),
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


def test_rows_of_a_program_are_lines_too() -> None:
    rows = [{"url": URL, "caption": "dog"}, {"caption": "cat"}, 7, {"url": URL, "size": float("nan")}]

    entries = list(open_rows(rows, "api", caption_max_chars=MAX).read(0))

    assert entries[0] == ListRow(1, URL, ("dog",))
    assert list(reasons(entries)) == [2, 3, 4]


def test_a_remark_before_a_header_is_refused_and_the_header_still_counts() -> None:
    for format, tab in (("tsv", "\t"), ("csv", ",")):
        content = f"# of dogs, of {format}\n\n#{tab}URL{tab}Caption\n1{tab}{URL}{tab}dog\n"

        refused, row = read(content, format)

        assert reasons([refused]) == {1: "a remark before the header"}
        assert row == ListRow(4, URL, ("dog",), metadata={"#": "1"})


def test_a_caption_may_begin_like_a_remark() -> None:
    assert read(f"#1 dog\t{URL}\ndog\t{URL}") == [ListRow(1, URL, ("#1 dog",)), ListRow(2, URL, ("dog",))]
