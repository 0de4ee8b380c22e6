"""Placeholders: suspected by many URLs of one file, decided by a person, and gone for good until that is undone."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest
from sqlalchemy import Engine, text

from clipgres import placeholders
from clipgres.captions import embed_captions
from clipgres.collections import Collection
from clipgres.database import transaction
from clipgres.errors import BadRequest, NotFound
from clipgres.jobs import claim
from clipgres.placeholders import bytes_of, decide, suspects
from clipgres.rechecks import claim_due, write_checks
from tests.fakes import FakeEncoder
from tests.ingest import add_urls, ends, items, new_collection, scalar
from tests.integration.test_writes import FACTS, claim_urls, ok, write
from tests.vectors import put_caption

BYTES = FACTS.sha256
OTHER = replace(FACTS, sha256=b"o" * 32)


@pytest.fixture
def filled(engine: Engine) -> tuple[Collection, list[int]]:
    """Five pictures, of which the first three are one file."""
    collection = new_collection(engine)
    images, token = claim_urls(engine, collection, 5)
    with transaction(engine) as connection:
        put_caption(connection, images[0], "a lost dog")
    same = [ok(image, seed=image) for image in images[:3]]
    write(
        engine,
        collection,
        token,
        *same,
        *(replace(ok(image), facts=replace(OTHER, sha256=bytes([image]) * 32)) for image in images[3:]),
    )
    return collection, images


def test_a_file_of_many_urls_is_a_suspect_and_nothing_more(
    engine: Engine, filled: tuple[Collection, list[int]]
) -> None:
    with transaction(engine) as connection:
        assert suspects(connection) == []
        [one] = suspects(connection, least=3)
    assert (one.sha256, one.urls, one.hosts, one.largest_hosts) == (BYTES.hex(), 3, 1, ["example.org"])
    assert (one.captions, one.is_placeholder, one.note) == (["a lost dog"], None, None)
    assert ends(engine, filled[0]) == {"ok": 5}


def test_what_is_decided_acts_on_what_is_there_in_every_collection_and_is_undone(
    engine: Engine, filled: tuple[Collection, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placeholders, "PORTION", 2)
    collection, _ = filled
    embed_captions(engine, collection, FakeEncoder(512))
    assert scalar(engine, f"SELECT count(*) FROM {collection.caption_table}") == 1
    other = new_collection(engine, "other")
    with transaction(engine) as connection:
        copy = "INSERT INTO clipgres.job (collection_id, image_id, key) SELECT :other, image_id, key FROM clipgres.job"
        connection.execute(text(copy), {"other": other.id})
    assert decide(engine, BYTES, is_placeholder=True, note="grey camera") == 3
    assert ends(engine, collection) == {"failed placeholder": 3, "ok": 2}
    assert items(engine, collection) == 2
    assert scalar(engine, f"SELECT count(*) FROM {collection.caption_table}") == 0
    assert scalar(engine, "SELECT count(*) FROM clipgres.image WHERE reason = 'placeholder' AND NOT is_valid") == 3
    assert ends(engine, other) == {"pending": 5}  # they end so when they come to be embedded
    assert decide(engine, BYTES, is_placeholder=True) == 0
    with transaction(engine) as connection:
        [one] = suspects(connection, least=3)
    assert (one.is_placeholder, one.note) == (True, "grey camera")
    assert decide(engine, BYTES, is_placeholder=False) == 3
    assert ends(engine, collection) == {"pending": 3, "ok": 2}
    assert scalar(engine, "SELECT count(*) FROM clipgres.image WHERE is_valid") == 5


def test_what_comes_later_fails_as_well_with_or_without_a_fetch(engine: Engine) -> None:
    collection = new_collection(engine)
    decide(engine, BYTES, is_placeholder=True)
    (first, second, third), token = claim_urls(engine, collection, 3)
    with transaction(engine) as connection:
        connection.execute(
            text("UPDATE clipgres.image SET sha256 = :bytes WHERE id = :id"), {"bytes": BYTES, "id": second}
        )
    # The second is embedded from its thumbnail: its bytes are known from another collection.
    written = write(
        engine, collection, token, ok(first), replace(ok(second), facts=None), replace(ok(third), facts=OTHER)
    )
    assert (written.ok, written.failed) == (1, 2)
    assert ends(engine, collection) == {"failed placeholder": 2, "ok": 1}
    assert items(engine, collection) == 1
    assert scalar(engine, "SELECT count(*) FROM clipgres.image WHERE is_valid") == 1


def test_an_item_goes_when_its_picture_has_become_a_placeholder(
    engine: Engine, filled: tuple[Collection, list[int]]
) -> None:
    collection, images = filled
    decide(engine, OTHER.sha256, is_placeholder=True)
    with transaction(engine) as connection:
        due = "UPDATE clipgres.job SET status = 'pending' WHERE image_id = :id"
        connection.execute(text(due), {"id": images[0]})
    with transaction(engine) as connection:
        claim(connection, collection.id, token := uuid4(), limit=1, lease_s=30)
    write(engine, collection, token, replace(ok(images[0]), facts=OTHER))
    assert ends(engine, collection) == {"failed placeholder": 1, "ok": 4}
    assert items(engine, collection) == 4


def test_a_later_look_brings_back_only_what_is_another_picture_by_then(
    engine: Engine, filled: tuple[Collection, list[int]]
) -> None:
    decide(engine, BYTES, is_placeholder=True)
    for facts, jobs in ((FACTS, 0), (OTHER, 1)):
        with transaction(engine) as connection:
            connection.execute(
                text("UPDATE clipgres.image SET next_check = now() WHERE id = :id"), {"id": filled[1][0]}
            )
            [due] = claim_due(connection, limit=1, lease_s=30)
            found = {due: replace(ok(due.image_id), facts=facts, embedding=None)}
            assert write_checks(connection, found, recheck_days=30).jobs == jobs
        assert ends(engine, filled[0])["failed placeholder"] == 3 - jobs


def test_bytes_are_named_by_themselves_or_by_a_key(engine: Engine, filled: tuple[Collection, list[int]]) -> None:
    collection, images = filled
    [new] = add_urls(engine, collection, ["http://example.org/new"])
    with transaction(engine) as connection:
        assert bytes_of(connection, collection, BYTES.hex().upper()) == BYTES
        assert bytes_of(connection, collection, str(images[0])) == BYTES
        with pytest.raises(NotFound):
            bytes_of(connection, collection, "none")
        with pytest.raises(BadRequest, match="never fetched"):
            bytes_of(connection, collection, str(new))
