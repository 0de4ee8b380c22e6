"""Chunks for COPY: bounded, whole, and judged without a database."""

from __future__ import annotations

from clipgres.lists import RefusedLine, open_rows
from clipgres.prepared import CHUNK_BYTES, Judged, judge, prepared

URL = "http://a/1.jpg"


def test_a_chunk_ends_with_its_last_line_whether_that_fits_or_not() -> None:
    rows = [{"url": URL}, {"url": "x"}, {"url": URL}, {"url": "ftp://a"}, {"url": "http://"}]

    chunks = list(prepared(open_rows(rows, "test", caption_max_chars=100).read(0), max_rows=2))

    assert [(chunk.last, chunk.rows, [line.line for line in chunk.refused]) for chunk in chunks] == [
        (2, 1, [2]),
        (4, 1, [4]),
        (5, 0, [5]),
    ]


def test_a_chunk_holds_a_bounded_amount_of_text() -> None:
    rows = ({"url": URL, "note": "x" * 900_000} for _ in range(12))

    sizes = [len(chunk.copy) for chunk in prepared(open_rows(rows, "test", caption_max_chars=100).read(0))]

    assert len(sizes) == 2
    assert max(sizes) < CHUNK_BYTES + 1_000_000


def test_what_ends_a_value_or_a_row_of_copy_is_escaped() -> None:
    row = {"url": URL, "caption": "a\tb\\N", "key": "k\n\\.", "namespace": "n\tm"}

    [chunk] = prepared(open_rows([row], "test", caption_max_chars=100).read(0))

    [line] = chunk.copy.decode().splitlines()
    assert line.split("\t")[4:] == [r'["a\\tb\\\\N"]', r"k\n\\.", r"n\tm", "{}"]


def test_judging_reads_to_the_end_and_tells_every_refused_line() -> None:
    told: list[RefusedLine] = []
    steps: list[Judged] = []
    opened = open_rows([{"url": URL}, {"url": "x"}, {"caption": "dog"}], "test", caption_max_chars=100)

    judged = judge(opened, on_progress=steps.append, on_refused=told.append)

    assert judged == Judged(lines=3, fit=1, refused=2) == steps[-1]
    assert [line.line for line in told] == [2, 3]
