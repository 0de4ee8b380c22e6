"""The vectors of captions: which are wanted, that each is made once, and that nothing loses one."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from uuid import UUID, uuid4

import numpy as np
import pytest
from sqlalchemy import Connection, Engine, event, text

from clipgres.captions import are_captions_waiting, collections_with_captions, embed_captions
from clipgres.chunks import create_incoming, take_chunk
from clipgres.collections import Collection, delete
from clipgres.database import transaction
from clipgres.encoder import Vectors
from clipgres.errors import ModelError, Unavailable
from clipgres.jobs import claim
from clipgres.lists import ListRow
from clipgres.prepared import prepared
from clipgres.reasons import Reason
from clipgres.schema import JobStatus
from clipgres.statistics import collection_statistics
from clipgres.writes import Outcome, write_outcomes
from tests.adding import add, query
from tests.fakes import FakeEncoder
from tests.ingest import new_collection, wait_until

URL = "http://a/1.jpg"
WAITING = "SELECT collection_id, image_id FROM clipgres.caption_job ORDER BY 1, 2"
LOCK_WAITERS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
KILL = text("""
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
""")


class Picky(FakeEncoder):
    """Fails on `impossible`, has only zeros for `nonsense`, and with `is_broken` for everything."""

    is_broken = False

    def text(self, texts: Sequence[str]) -> Vectors:
        """See `Encoder`."""
        if "impossible" in texts:
            raise RuntimeError("impossible")
        zeros = np.array([self.is_broken or each == "nonsense" for each in texts])
        return np.where(zeros[:, None], 0, super().text(texts)).astype(np.float32)


class Held(FakeEncoder):
    """Comes to an end only when it is let go."""

    def __init__(self, dimension: int) -> None:
        super().__init__(dimension)
        self.is_at_it, self.may_go_on = Event(), Event()

    def text(self, texts: Sequence[str]) -> Vectors:
        """See `Encoder`."""
        self.is_at_it.set()
        assert self.may_go_on.wait(20)
        return super().text(texts)


@pytest.fixture
def encoder() -> FakeEncoder:
    return FakeEncoder(dimension=8)


@pytest.fixture
def collection(engine: Engine, encoder: FakeEncoder) -> Collection:
    return new_collection(engine, space=encoder.space)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def rows(*captions: str) -> list[dict[str, object]]:
    return [{"url": f"http://a/{number}.jpg", "caption": caption} for number, caption in enumerate(captions)]


def take(engine: Engine, collection: Collection) -> tuple[UUID, list[int]]:
    """Claim what is due, under which token."""
    token = uuid4()
    with transaction(engine) as connection:
        claimed = claim(connection, collection.id, token, limit=1_000, lease_s=30)
    return token, [job.image_id for job in claimed]


def write(connection: Connection, collection: Collection, token: UUID, images: Sequence[int]) -> None:
    """Write that these pictures are there, as a worker does."""
    vector = np.full(collection.space.dimension, collection.space.dimension**-0.5, np.float32)
    outcomes = [Outcome(image_id=image, status=JobStatus.OK, embedding=vector) for image in images]
    write_outcomes(connection, collection, token, outcomes, recheck_days=30)


def finish(engine: Engine, collection: Collection) -> None:
    token, images = take(engine, collection)
    with transaction(engine) as connection:
        write(connection, collection, token, images)


def add_and_finish(engine: Engine, collection: Collection, *captions: str) -> None:
    add(engine, collection, *rows(*captions))
    finish(engine, collection)


def captioned(engine: Engine, collection: Collection) -> dict[str, Vectors]:
    """The vectors of captions, by text."""
    sql = f"SELECT c.text, e.embedding FROM {collection.caption_table} e JOIN clipgres.caption c ON c.id = e.caption_id"
    return {caption: vector.to_numpy().astype(np.float32) for caption, vector in query(engine, sql)}


def caption_again(connection: Connection, collection: Collection, caption: str) -> None:
    """Add a caption to the picture of URL, as a chunk of an import does."""
    create_incoming(connection)
    batch = connection.execute(
        text("INSERT INTO clipgres.batch (collection_id, source) VALUES (:id, 'test') RETURNING id"),
        {"id": collection.id},
    ).scalar_one()
    [chunk] = prepared([ListRow(1, URL, (caption,))])
    take_chunk(connection, collection, batch, chunk)


def waits_for_a_lock(engine: Engine) -> bool:
    return wait_until(lambda: query(engine, LOCK_WAITERS) == [1], 10)


def test_an_image_that_becomes_searchable_wants_the_vectors_of_its_captions(
    engine: Engine, collection: Collection
) -> None:
    add(engine, collection, *rows("red"), {"url": "http://a/bare.jpg"})
    assert query(engine, WAITING) == []
    finish(engine, collection)
    assert query(engine, WAITING) == query(
        engine, "SELECT collection_id, image_id FROM clipgres.job JOIN clipgres.caption USING (image_id)"
    )


def test_an_image_that_is_not_there_wants_none(engine: Engine, collection: Collection) -> None:
    add(engine, collection, *rows("red"))
    token, [image] = take(engine, collection)
    gone = Outcome(image_id=image, status=JobStatus.FAILED, reason=Reason.NOT_FOUND)
    with transaction(engine) as connection:
        write_outcomes(connection, collection, token, [gone], recheck_days=30)
    assert query(engine, WAITING) == []


def test_each_caption_gets_the_vector_of_its_text(engine: Engine, collection: Collection, encoder: FakeEncoder) -> None:
    add_and_finish(engine, collection, "red", "two dogs")
    add(engine, collection, {"url": "http://a/0.jpg", "captions": ["a rose", "a tulip"]})
    assert embed_captions(engine, collection, encoder) == 2
    found = captioned(engine, collection)
    assert len(found) == 4
    for caption, vector in found.items():
        assert vector == pytest.approx(encoder.text([caption])[0], abs=1e-3)
    assert query(engine, WAITING) == []
    assert embed_captions(engine, collection, encoder) == 0


def test_only_so_many_images_are_taken_at_once(engine: Engine, collection: Collection, encoder: FakeEncoder) -> None:
    add_and_finish(engine, collection, "red", "blue", "green")
    assert [embed_captions(engine, collection, encoder, limit=2) for _ in range(3)] == [2, 1, 0]


def test_many_captions_of_one_image_come_through(
    engine: Engine, collection: Collection, encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clipgres.captions.EMBEDDED_CAPTIONS", 4)
    add(engine, collection, {"url": URL, "captions": [f"view {number}" for number in range(10)]})
    finish(engine, collection)
    assert embed_captions(engine, collection, encoder) == 1
    assert len(captioned(engine, collection)) == 10


def test_a_caption_added_later_is_wanted_wherever_the_image_is_searchable(
    engine: Engine, collection: Collection, encoder: FakeEncoder
) -> None:
    ready, waiting = (new_collection(engine, name, encoder.space) for name in ("ready", "waiting"))
    for each in (collection, ready, waiting):
        add(engine, each, {"url": URL, "caption": "red"})
    for each in (collection, ready):
        finish(engine, each)
        embed_captions(engine, each, encoder)
    add(engine, waiting, {"url": URL, "captions": ["red", "a rose"]})
    assert [row[0] for row in query(engine, WAITING)] == [collection.id, ready.id]
    embed_captions(engine, ready, encoder)
    assert set(captioned(engine, ready)) == {"red", "a rose"}
    assert set(captioned(engine, collection)) == {"red"}


def test_the_same_list_again_wants_nothing(engine: Engine, collection: Collection, encoder: FakeEncoder) -> None:
    add_and_finish(engine, collection, "red", "blue")
    embed_captions(engine, collection, encoder)
    add(engine, collection, *rows("red", "blue"))
    assert query(engine, WAITING) == []


def test_a_picture_embedded_again_leaves_its_captions_alone(
    engine: Engine, collection: Collection, encoder: FakeEncoder
) -> None:
    add_and_finish(engine, collection, "red")
    embed_captions(engine, collection, encoder)
    query(engine, "UPDATE clipgres.job SET status = 'pending'")
    finish(engine, collection)
    assert query(engine, WAITING) == []


def test_two_workers_do_each_caption_once(
    engine: Engine, collection: Collection, pool: ThreadPoolExecutor, encoder: FakeEncoder
) -> None:
    captions = [f"number {number}" for number in range(60)]
    add_and_finish(engine, collection, *captions)

    def work(own: FakeEncoder) -> int:
        while embed_captions(engine, collection, own, limit=4):
            pass
        return own.texts_seen

    assert sum(pool.map(work, [FakeEncoder(8), FakeEncoder(8)])) == 60
    assert set(captioned(engine, collection)) == set(captions)
    assert query(engine, WAITING) == []


def test_what_is_in_anothers_hands_is_passed_over(
    engine: Engine, collection: Collection, pool: ThreadPoolExecutor, encoder: FakeEncoder
) -> None:
    add_and_finish(engine, collection, "red")
    held = Held(8)
    other = pool.submit(embed_captions, engine, collection, held)
    assert held.is_at_it.wait(10)
    assert embed_captions(engine, collection, encoder) == 0
    with transaction(engine) as connection:
        assert are_captions_waiting(connection, collection.id)
        assert collections_with_captions(connection) == [collection.id]
    held.may_go_on.set()
    assert other.result(20) == 1


def test_a_worker_killed_in_the_midst_loses_nothing(
    engine: Engine, database_url: str, collection: Collection, encoder: FakeEncoder
) -> None:
    class Killed(FakeEncoder):
        def text(self, texts: Sequence[str]) -> Vectors:
            with transaction(engine) as connection:
                connection.execute(KILL)
            return super().text(texts)

    add_and_finish(engine, collection, "red", "blue")
    with pytest.raises(Unavailable):
        embed_captions(engine, collection, Killed(8))
    assert len(query(engine, WAITING)) == 2
    assert captioned(engine, collection) == {}
    assert embed_captions(engine, collection, encoder) == 2


def test_a_caption_without_a_usable_vector_is_left_out(
    engine: Engine, collection: Collection, caplog: pytest.LogCaptureFixture
) -> None:
    add_and_finish(engine, collection, "red", "nonsense", "impossible")
    with caplog.at_level(logging.WARNING):
        assert embed_captions(engine, collection, Picky(8)) == 3
    assert set(captioned(engine, collection)) == {"red"}
    assert query(engine, WAITING) == []
    assert "2 captions get no vector" in caplog.text


def test_one_caption_alone_that_has_no_vector_is_not_held_against_the_model(
    engine: Engine, collection: Collection
) -> None:
    add_and_finish(engine, collection, "impossible")
    assert embed_captions(engine, collection, Picky(8)) == 1
    assert query(engine, WAITING) == []


def test_a_model_that_fails_on_every_text_leaves_the_captions_waiting(engine: Engine, collection: Collection) -> None:
    add_and_finish(engine, collection, "red", "blue")
    broken = Picky(8)
    broken.is_broken = True
    with pytest.raises(ModelError, match="for any text"):
        embed_captions(engine, collection, broken)
    assert len(query(engine, WAITING)) == 2


def test_a_worker_that_writes_waits_for_an_import_and_sees_its_caption(
    engine: Engine, collection: Collection, pool: ThreadPoolExecutor
) -> None:
    add(engine, collection, {"url": URL})
    token, images = take(engine, collection)

    def write_now() -> None:
        with transaction(engine) as connection:
            write(connection, collection, token, images)

    with transaction(engine) as importing:
        caption_again(importing, collection, "late")
        writing = pool.submit(write_now)
        assert waits_for_a_lock(engine)
    writing.result(20)
    assert len(query(engine, WAITING)) == 1


def test_an_import_waits_for_a_worker_that_writes_and_sees_its_image(
    engine: Engine, collection: Collection, pool: ThreadPoolExecutor
) -> None:
    add(engine, collection, {"url": URL})
    token, images = take(engine, collection)
    with transaction(engine) as writing:
        write(writing, collection, token, images)
        importing = pool.submit(add, engine, collection, {"url": URL, "caption": "late"})
        assert waits_for_a_lock(engine)
    importing.result(20)
    assert len(query(engine, WAITING)) == 1


def test_a_caption_added_while_others_of_its_image_are_embedded_is_not_lost(
    engine: Engine, collection: Collection, pool: ThreadPoolExecutor, encoder: FakeEncoder
) -> None:
    add(engine, collection, {"url": URL, "caption": "early"})
    finish(engine, collection)
    held = Held(8)
    embedding = pool.submit(embed_captions, engine, collection, held)
    assert held.is_at_it.wait(10)
    importing = pool.submit(add, engine, collection, {"url": URL, "caption": "late"})
    assert waits_for_a_lock(engine)
    held.may_go_on.set()
    assert (embedding.result(20), importing.result(20).merged) == (1, 1)
    assert embed_captions(engine, collection, encoder) == 1
    assert set(captioned(engine, collection)) == {"early", "late"}


def test_nobody_takes_an_image_whose_new_caption_is_not_there_to_see_yet(
    engine: Engine, collection: Collection, encoder: FakeEncoder
) -> None:
    add(engine, collection, {"url": URL, "caption": "early"})
    finish(engine, collection)
    with transaction(engine) as importing:
        caption_again(importing, collection, "late")
        assert embed_captions(engine, collection, encoder) == 0
    assert embed_captions(engine, collection, encoder) == 1
    assert set(captioned(engine, collection)) == {"early", "late"}


def test_deleting_a_collection_takes_its_captions_along(
    engine: Engine, collection: Collection, encoder: FakeEncoder
) -> None:
    other = new_collection(engine, "other", encoder.space)
    for each in (collection, other):
        add_and_finish(engine, each, "red", "blue")
    embed_captions(engine, collection, encoder, limit=1)
    with transaction(engine) as connection:
        delete(connection, collection.name)
    assert [row[0] for row in query(engine, WAITING)] == [other.id, other.id]
    assert embed_captions(engine, collection, encoder) == 0
    assert embed_captions(engine, other, encoder) == 2


def test_an_import_of_new_pictures_asks_for_nothing_of_the_kind(engine: Engine, collection: Collection) -> None:
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    add(engine, collection, *rows("red", "blue"))
    assert not [statement for statement in statements if "caption_job" in statement or "FOR SHARE" in statement]


def test_the_statistics_count_them(engine: Engine, collection: Collection, encoder: FakeEncoder) -> None:
    add_and_finish(engine, collection, "red", "blue", "green")
    embed_captions(engine, collection, encoder, limit=1)
    with transaction(engine) as connection:
        found = collection_statistics(connection, collection)
    assert (found.items, found.captions, found.captions_waiting) == (3, 1, 2)
    assert found.caption_index.name == collection.caption_index_name
    assert not found.caption_index.is_there
