"""Text of strangers on its way into the tables: kept as it is, or refused with its line."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from sqlalchemy import Engine

from clipgres.collections import Collection
from clipgres.enqueue import enqueue
from clipgres.lists import RefusedLine, open_list, open_rows
from tests.adding import add, collection_named, query

ROOT = Path(__file__).parents[2]
URL = "http://a/1.jpg"
COUNTS = "SELECT lines, accepted, merged, refused, finished IS NOT NULL FROM clipgres.batch ORDER BY id"


@pytest.fixture
def collection(engine: Engine) -> Collection:
    return collection_named(engine)


def test_bad_urls_keys_and_namespaces_are_refused_with_their_line(engine: Engine, collection: Collection) -> None:
    bad = [{"url": "http://"}, {"url": URL, "key": "ü" * 513}, {"url": URL, "namespace": "n" * 513}]
    lines: list[RefusedLine] = []

    opened = open_rows([*bad, {"url": URL}], "test", caption_max_chars=100)
    added = enqueue(engine, collection, opened, on_refused=lines.append)

    assert (added.accepted, added.refused) == (1, 3)
    assert [line.line for line in lines] == [1, 2, 3]
    assert "no host" in lines[0].reason
    assert [line.reason for line in lines[1:]] == [
        "the key is longer than 1,024 bytes",
        "the namespace is longer than 512 bytes",
    ]


def test_hostile_text_goes_in_and_comes_out_as_it_was(engine: Engine, collection: Collection) -> None:
    captions = ["\\N", "a\tb", "a\nb", '{a,"b"}', "\\.", "'; DROP TABLE job; --", "🐕 שלום e\u0301", "\x7f\u2028\x7f"]

    add(engine, collection, {"url": URL, "captions": captions, "note": captions})

    assert query(engine, "SELECT text FROM clipgres.caption ORDER BY id") == captions
    assert query(engine, "SELECT metadata FROM clipgres.job") == [{"note": captions}]


def test_text_of_any_script_comes_out_of_a_file_as_it_was(
    engine: Engine, collection: Collection, tmp_path: Path
) -> None:
    pick = random.Random(5)
    characters = [chr(code) for code in range(1, 0x11000) if not 0xD800 <= code < 0xE000]
    captions = [f"<{''.join(pick.choices(characters, k=30))}>" for _ in range(400)]
    path = tmp_path / "list.jsonl"
    path.write_text("".join(json.dumps({"url": URL, "caption": each, "key": "k"}) + "\n" for each in captions))

    added = enqueue(engine, collection, open_list(path, caption_max_chars=100), chunk_rows=50)

    assert (added.accepted, added.merged) == (1, 399)
    assert query(engine, "SELECT text FROM clipgres.caption ORDER BY id") == captions
