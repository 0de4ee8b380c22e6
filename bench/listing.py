"""Lists to import: seeded, with lines as long as those of Conceptual Captions, and what must come of each list."""

from __future__ import annotations

import bz2
import csv
import gzip
import json
import random
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from clipgres.optional import optional

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

COMMON = "a an the of in on at with and for from by is to".split()
SYLLABLES = "ba co di fe gru ha lin mo nar po ra sta ti ver wo".split()
ENDINGS = ("", "", "s", "ing", "ed", "er")
WORDS = 12_000
HOSTS = 20_000
PARQUET_ROWS = 50_000


@dataclass(frozen=True, slots=True)
class Expected:
    """What a list must come to."""

    lines: int
    accepted: int
    merged: int
    refused: int

    @property
    def captions(self) -> int:
        """Every line that is taken has a caption of its own."""
        return self.accepted + self.merged


def expected(lines: int) -> Expected:
    """The outcome of a list of so many lines."""
    refused = len(range(50, lines, 100))
    merged = len(range(49, lines, 50))
    return Expected(lines, lines - refused - merged, merged, refused)


def pairs(lines: int, seed: int) -> Iterator[tuple[str, str]]:
    """Captions and URLs: one line in fifty says a URL again, one in a hundred has no address."""
    pick = random.Random(seed)
    words = ["".join(pick.choices(SYLLABLES, k=pick.randint(1, 4))) for _ in range(WORDS)]
    for number in range(lines):
        if number % 100 == 50:
            yield "a line without", "an address"
            continue
        named = number - 1 if number % 50 == 49 else number
        yield f"{' '.join(_words(pick, words))} , {number}", _url(named, seed, words)


def _words(pick: random.Random, words: list[str]) -> Iterator[str]:
    """Words as a language has them: a few stand everywhere, most are rare."""
    for _ in range(pick.randint(4, 14)):
        is_common = pick.random() < 0.4
        yield pick.choice(COMMON) if is_common else words[int(WORDS * pick.random() ** 3)] + pick.choice(ENDINGS)


def _url(number: int, seed: int, words: list[str]) -> str:
    pick = random.Random(f"{seed} {number}")
    host = f"{words[pick.randrange(999)]}{int(HOSTS * pick.random() ** 4)}.example.com"
    slug = "-".join(pick.choices(words, k=pick.randint(1, 4)))
    query = f"?w=640&quality={pick.randrange(100)}" if pick.random() < 0.2 else ""
    return (
        f"https://{host}/uploads/{pick.randrange(2000, 2027)}/{pick.randrange(1, 13)}/{slug}-{seed}-{number}.jpg{query}"
    )


def write_tsv(stream: IO[str], rows: Iterable[tuple[str, str]]) -> None:
    """Caption TAB url, as Conceptual Captions has it."""
    stream.writelines(f"{caption}\t{url}\n" for caption, url in rows)


def write_csv(stream: IO[str], rows: Iterable[tuple[str, str]]) -> None:
    """Named columns; every caption holds a comma, and so is quoted."""
    writer = csv.writer(stream)
    writer.writerow(["caption", "url"])
    writer.writerows(rows)


def write_jsonl(stream: IO[str], rows: Iterable[tuple[str, str]]) -> None:
    """One object a line."""
    stream.writelines(json.dumps({"caption": caption, "url": url}) + "\n" for caption, url in rows)


def write_parquet(path: Path, rows: Iterable[tuple[str, str]]) -> None:
    """Two columns of text."""
    captions, urls = zip(*rows, strict=True)
    table = optional("pyarrow", extra="parquet").table({"caption": captions, "url": urls})
    optional("pyarrow.parquet", extra="parquet").write_table(table, path, row_group_size=PARQUET_ROWS)


TEXTS: dict[str, Callable[[IO[str], Iterable[tuple[str, str]]], None]] = {
    "tsv": write_tsv,
    "csv": write_csv,
    "jsonl": write_jsonl,
}
PACKERS: dict[str, Any] = {"": open, ".gz": gzip.open, ".zst": zstd.open, ".bz2": bz2.open}
PACKS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": zstd.compress, "bzip2": bz2.compress}
FORMS = ("tsv", "csv", "jsonl", "parquet", "tsv.gz", "tsv.zst", "tsv.bz2")


def write(path: Path, form: str, lines: int, seed: int) -> Path:
    """Write a list in one of the forms."""
    rows = pairs(lines, seed)
    if form == "parquet":
        write_parquet(path, rows)
        return path
    text, _, packed = form.partition(".")
    with PACKERS[f".{packed}" if packed else ""](path, "wt", encoding="utf-8", newline="") as stream:
        TEXTS[text](stream, rows)
    return path
