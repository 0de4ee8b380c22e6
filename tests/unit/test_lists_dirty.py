"""Dirty lists: one row a case, with exactly the counts and reasons that come of it, in bounded memory."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import tracemalloc
from typing import Any

import pytest

from clipgres.lists import RefusedLine, open_stream
from clipgres.lists.plain import zstd
from clipgres.prepared import Judged, judge
from tests.listing import MAX, URL

U = URL.encode()
GOOD = b"dog\t" + U + b"\n"
JSON = json.dumps({"url": URL}).encode() + b"\n"
CR = "its lines seem to end in CR alone, as on an old Mac: turn them into LF, as `tr '\\r' '\\n'` does"
CUT = "the packed list is damaged or cut off here, nothing after it was read: "
ENDED = "Compressed file ended before the end-of-stream marker was reached"
NO_URL = "no http or https URL"

# What, its bytes, the last line that says something, the rows that fit, and the refused lines.
Case = tuple[str, bytes, int, int, dict[int, str]]
CASES: list[Case] = [
    ("empty", b"", 0, 0, {}),
    ("a mark and nothing else", b"\xef\xbb\xbf", 0, 0, {}),
    ("blank lines", b"\n \n\t\n\r\n" + GOOD + b"\n\n", 5, 1, {}),
    ("no end of line at the end", GOOD + GOOD.strip(), 2, 2, {}),
    ("CRLF", GOOD.replace(b"\n", b"\r\n") * 3, 3, 3, {}),
    ("CR alone", GOOD.replace(b"\n", b"\r") * 3, 1, 0, {1: f"4 columns where a caption and a URL are expected; {CR}"}),
    ("CR alone, URLs", b"http://a/1\rhttp://a/2\r", 1, 0, {1: f"{NO_URL}; {CR}"}),
    ("CR alone, large", b"x\r" * 600_000, 1, 0, {1: f"the line is longer than 1,000,000 bytes; {CR}"}),
    ("a CR inside a caption", b"a\rdog\t" + U, 1, 1, {}),
    ("U+2028, U+0085, VT and FF in captions", "a\u2028b\x85c\vd\fe\t".encode() + U, 1, 1, {}),
    ("NUL", b"a\0b\t" + U + b"\n" + GOOD, 2, 1, {1: "it holds a NUL character"}),
    ("NUL alone", b"\0" * 5_000, 1, 0, {1: "it holds a NUL character"}),
    ("Latin-1", "caf\xe9\t".encode("latin-1") + U + b"\n" + GOOD, 2, 1, {1: "not UTF-8: byte 4 is 0xE9"}),
    ("a surrogate as bytes", b"\xed\xa0\x80\t" + U, 1, 0, {1: "not UTF-8: byte 1 is 0xED"}),
    ("overlong UTF-8", b"\xc0\xaf\t" + U, 1, 0, {1: "not UTF-8: byte 1 is 0xC0"}),
    ("a mark in the middle", GOOD + b"\xef\xbb\xbf" + GOOD, 2, 2, {}),
    ("UTF-16", ("\ufeff" + GOOD.decode()).encode("utf-16-le") * 1, 1, 1, {}),
    ("UTF-16 without a mark", GOOD.decode().encode("utf-16-be"), 1, 0, {1: "it holds a NUL character"}),
    ("0 columns", b"\t\n" + GOOD, 2, 1, {}),
    ("1 column", U + b"\ndog\n", 2, 1, {2: NO_URL}),
    ("swapped columns", U + b"\tdog\n" + GOOD, 2, 2, {}),
    ("3 columns", b"a\tb\t" + U, 1, 0, {1: "3 columns where a caption and a URL are expected"}),
    ("50 columns", b"\t" * 49 + U, 1, 0, {1: "50 columns where a caption and a URL are expected"}),
    ("a header in any order and case", b"Width\tURL \t Caption\n1\t" + U + b"\tdog\n", 2, 1, {}),
    ("a header after a mark", b"\xef\xbb\xbfurl\tcaption\n" + U + b"\tdog\n", 2, 1, {}),
    ("a header and a short line", b"url\tcaption\n" + U, 2, 0, {2: "1 column where the header has 2"}),
    ("a header alone", b"url\tcaption\n", 0, 0, {}),
    ("remarks", b"# dogs\n" + GOOD + b"#" + U + b"\n", 3, 1, {1: NO_URL, 3: NO_URL}),
    ("unbalanced quotes in TSV", b'a 5" "dog\t' + U + b'\n"\t' + U, 2, 2, {}),
    (
        "unbalanced quotes in CSV",
        b'url,caption\n"' + U + b",x\n" + U + b",y\n",
        3,
        1,
        {2: "a quote that is not closed"},
    ),
    (
        "a large CSV value",
        b"url,caption\n" + U + b"," + b"x" * 131_073 + b"\n" + U + b",y\n",
        3,
        1,
        {2: "field larger than field limit (131072)"},
    ),
    (
        "half a character in JSON",
        JSON + b'{"url": "\\ud800"}\n',
        2,
        1,
        {2: "it holds half a character (a lone surrogate)"},
    ),
    ("a whole one in JSON", b'{"url": "http://a/", "text": "\\ud83d\\udc15"}', 1, 1, {}),
    ("NUL in JSON", JSON + b'{"url": "a\\u0000"}\n', 2, 1, {2: "it holds a NUL character"}),
    ("JSON cut off", JSON + JSON[:7], 2, 1, {2: "not JSON: Expecting value at character 8"}),
    ("the same line again and again", GOOD * 5_000, 5_000, 5_000, {}),
    ("a URL longer than an index row", b"http://a/" + b"x" * 4_000, 1, 1, {}),
    ("a URL that is too long", b"http://a/" + b"x" * 8_000, 1, 0, {1: "bad URL: longer than 8,000 characters"}),
    ("a URL that cannot be fetched", b"http://u:p@a/", 1, 0, {1: "bad URL: it holds a user name or password"}),
    ("a long caption", b"x" * 101 + GOOD, 1, 0, {1: "a caption is longer than 100 characters"}),
    ("gzip cut off", gzip.compress(GOOD)[:-8], 2, 1, {2: CUT + ENDED}),
    ("zstd cut off", zstd.compress(GOOD)[:-4], 1, 0, {1: CUT + ENDED}),
    ("bzip2 cut off", bz2.compress(GOOD)[:-4], 2, 1, {2: CUT + ENDED}),
    ("gzip and then something else", gzip.compress(GOOD) + GOOD, 2, 1, {2: f"{CUT}Not a gzipped file (b'do')"}),
]


@pytest.mark.parametrize(
    ("body", "lines", "fit", "refused"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_a_dirty_list_comes_to_exactly_this(body: bytes, lines: int, fit: int, refused: dict[int, str]) -> None:
    told: list[RefusedLine] = []
    opened = open_stream(io.BytesIO(body), "list", caption_max_chars=MAX)

    judged = judge(opened, on_progress=lambda _judged: None, on_refused=told.append)

    assert {line.line: line.reason for line in told} == refused
    assert judged == Judged(lines, fit, len(refused))
    assert all(line.excerpt.isprintable() for line in told)


class Zeros(io.RawIOBase):
    """So many bytes of nothing."""

    def __init__(self, left: int) -> None:
        self.left = left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = min(len(buffer), self.left)
        self.left -= count
        buffer[:count] = bytes(count)
        return count


def packed_zeros(packer: Any, megabytes: int) -> bytes:
    """A bomb: packed once, and its frame said again and again, as all three formats allow."""
    return bytes(packer(bytes(10_000_000))) * (megabytes // 10)


@pytest.mark.parametrize(
    "packer", [None, gzip.compress, zstd.compress, bz2.compress], ids=["plain", "gzip", "zstd", "bzip2"]
)
def test_a_line_that_never_ends_is_refused_in_constant_memory(packer: Any) -> None:
    stream = Zeros(200_000_000) if packer is None else io.BytesIO(packed_zeros(packer, 200))

    tracemalloc.start()
    [refused] = open_stream(io.BufferedReader(stream), "list", "tsv", caption_max_chars=MAX).read(0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert isinstance(refused, RefusedLine)
    assert (refused.line, refused.reason) == (1, "the line is longer than 1,000,000 bytes")
    assert peak < 10_000_000
