"""Take a list into the tables: images, captions, jobs and the batch, streamed with COPY, resumable at any line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from psycopg.errors import ForeignKeyViolation, LockNotAvailable
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import IntegrityError, OperationalError

from clipgres import jobs
from clipgres.chunks import Taken, create_incoming, take_chunk
from clipgres.collections import Collection
from clipgres.database import translated_errors
from clipgres.errors import Conflict
from clipgres.lists import OpenedList, RefusedLine
from clipgres.prepared import CHUNK_ROWS, Chunk, prepared

KEPT_REFUSALS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """How far a batch's list was read, and what became of its rows.

    A row is accepted (its URL is new to the collection), merged (it was there) or refused. The counts are those of
    the whole batch; one that was taken up again had `resumed_at` lines behind it.
    """

    batch: int
    resumed_at: int = 0
    lines: int = 0
    accepted: int = 0
    merged: int = 0
    refused: int = 0


def enqueue(
    engine: Engine,
    collection: Collection,
    opened: OpenedList,
    *,
    on_opened: Callable[[Added], None] = lambda _added: None,
    on_progress: Callable[[Added], None] = lambda _added: None,
    on_refused: Callable[[RefusedLine], None] = lambda _line: None,
    chunk_rows: int = CHUNK_ROWS,
) -> Added:
    """Take every row of a list; each chunk is one transaction with its counts, so a stop loses and repeats nothing.

    A list whose batch was not finished is taken up where it stopped, as `on_opened` is told before anything is read.
    `on_refused` gets the lines of this run, from another thread and before they are counted: none is missed by a stop,
    and some may be told again after it.

    Raises:
        Conflict: the same list is being added by another process now, or the collection was deleted meanwhile.
    """
    with _own_connection(engine) as connection, ThreadPoolExecutor(1, "clipgres-enqueue") as writer:
        with connection.begin():
            added = _open_batch(connection, collection, opened)
            create_incoming(connection)
        on_opened(added)

        def write(chunk: Chunk, before: Added) -> Added:
            with connection.begin():
                taken = take_chunk(connection, collection, before.batch, chunk)
                for line in taken.refused:
                    on_refused(line)
                return _count(connection, before, taken, chunk.last)

        chunks = prepared(opened.read(added.resumed_at), chunk_rows)
        for now in _written(writer, write, chunks, added):
            added = now
            on_progress(added)
        with connection.begin():
            connection.execute(FINISH_SQL, {"batch": added.batch})
        return added


def _written(
    writer: Executor, write: Callable[[Chunk, Added], Added], chunks: Iterable[Chunk], before: Added
) -> Iterator[Added]:
    """Write one chunk after the other; the server works on each while this process reads the next one."""
    under_way: Future[Added] | None = None
    for chunk in chunks:
        if under_way is not None:
            before = under_way.result()
            yield before
        under_way = writer.submit(write, chunk, before)
    if under_way is not None:
        yield under_way.result()


OPEN_BATCH_SQL = text("""
    SELECT id, lines, accepted, merged, refused FROM clipgres.batch
    WHERE collection_id = :collection AND source = :source AND fingerprint = :fingerprint AND finished IS NULL
    ORDER BY id DESC LIMIT 1
""")
NEW_BATCH_SQL = text("""
    INSERT INTO clipgres.batch (collection_id, source, fingerprint) VALUES (:collection, :source, :fingerprint)
    RETURNING id
""")
FINISH_SQL = text("UPDATE clipgres.batch SET finished = now() WHERE id = :batch")
# A process that was killed holds its lock until its server process has noticed: that may take a slow disk a while.
LOCK_TIMEOUT_SQL = text("SET LOCAL lock_timeout = '10s'")
LOCK_SOURCE_SQL = text("SELECT pg_advisory_lock(hashtextextended('clipgres.enqueue ' || :source, :collection))")


REFUSED_SQL = text("""
    INSERT INTO clipgres.refused_line (batch_id, line, reason, excerpt) VALUES (:batch, :line, :reason, :excerpt)
""")
COUNTS_SQL = text("""
    UPDATE clipgres.batch SET lines = :lines, accepted = :accepted, merged = :merged, refused = :refused
    WHERE id = :batch
""")


def _open_batch(connection: Connection, collection: Collection, opened: OpenedList) -> Added:
    parameters = {"collection": collection.id, "source": opened.name, "fingerprint": opened.fingerprint}
    if opened.fingerprint is not None:
        _lock_source(connection, parameters, opened.name)
        row = connection.execute(OPEN_BATCH_SQL, parameters).first()
        if row is not None:
            return Added(
                batch=row.id,
                resumed_at=row.lines,
                lines=row.lines,
                accepted=row.accepted,
                merged=row.merged,
                refused=row.refused,
            )
    return Added(batch=connection.execute(NEW_BATCH_SQL, parameters).scalar_one())


def _lock_source(connection: Connection, parameters: dict[str, Any], name: str) -> None:
    connection.execute(LOCK_TIMEOUT_SQL)
    try:
        connection.execute(LOCK_SOURCE_SQL, parameters)
    except OperationalError as error:
        if isinstance(error.orig, LockNotAvailable):
            raise Conflict(f"{name} is being added to this collection by another process now") from error
        raise


def _count(connection: Connection, before: Added, taken: Taken, lines: int) -> Added:
    """Add a chunk to the counts of its batch, in its transaction, and keep the first lines that were refused."""
    after = replace(
        before,
        lines=lines,
        accepted=before.accepted + taken.accepted,
        merged=before.merged + taken.merged,
        refused=before.refused + len(taken.refused),
    )
    kept = taken.refused[: max(0, KEPT_REFUSALS - before.refused)]
    if kept:
        connection.execute(REFUSED_SQL, [{"batch": before.batch, **asdict(line)} for line in kept])
    connection.execute(COUNTS_SQL, asdict(after))
    jobs.announce(connection)
    return after


@contextmanager
def _own_connection(engine: Engine) -> Iterator[Connection]:
    """A connection that is closed at the end, and its lock and temporary table with it."""
    with translated_errors(), engine.connect() as connection:
        try:
            yield connection
        except IntegrityError as error:
            if isinstance(error.orig, ForeignKeyViolation):
                raise Conflict("the collection or images of it were deleted meanwhile; add the list again") from error
            raise
        finally:
            connection.invalidate()
