"""Opening lists: from files, pipes and streams, packed or not, in one encoding or another."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import random
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from clipgres.errors import BadRequest
from clipgres.lists import ListRow, RefusedLine, open_list
from clipgres.lists.plain import zstd
from tests.listing import MAX, URL, read, reasons

Pack = Callable[[bytes], bytes]
PACK: dict[str, Pack] = {"gzip": gzip.compress, "zstd": zstd.compress, "bzip2": partial(bz2.compress, compresslevel=1)}


@pytest.mark.parametrize("name", ["a.csv", "A.CSV", "a.csv.gz", "a.csv.zst"])
def test_the_name_tells_the_format(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(b"caption,link\n")

    [refused] = open_list(path, caption_max_chars=MAX).read(0)

    assert isinstance(refused, RefusedLine)
    assert "header" in refused.reason


@pytest.mark.parametrize("pack", PACK.values(), ids=PACK)
def test_a_packed_list_is_read_whatever_its_name(pack: Pack, tmp_path: Path) -> None:
    path = tmp_path / "list.tsv"
    path.write_bytes(pack(f"dog\t{URL}\n".encode()) + pack(f"cat\t{URL}\n".encode()))

    assert [row.line for row in open_list(path, caption_max_chars=MAX).read(0)] == [1, 2]
    assert read(path.read_bytes()) == [ListRow(1, URL, ("dog",)), ListRow(2, URL, ("cat",))]


@pytest.mark.parametrize("pack", PACK.values(), ids=PACK)
@pytest.mark.parametrize("damage", ["cut", "broken", "cut in the header"])
def test_a_damaged_one_ends_with_a_refusal_after_what_was_whole(pack: Pack, damage: str) -> None:
    pick = random.Random(1)
    body = bytearray(pack("".join(f"dog {pick.random()}\t{URL}?{pick.random()}\n" for _ in range(15_000)).encode()))
    if damage == "broken":
        body[len(body) // 2] ^= 0xFF
    entries = read(bytes(body[: {"cut": len(body) // 2, "cut in the header": 6}.get(damage)]), "tsv")

    *rows, last = entries
    assert "damaged or cut off here" in reasons([last])[len(entries)]
    assert damage == "broken" or reasons(rows) == {}
    assert (len(rows) > 1_000) == (damage != "cut in the header")


def test_a_list_that_takes_too_much_memory_to_unpack_says_so() -> None:
    options = {zstd.CompressionParameter.window_log: 30, zstd.CompressionParameter.enable_long_distance_matching: 1}
    packed = io.BytesIO()
    with zstd.ZstdFile(packed, "w", options=options) as file:
        file.write(b"dog\n")
        file.flush()
        file.write(b"cat\n")

    [refused] = read(packed.getvalue())

    assert "requires too much memory" in reasons([refused])[1]


@pytest.mark.parametrize(
    ("head", "word"),
    [(b"PK\x03\x04....", "ZIP"), (b"\xfd7zXZ\x00....", "xz -dc FILE")],
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


def test_a_named_pipe_is_a_list(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(gzip.compress(f"dog\t{URL}".encode()),))
    writer.start()

    opened = open_list(tmp_path / "pipe", caption_max_chars=MAX)

    assert opened.fingerprint is None
    assert list(opened.read(0)) == [ListRow(1, URL, ("dog",))]
    writer.join()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_told_by_its_mark(codec: str, packed: bool) -> None:
    mark = "" if codec == "utf-16" else "\ufeff"
    body = f"{mark}caption\turl\r\n\U0001f415 caf\xe9\t{URL}\r\n".encode(codec)

    assert read(gzip.compress(body) if packed else body) == [ListRow(2, URL, ("\U0001f415 caf\xe9",))]


def test_half_a_character_of_utf_16_costs_its_line_only() -> None:
    good = f"dog\t{URL}\n".encode("utf-16-le")
    half = f"a \udc15 dog\t{URL}\n".encode("utf-16-le", "surrogatepass")

    entries = read(b"\xff\xfe" + good + half + good + b"x")

    assert [type(entry) for entry in entries] == [ListRow, RefusedLine, ListRow, RefusedLine]


@pytest.mark.parametrize(("encoding", "byte", "text"), [("latin-1", 0x80, "\x80"), ("cp1252", 0x80, "\u20ac")])
def test_an_encoding_can_be_named(encoding: str, byte: int, text: str) -> None:
    body = b"caf\xe9 " + bytes([byte]) + f" dog\t{URL}\n".encode()

    assert read(body * 10_000, encoding=encoding)[-1] == ListRow(10_000, URL, (f"caf\xe9 {text} dog",))
    assert reasons(read(body)) == {1: "not UTF-8: byte 4 is 0xE9"}


def test_a_byte_that_is_none_of_the_encoding_costs_its_line_only() -> None:
    body = b"a \x81 dog\t" + URL.encode()

    assert reasons(read(body + b"\n" + body.replace(b"\x81", b"\xe9"), encoding="cp1252")) == {1: "not CP1252"}


def test_an_unknown_encoding_is_said() -> None:
    with pytest.raises(BadRequest, match=r"the encoding is one of utf-8, .*, not 'rot13'"):
        read("", encoding="rot13")


def test_a_file_tells_how_much_of_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "list.tsv.gz"
    path.write_bytes(gzip.compress("".join(f"{random.random()}\t{URL}\n" for _ in range(40_000)).encode()))
    opened = open_list(path, caption_max_chars=MAX)
    assert opened.share() is None

    shares = [opened.share() for entry in opened.read(0) if entry.line % 1_000 == 0]

    assert shares == sorted(shares, key=lambda share: share or 0)
    assert 0 < (shares[0] or 0) < 0.5
    assert opened.share() == 1.0
