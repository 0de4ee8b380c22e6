"""Take a list into the tables: images, captions, jobs and the batch, streamed with COPY, resumable at any line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, text

from clipgres.collections import Collection
from clipgres.errors import BadRequest, Conflict
from clipgres.lists import ListRow, RefusedLine
from clipgres.schema import KEY_MAX_BYTES, NAMESPACE_MAX_BYTES
from clipgres.urls import NormalUrl, normalise

CHUNK_ROWS = 5_000
KEPT_REFUSALS = 1_000
FINGERPRINT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Source:
    """Where a list comes from; one with a fingerprint can be taken up again where it stopped."""

    name: str
    fingerprint: str | None = None


@dataclass(slots=True)
class Added:
    """What became of the lines: each was accepted (a new URL), merged (a known one) or refused."""

    batch: int
    resumed_at: int = 0
    lines: int = 0
    accepted: int = 0
    merged: int = 0
    refused: int = 0
    refusals: list[RefusedLine] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class OpenBatch:
    """A batch that is being read, and the physical line to go on after."""

    id: int
    lines_done: int


def file_source(path: Path) -> Source:
    """A file as a source: the same name, size and first megabyte are the same list."""
    with path.open("rb") as stream:
        digest = hashlib.sha256(stream.read(FINGERPRINT_BYTES))
    digest.update(str(path.stat().st_size).encode())
    return Source(str(path.resolve()), digest.hexdigest())


def enqueue(
    engine: Engine,
    collection: Collection,
    source: Source,
    read: Callable[[int], Iterable[ListRow | RefusedLine]],
    on_progress: Callable[[Added], None] = lambda _added: None,
) -> Added:
    """Take every row that `read(lines_done)` yields; each chunk is one transaction, so a stop loses nothing.

    Raises:
        Conflict: the same list is being read by another process now.
    """
    with engine.connect() as connection:
        batch = _open_batch(connection, collection, source)
        connection.commit()
        added = Added(batch.id, resumed_at=batch.lines_done)
        rows = iter(read(batch.lines_done))
        connection.execute(INCOMING_SQL)
        connection.commit()
        while chunk := list(islice(rows, CHUNK_ROWS)):
            _take_chunk(connection, collection, chunk, added)
            connection.commit()
            on_progress(added)
        connection.execute(FINISH_SQL, {"batch": batch.id})
        connection.commit()
        return added


OPEN_BATCH_SQL = text("""
    SELECT id, lines FROM clipgres.batch
    WHERE collection_id = :collection AND source = :source AND fingerprint = :fingerprint AND finished IS NULL
    ORDER BY id DESC LIMIT 1
""")
NEW_BATCH_SQL = text("""
    INSERT INTO clipgres.batch (collection_id, source, fingerprint) VALUES (:collection, :source, :fingerprint)
    RETURNING id
""")
FINISH_SQL = text("UPDATE clipgres.batch SET finished = now() WHERE id = :batch")

INCOMING_SQL = text("""
    CREATE TEMP TABLE IF NOT EXISTS incoming (
        line bigint, url text, url_key bytea, host text, captions text[], key text, namespace text, metadata jsonb
    ) ON COMMIT DELETE ROWS
""")
COPY_SQL = "COPY incoming (line, url, url_key, host, captions, key, namespace, metadata) FROM STDIN"

# Sorted by the unique key, so that two imports of the same URLs wait for each other instead of deadlocking.
IMAGES_SQL = text("""
    INSERT INTO clipgres.image (url, url_key, host)
    SELECT DISTINCT ON (url_key) url, url_key, host FROM incoming ORDER BY url_key, line
    ON CONFLICT (url_key) DO NOTHING
""")
JOBS_SQL = text("""
    INSERT INTO clipgres.job (collection_id, image_id, namespace, key, metadata)
    SELECT DISTINCT ON (im.id) :collection, im.id, n.namespace, coalesce(n.key, im.id::text), n.metadata
    FROM incoming n
    JOIN clipgres.image im USING (url_key)
    ORDER BY im.id, n.line
    ON CONFLICT DO NOTHING
""")
# A row whose job is not there after JOBS_SQL lost its key to another URL.
TAKEN_KEYS_SQL = text("""
    DELETE FROM incoming n
    USING clipgres.image im
    WHERE im.url_key = n.url_key
      AND NOT EXISTS (SELECT 1 FROM clipgres.job j WHERE j.collection_id = :collection AND j.image_id = im.id)
    RETURNING n.line, coalesce(n.key, im.id::text) AS key, left(n.url, 120) AS url
""")
CAPTIONS_SQL = text("""
    INSERT INTO clipgres.caption (image_id, text)
    SELECT im.id, c.text
    FROM incoming n
    JOIN clipgres.image im USING (url_key)
    CROSS JOIN LATERAL unnest(n.captions) WITH ORDINALITY AS c (text, place)
    ORDER BY im.id, n.line, c.place
    ON CONFLICT (image_id, text_key) DO NOTHING
""")
BATCH_JOBS_SQL = text("""
    INSERT INTO clipgres.batch_job (batch_id, image_id, collection_id)
    SELECT DISTINCT :batch, im.id, :collection
    FROM incoming n
    JOIN clipgres.image im USING (url_key)
    ON CONFLICT DO NOTHING
""")
REFUSED_SQL = text("""
    INSERT INTO clipgres.refused_line (batch_id, line, reason, excerpt) VALUES (:batch, :line, :reason, :excerpt)
    ON CONFLICT DO NOTHING
""")
COUNTS_SQL = text("""
    UPDATE clipgres.batch
    SET lines = greatest(lines, :last), accepted = accepted + :accepted, merged = merged + :merged,
        refused = refused + :refused
    WHERE id = :batch
""")
# Wakes the feeder; a lost wake-up costs seconds, since it also looks by itself.
NOTIFY_SQL = text("NOTIFY clipgres_work")


def _open_batch(connection: Connection, collection: Collection, source: Source) -> OpenBatch:
    parameters = {"collection": collection.id, "source": source.name, "fingerprint": source.fingerprint}
    if source.fingerprint is not None:
        lock = {"key": f"{collection.id}/{source.name}"}
        if not connection.execute(text("SELECT pg_try_advisory_lock(hashtextextended(:key, 4712))"), lock).scalar_one():
            raise Conflict(f"{source.name} is being added to this collection by another process now")
        row = connection.execute(OPEN_BATCH_SQL, parameters).first()
        if row is not None:
            return OpenBatch(row.id, row.lines)
    return OpenBatch(connection.execute(NEW_BATCH_SQL, parameters).scalar_one(), 0)


def _take_chunk(
    connection: Connection, collection: Collection, chunk: list[ListRow | RefusedLine], added: Added
) -> None:
    refused = [entry for entry in chunk if isinstance(entry, RefusedLine)]
    accepted_rows = 0
    cursor = connection.connection.cursor()
    with cursor.copy(COPY_SQL) as copy:  # type: ignore[attr-defined]
        for row in (entry for entry in chunk if isinstance(entry, ListRow)):
            checked = _checked(row)
            if isinstance(checked, RefusedLine):
                refused.append(checked)
            else:
                copy.write_row(_copied(row, checked))
                accepted_rows += 1
    ours = {"collection": collection.id, "batch": added.batch}
    connection.execute(IMAGES_SQL)
    new_jobs = connection.execute(JOBS_SQL, ours).rowcount
    for line, key, url in connection.execute(TAKEN_KEYS_SQL, ours):
        refused.append(RefusedLine(line, f'the key "{key}" belongs to another URL of this collection', url))
        accepted_rows -= 1
    connection.execute(CAPTIONS_SQL)
    connection.execute(BATCH_JOBS_SQL, ours)
    _keep_refusals(connection, refused, added)
    counts = {"accepted": new_jobs, "merged": accepted_rows - new_jobs, "refused": len(refused)}
    connection.execute(COUNTS_SQL, {**ours, **counts, "last": chunk[-1].line})
    connection.execute(NOTIFY_SQL)
    added.lines += len(chunk)
    added.accepted += new_jobs
    added.merged += accepted_rows - new_jobs
    added.refused += len(refused)


def _checked(row: ListRow) -> NormalUrl | RefusedLine:
    if row.key is not None and not 1 <= len(row.key.encode()) <= KEY_MAX_BYTES:
        return RefusedLine(row.line, f"the key is empty or longer than {KEY_MAX_BYTES} bytes", row.key[:120])
    if len((row.namespace or "").encode()) > NAMESPACE_MAX_BYTES:
        return RefusedLine(row.line, f"the namespace is longer than {NAMESPACE_MAX_BYTES} bytes", row.url[:120])
    try:
        return normalise(row.url)
    except BadRequest as error:
        return RefusedLine(row.line, str(error), _printable(row.url[:120]))


def _copied(row: ListRow, url: NormalUrl) -> tuple[Any, ...]:
    metadata = json.dumps(row.metadata or {}, ensure_ascii=False)
    return row.line, url.url, url.key, url.host, list(row.captions), row.key, row.namespace or "", metadata


def _keep_refusals(connection: Connection, refused: list[RefusedLine], added: Added) -> None:
    room = KEPT_REFUSALS - len(added.refusals)
    kept = sorted(refused, key=lambda entry: entry.line)[:room]
    added.refusals.extend(kept)
    if kept:
        rows = [{"batch": added.batch, "line": r.line, "reason": r.reason, "excerpt": r.excerpt} for r in kept]
        connection.execute(REFUSED_SQL, rows)


def _printable(value: str) -> str:
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in value)


def single_url(url: str, captions: tuple[str, ...] = ()) -> Callable[[int], Iterator[ListRow | RefusedLine]]:
    """One URL as a list of one line."""
    return lambda _lines_done: iter([ListRow(line=1, url=url, captions=captions)])
