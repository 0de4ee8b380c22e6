"""One chunk of a list into the tables, in the caller's transaction: images, jobs, captions, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, text

from clipgres.collections import Collection
from clipgres.database import driver_connection
from clipgres.errors import BadRequest
from clipgres.lists import Entry, ListRow, RefusedLine, excerpt
from clipgres.schema import KEY_MAX_BYTES, NAMESPACE_MAX_BYTES
from clipgres.urls import normalise_url


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a chunk: rows with a new URL, rows whose URL was there, and the lines that were refused."""

    accepted: int
    merged: int
    refused: Sequence[RefusedLine]


INCOMING_SQL = text("""
    CREATE TEMP TABLE incoming (
        line bigint, url text, url_key bytea, host text, captions text[], key text, namespace text, metadata jsonb,
        image_id bigint
    ) ON COMMIT DELETE ROWS
""")
COPY_SQL = "COPY incoming (line, url, url_key, host, captions, key, namespace, metadata) FROM STDIN"

# One at a time may give out the keys of a collection.
LOCK_KEYS_SQL = text("SELECT pg_advisory_xact_lock(hashtext('clipgres.job'), :collection)")
# Sorted by the unique key, so that two imports of the same URLs wait for each other instead of deadlocking.
IMAGES_SQL = text("""
    INSERT INTO clipgres.image (url, url_key, host)
    SELECT DISTINCT ON (url_key) url, url_key, host FROM incoming ORDER BY url_key, line
    ON CONFLICT (url_key) DO NOTHING
    RETURNING id
""")
# Scalar subqueries are index lookups whatever the planner thinks of the temporary table, which has no statistics.
RESOLVE_SQL = text("""
    UPDATE incoming n SET image_id = (SELECT im.id FROM clipgres.image im WHERE im.url_key = n.url_key)
""")
STANDING_SQL = text("""
    SELECT n.line, n.url, n.image_id, n.namespace, n.key IS NOT NULL AS names_key,
           coalesce(n.key, n.image_id::text) AS key,
           (SELECT true FROM clipgres.job j WHERE j.collection_id = :collection AND j.image_id = n.image_id) AS has_job,
           (SELECT j.image_id FROM clipgres.job j
            WHERE j.collection_id = :collection AND j.namespace = n.namespace
              AND j.key = coalesce(n.key, n.image_id::text)) AS owner
    FROM incoming n
    ORDER BY n.line
""")
DROP_LINES_SQL = text("DELETE FROM incoming WHERE line IN (SELECT unnest(CAST(:lines AS bigint[])))")
JOBS_SQL = text("""
    INSERT INTO clipgres.job (collection_id, image_id, namespace, key, metadata)
    SELECT :collection, image_id, namespace, coalesce(key, image_id::text), metadata
    FROM incoming
    WHERE line IN (SELECT unnest(CAST(:lines AS bigint[])))
    ORDER BY image_id
""")
CAPTIONS_SQL = text("""
    WITH added AS (
        INSERT INTO clipgres.caption (image_id, text)
        SELECT n.image_id, c.text
        FROM incoming n
        CROSS JOIN LATERAL unnest(n.captions) WITH ORDINALITY AS c (text, place)
        ORDER BY n.image_id, n.line, c.place
        ON CONFLICT (image_id, text_key) DO NOTHING
        RETURNING image_id
    )
    SELECT DISTINCT image_id FROM added
""")
# A worker that writes one of these images holds it, and sees the new caption only once this transaction has ended:
# either this lock waits for what it writes, or it waits for this transaction.
LOCK_IMAGES_SQL = text("SELECT FROM clipgres.image WHERE id = ANY (:images) ORDER BY id FOR SHARE")
# A row that is there is held as well: it must not be taken by who cannot see the new caption yet.
CAPTION_JOBS_SQL = text("""
    INSERT INTO clipgres.caption_job (collection_id, image_id)
    SELECT collection_id, image_id FROM clipgres.job
    WHERE image_id = ANY (:images) AND status = 'ok'
    ORDER BY image_id, collection_id
    ON CONFLICT (collection_id, image_id) DO UPDATE SET image_id = excluded.image_id
""")
BATCH_JOBS_SQL = text("""
    INSERT INTO clipgres.batch_job (batch_id, image_id, collection_id)
    SELECT DISTINCT CAST(:batch AS bigint), image_id, CAST(:collection AS integer) FROM incoming ORDER BY image_id
    ON CONFLICT DO NOTHING
""")


def create_incoming(connection: Connection) -> None:
    """Make the temporary table that chunks pass through; it is gone with the connection."""
    connection.execute(INCOMING_SQL)


def take_chunk(connection: Connection, collection: Collection, batch: int, chunk: Sequence[Entry]) -> Taken:
    """Write the rows of a chunk; those whose URL is there already add their captions to it."""
    ours = {"collection": collection.id, "batch": batch}
    unfit = _copy(connection, chunk)
    connection.execute(LOCK_KEYS_SQL, ours)
    new_images = connection.execute(IMAGES_SQL).scalars().all()
    connection.execute(RESOLVE_SQL)
    accepted, merged, taken_keys = _sort_out(connection.execute(STANDING_SQL, ours))
    connection.execute(DROP_LINES_SQL, {"lines": [line.line for line in taken_keys]})
    connection.execute(JOBS_SQL, {**ours, "lines": accepted})
    captioned = connection.execute(CAPTIONS_SQL).scalars().all()
    _want_vectors(connection, set(captioned).difference(new_images))
    connection.execute(BATCH_JOBS_SQL, ours)
    return Taken(len(accepted), merged, sorted(unfit + taken_keys, key=lambda line: line.line))


def _want_vectors(connection: Connection, images: Set[int]) -> None:
    """Note that new captions of images that were there want their vectors wherever the image is searchable already."""
    if images:
        for statement in (LOCK_IMAGES_SQL, CAPTION_JOBS_SQL):
            connection.execute(statement, {"images": list(images)})


def _copy(connection: Connection, chunk: Sequence[Entry]) -> list[RefusedLine]:
    """Send the rows of a chunk to the server; returns the lines that cannot go there."""
    refused = [entry for entry in chunk if isinstance(entry, RefusedLine)]
    with driver_connection(connection).cursor().copy(COPY_SQL) as copy:
        for row in (entry for entry in chunk if isinstance(entry, ListRow)):
            try:
                copy.write_row(_columns(row))
            except BadRequest as error:
                refused.append(RefusedLine(row.line, str(error), excerpt(row.url)))
    return refused


def _columns(row: ListRow) -> tuple[Any, ...]:
    """The columns of COPY_SQL.

    Raises:
        BadRequest: the URL, the key or the namespace does not fit.
    """
    if row.key is not None and len(row.key.encode()) > KEY_MAX_BYTES:
        raise BadRequest(f"the key is longer than {KEY_MAX_BYTES:,} bytes")
    if row.namespace is not None and len(row.namespace.encode()) > NAMESPACE_MAX_BYTES:
        raise BadRequest(f"the namespace is longer than {NAMESPACE_MAX_BYTES:,} bytes")
    url = normalise_url(row.url)
    metadata = json.dumps(row.metadata or {}, ensure_ascii=False)
    return row.line, url.url, url.key, url.host, list(row.captions), row.key, row.namespace or "", metadata


def _sort_out(rows: Iterable[Row[Any]]) -> tuple[list[int], int, list[RefusedLine]]:
    """Tell, in the order of the list, which lines make a job, how many are merged, and which name a taken key."""
    accepted: list[int] = []
    merged = 0
    refused: list[RefusedLine] = []
    added: set[int] = set()
    owners: dict[tuple[str, str], int] = {}
    for row in rows:
        is_new = not row.has_job and row.image_id not in added
        owner = owners.get((row.namespace, row.key), row.owner)
        if owner not in (None, row.image_id) and (is_new or row.names_key):
            refused.append(RefusedLine(row.line, f"the key {row.key!r} belongs to another URL", excerpt(row.url)))
        elif is_new:
            added.add(row.image_id)
            owners[row.namespace, row.key] = row.image_id
            accepted.append(row.line)
        else:
            merged += 1
    return accepted, merged, refused
