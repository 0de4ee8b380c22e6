"""One chunk of a list into the tables, in the caller's transaction: images, jobs, captions, and what is refused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from clipgres.collections import Collection
from clipgres.database import driver_connection
from clipgres.lists import RefusedLine, excerpt
from clipgres.prepared import Chunk


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a chunk: rows with a new URL, rows whose URL was there, and the lines that were refused."""

    accepted: int
    merged: int
    refused: Sequence[RefusedLine]


INCOMING_SQL = text("""
    CREATE TEMP TABLE incoming (
        line bigint, url text, url_key bytea, host text, captions jsonb, key text, namespace text, metadata jsonb,
        image_id bigint, is_new boolean
    ) ON COMMIT DELETE ROWS
""")
COPY_SQL = "COPY incoming (line, url, url_key, host, captions, key, namespace, metadata) FROM STDIN"

# One at a time may give out the keys of a collection.
LOCK_KEYS_SQL = text("SELECT pg_advisory_xact_lock(hashtext('clipgres.job'), :collection)")
# Sorted by the unique key, so that two imports of the same URLs wait for each other instead of deadlocking.
IMAGES_SQL = text("""
    WITH added AS (
        INSERT INTO clipgres.image (url, url_key, host)
        SELECT DISTINCT ON (url_key) url, url_key, host FROM incoming ORDER BY url_key, line
        ON CONFLICT (url_key) DO NOTHING
        RETURNING id, url_key
    )
    UPDATE incoming n SET image_id = a.id, is_new = true FROM added a WHERE a.url_key = n.url_key
""")
# Scalar subqueries are index lookups whatever the planner thinks of the temporary table, which has no statistics.
RESOLVE_SQL = text("""
    UPDATE incoming n SET image_id = (SELECT im.id FROM clipgres.image im WHERE im.url_key = n.url_key)
    WHERE n.image_id IS NULL
""")
# A line whose URL stands nowhere else is left out, unless the chunk names keys, which lines can take from each other.
# The collection is a subquery: one that the statistics do not know yet, and by its number would be taken for empty, is
# searched by the key and not read whole for each line.
STANDING_SQL = text("""
    SELECT line, image_id, namespace, key, has_job, owner
    FROM (
        SELECT n.line, n.image_id, n.namespace, n.key, count(*) OVER (PARTITION BY n.image_id) AS lines,
               (SELECT true FROM clipgres.job j
                WHERE j.collection_id = (SELECT CAST(:collection AS integer)) AND j.image_id = n.image_id) AS has_job,
               (SELECT j.image_id FROM clipgres.job j
                WHERE j.collection_id = (SELECT CAST(:collection AS integer)) AND j.namespace = n.namespace
                  AND j.key = coalesce(n.key, n.image_id::text)) AS owner
        FROM incoming n
    ) s
    WHERE lines > 1 OR has_job OR owner IS NOT NULL OR (SELECT bool_or(key IS NOT NULL) FROM incoming)
    ORDER BY line
""")
DROP_LINES_SQL = text("""
    DELETE FROM incoming WHERE line = ANY (:lines)
    RETURNING line, url, coalesce(key, image_id::text) AS key
""")
JOBS_SQL = text("""
    INSERT INTO clipgres.job (collection_id, image_id, namespace, key, metadata)
    SELECT :collection, image_id, namespace, coalesce(key, image_id::text), metadata
    FROM incoming
    WHERE line NOT IN (SELECT unnest(CAST(:merged AS bigint[])))
    ORDER BY image_id
""")
# Returns the images that were there and have a caption more.
CAPTIONS_SQL = text("""
    WITH added AS (
        INSERT INTO clipgres.caption (image_id, text)
        SELECT n.image_id, c.text
        FROM incoming n
        CROSS JOIN LATERAL jsonb_array_elements_text(n.captions) WITH ORDINALITY AS c (text, place)
        ORDER BY n.image_id, n.line, c.place
        ON CONFLICT (image_id, text_key) DO NOTHING
        RETURNING image_id
    )
    SELECT image_id FROM added
    EXCEPT
    SELECT image_id FROM incoming WHERE is_new
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


def take_chunk(connection: Connection, collection: Collection, batch: int, chunk: Chunk) -> Taken:
    """Write the rows of a chunk; those whose URL is there already add their captions to it."""
    if not chunk.rows:
        return Taken(0, 0, chunk.refused)
    ours = {"collection": collection.id, "batch": batch}
    with driver_connection(connection).cursor().copy(COPY_SQL) as copy:
        copy.write(chunk.copy)
    for statement in (LOCK_KEYS_SQL, IMAGES_SQL, RESOLVE_SQL):
        connection.execute(statement, ours)
    merged, unfit = _sort_out(connection.execute(STANDING_SQL, ours).all())
    refused = _drop(connection, unfit)
    connection.execute(JOBS_SQL, {**ours, "merged": merged})
    _want_vectors(connection, connection.execute(CAPTIONS_SQL).scalars().all())
    connection.execute(BATCH_JOBS_SQL, ours)
    accepted = chunk.rows - len(merged) - len(refused)
    return Taken(accepted, len(merged), sorted([*chunk.refused, *refused], key=lambda line: line.line))


def _want_vectors(connection: Connection, images: Sequence[int]) -> None:
    """Note that new captions of images that were there want their vectors wherever the image is searchable already."""
    if images:
        for statement in (LOCK_IMAGES_SQL, CAPTION_JOBS_SQL):
            connection.execute(statement, {"images": images})


def _drop(connection: Connection, lines: list[int]) -> list[RefusedLine]:
    """Take lines out of the chunk whose key belongs to another URL."""
    if not lines:
        return []
    rows = connection.execute(DROP_LINES_SQL, {"lines": lines})
    return [RefusedLine(line, f"the key {key!r} belongs to another URL", excerpt(url)) for line, url, key in rows]


def _sort_out(rows: Iterable[Sequence[Any]]) -> tuple[list[int], list[int]]:
    """Tell, in the order of the list, which lines are merged, and which name a taken key: the others make jobs."""
    merged: list[int] = []
    unfit: list[int] = []
    added: set[int] = set()
    owners: dict[tuple[str, str], int] = {}
    for line, image_id, namespace, named, has_job, standing_owner in rows:
        is_new = not has_job and image_id not in added
        key = (namespace, named or str(image_id))
        owner = owners.get(key, standing_owner)
        if owner not in (None, image_id) and (is_new or named is not None):
            unfit.append(line)
        elif is_new:
            added.add(image_id)
            owners[key] = image_id
        else:
            merged.append(line)
    return merged, unfit
