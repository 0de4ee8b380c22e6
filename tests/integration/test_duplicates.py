"""Duplicates as data: what counts as the same, what a person says of it, and what stays as it is."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
from sqlalchemy import Engine, text

from clipgres import collections
from clipgres.collections import Collection
from clipgres.database import transaction
from clipgres.duplicates import Counts, decide, find_duplicates, has_changed, list_groups, looking
from clipgres.duplicates.hashes import differing_bits
from clipgres.errors import BadRequest, NotFound
from clipgres.schema import DuplicateKind
from tests.twins import DETAILED, Picture, flipped, put_pictures
from tests.vectors import make_collection, small_space

GROUPS_SQL = text("""
    SELECT array_agg(j.key ORDER BY j.image_id) AS keys
    FROM clipgres.duplicate d JOIN clipgres.job j USING (collection_id, image_id)
    WHERE d.kind = :kind AND d.collection_id = :collection GROUP BY d.group_id ORDER BY d.group_id
""")


@pytest.fixture
def collection(engine: Engine) -> Collection:
    """An empty one of three dimensions."""
    return make_collection(engine, 3)


def found(engine: Engine, collection: Collection, **rule: float) -> Counts:
    counts = find_duplicates(engine, collection, **rule)  # type: ignore[arg-type]
    assert counts is not None
    return counts


def groups(engine: Engine, collection: Collection, kind: str = "near") -> list[str]:
    with transaction(engine) as connection:
        rows = connection.execute(GROUPS_SQL, {"kind": kind, "collection": collection.id}).scalars()
        return [" ".join(keys) for keys in rows]


def at(degrees: float) -> Sequence[float]:
    """A vector so far from the first axis; 18 degrees are a cosine of 0.951."""
    return (float(np.cos(np.radians(degrees))), float(np.sin(np.radians(degrees))), 0.0)


def test_each_kind_has_groups_of_its_own(engine: Engine, collection: Collection) -> None:
    put_pictures(
        engine,
        collection,
        [
            Picture("moved", phash=flipped(DETAILED, 30), url="http://a/1", moved_to="http://b.org/2"),
            Picture("there", phash=flipped(DETAILED, 30, 1), vector=at(90), url="http://b.org/2"),
            Picture("moved-too", phash=flipped(DETAILED, 30, 2), vector=at(50), moved_to="http://b.org/2"),
            Picture("file", file="x", phash=0),
            Picture("same-file", file="x", phash=0),
            Picture("near", phash=DETAILED),
            Picture("nearer", phash=flipped(DETAILED, 6), vector=at(17)),
            Picture("other-hash", phash=flipped(DETAILED, 7)),
            Picture("other-vector", phash=DETAILED, vector=at(40)),
        ],
    )
    counts = found(engine, collection)
    assert counts == Counts(
        looked=9, groups={"url": 1, "bytes": 1, "near": 3}, images={"url": 3, "bytes": 2, "near": 7}
    )
    assert groups(engine, collection, "url") == ["moved there moved-too"]
    assert groups(engine, collection, "bytes") == ["file same-file"]
    assert groups(engine, collection) == ["moved there moved-too", "file same-file", "near nearer"]


def test_pictures_with_little_in_them_are_not_near(engine: Engine, collection: Collection) -> None:
    put_pictures(engine, collection, [Picture(f"blank-{n}", phash=n) for n in (0, 1, 2, 3)])
    assert found(engine, collection).groups == {}


def test_a_chain_of_small_steps_is_not_one_group(engine: Engine, collection: Collection) -> None:
    put_pictures(engine, collection, [Picture(f"{degrees}", vector=at(degrees)) for degrees in range(0, 90, 10)])
    found(engine, collection)
    # Those within 18 degrees of the first, then of the next that is left: never of one another.
    assert groups(engine, collection) == ["0 10", "20 30", "40 50", "60 70"]


def test_new_pictures_are_compared_with_all_and_what_was_found_stays(engine: Engine, collection: Collection) -> None:
    put_pictures(engine, collection, [Picture("a"), Picture("b", vector=at(60))])
    assert found(engine, collection).looked == 2
    put_pictures(
        engine, collection, [Picture("c", vector=at(5)), Picture("d", vector=at(64)), Picture("e", vector=at(1))]
    )
    with transaction(engine) as connection:
        assert has_changed(connection, collection)
    assert found(engine, collection).looked == 3
    assert groups(engine, collection) == ["a c e", "b d"]
    with transaction(engine) as connection:
        assert not has_changed(connection, collection)
    assert found(engine, collection).looked == 0
    assert groups(engine, collection) == ["a c e", "b d"]


def test_a_picture_that_changed_or_is_gone_is_looked_at_again_with_its_group(
    engine: Engine, collection: Collection
) -> None:
    a, _, _, gone, *_ = put_pictures(
        engine, collection, [Picture("a"), Picture("b"), Picture("c"), *(Picture(key, vector=at(60)) for key in "xyz")]
    )
    found(engine, collection)
    with transaction(engine) as connection:
        change = {"id": a, "phash": flipped(DETAILED, 20)}
        connection.execute(text("UPDATE clipgres.image SET phash = :phash WHERE id = :id"), change)
        connection.execute(text("DELETE FROM clipgres.job WHERE image_id = :id"), {"id": gone})
        assert has_changed(connection, collection)
    assert found(engine, collection).looked == 5
    assert groups(engine, collection) == ["b c", "y z"]


def test_a_picture_that_left_leaves_its_group(engine: Engine, collection: Collection) -> None:
    gone, *_ = put_pictures(engine, collection, [Picture("a"), Picture("b"), Picture("c")])
    decide(engine, collection, "a", "b", is_duplicate=True)
    found(engine, collection)
    with transaction(engine) as connection:
        assert not has_changed(connection, collection)
        connection.execute(text(f"DELETE FROM {collection.item_table} WHERE image_id = :id"), {"id": gone})
        assert has_changed(connection, collection)
    found(engine, collection)
    assert groups(engine, collection) == ["b c"]
    with transaction(engine) as connection:
        assert not has_changed(connection, collection)


def test_another_rule_looks_at_everything_anew_and_is_remembered(engine: Engine, collection: Collection) -> None:
    put_pictures(
        engine, collection, [Picture("a"), Picture("b", vector=at(25)), Picture("c", phash=flipped(DETAILED, 8))]
    )
    assert found(engine, collection).groups == {}
    assert found(engine, collection, score=0.9).looked == 3
    assert groups(engine, collection) == ["a b"]
    assert found(engine, collection, bits=8).looked == 3
    assert groups(engine, collection) == ["a b c"]
    put_pictures(engine, collection, [Picture("d", vector=at(25), phash=flipped(DETAILED, 8))])
    assert found(engine, collection).looked == 1
    assert groups(engine, collection) == ["a b c d"]


def test_one_session_at_a_time_finds(engine: Engine, collection: Collection) -> None:
    with engine.connect() as other:
        other.execute(text("SELECT pg_advisory_lock(:id, hashtext('clipgres.duplicates'))"), {"id": collection.id})
        assert find_duplicates(engine, collection) is None


@pytest.mark.parametrize("block", [40, 1_000])
def test_the_groups_are_those_of_plain_arithmetic(
    engine: Engine, collection: Collection, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "BLOCK", block)
    chance = random.Random(block)
    bases = [flipped(DETAILED, 30, seed) for seed in range(3)]
    pictures = [
        Picture(f"{n}", phash=flipped(chance.choice(bases), chance.randrange(5), n), vector=at(chance.randrange(360)))
        for n in range(250)
    ]
    put_pictures(engine, collection, pictures)
    found(engine, collection)
    assert groups(engine, collection) == [" ".join(keys) for keys in led(pictures) if len(keys) > 1]


def led(pictures: Sequence[Picture]) -> list[list[str]]:
    """The groups by the rule: each follows the nearest leader before it that is near, or leads."""
    half = np.array([picture.vector for picture in pictures], np.float16).astype(np.float64)
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    leading: dict[int, list[str]] = {}
    for place, picture in enumerate(pictures):
        near = [
            (-half[place] @ half[leader], leader)
            for leader in leading
            if differing_bits(np.array([picture.phash]), np.array([pictures[leader].phash]))[0] <= 6
            and half[place] @ half[leader] >= 0.95
        ]
        leading.setdefault(min(near)[1] if near else place, []).append(picture.key)
    return list(leading.values())


def test_a_person_has_the_last_word_for_ever(engine: Engine, collection: Collection) -> None:
    urls = {key: f"http://a.org/{key}" for key in "abcd"}
    pictures = [
        Picture("a", url=urls["a"]),
        Picture("b", url=urls["b"], file="same"),
        Picture("c", url=urls["c"], file="same"),
        Picture("d", url=urls["d"], vector=at(60)),
    ]
    put_pictures(engine, collection, pictures)
    found(engine, collection)
    assert groups(engine, collection) == ["a b c"]
    decide(engine, collection, "c", "a", is_duplicate=False)
    assert groups(engine, collection) == ["b c"]  # the same file stays together, and c is not with a
    decide(engine, collection, "b", "c", is_duplicate=False)
    assert groups(engine, collection) == ["a b"]
    assert groups(engine, collection, "bytes") == ["b c"]  # a fact, whatever is said of it
    decide(engine, collection, "d", "a", is_duplicate=True)
    assert groups(engine, collection) == ["a b d"]
    # The rows go, and the same URLs come again, into a collection of another model.
    with transaction(engine) as connection:
        collections.delete(connection, collection.name)
        other = collections.create(connection, "other", small_space(3))
    put_pictures(engine, other, pictures)
    found(engine, other)
    assert groups(engine, other) == ["a b d"]
    decide(engine, other, "d", "a", is_duplicate=False)
    assert groups(engine, other) == ["a b"]


def test_joined_groups_are_one_and_the_later_word_counts(engine: Engine, collection: Collection) -> None:
    put_pictures(engine, collection, [Picture(key, vector=at(60 * (n // 2))) for n, key in enumerate("abcd")])
    found(engine, collection)
    assert groups(engine, collection) == ["a b", "c d"]
    decide(engine, collection, "b", "d", is_duplicate=True)
    assert groups(engine, collection) == ["a b c d"]
    decide(engine, collection, "b", "d", is_duplicate=False)
    assert groups(engine, collection) == ["a b", "c d"]


def test_what_cannot_be_decided_on_is_refused(engine: Engine, collection: Collection) -> None:
    put_pictures(engine, collection, [Picture("a"), Picture("other", namespace="b")])
    with pytest.raises(BadRequest, match="one picture"):
        decide(engine, collection, "a", "a", is_duplicate=True)
    with pytest.raises(NotFound, match='no item "other"'):
        decide(engine, collection, "a", "other", is_duplicate=True)


def test_groups_are_listed_largest_first_and_near_ones_that_are_one_file_are_left_to_bytes(
    engine: Engine, collection: Collection
) -> None:
    files = [Picture(f"f{n}", file="x") for n in range(3)]
    put_pictures(engine, collection, [*files, *(Picture(f"n{n}", vector=at(60)) for n in range(5))])
    found(engine, collection)
    with transaction(engine) as connection:
        [same] = list_groups(connection, collection, DuplicateKind.BYTES)
        [near] = list_groups(connection, collection, DuplicateKind.NEAR)
    assert (same.pictures, same.files, same.bytes) == (3, 1, 3_000)
    assert [example["key"] for example in same.examples] == ["f0", "f1", "f2"]
    assert (near.pictures, near.files, len(near.examples)) == (5, 5, 3)
