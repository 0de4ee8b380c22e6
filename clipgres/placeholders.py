"""Placeholders: one file that many URLs give in place of the picture that is gone, such as "no image available".

Nothing is one by itself: many URLs of one file are a suspicion, and a person decides. What was decided is remembered by
the SHA-256 of the bytes, and holds for what comes later.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, text

from clipgres import collections, jobs
from clipgres.collections import Collection
from clipgres.database import transaction
from clipgres.errors import BadRequest, NotFound

SUSPECT_URLS = 20
PORTION = 1_000

SUSPECTS_SQL = text("""
    WITH counted AS MATERIALIZED (
        SELECT im.sha256, count(*) AS urls, count(DISTINCT im.host) AS hosts, min(im.id) AS image_id
        FROM clipgres.image im
        WHERE im.sha256 IS NOT NULL AND (im.state = 'ok' OR im.reason = 'placeholder')
        GROUP BY im.sha256
        HAVING count(*) >= :least
        ORDER BY urls DESC, im.sha256
        LIMIT :limit
    )
    SELECT encode(c.sha256, 'hex') AS sha256, c.urls, c.hosts, p.is_placeholder, p.note,
           ARRAY(
               SELECT im.host FROM clipgres.image im WHERE im.sha256 = c.sha256
               GROUP BY im.host ORDER BY count(*) DESC, im.host LIMIT 3
           ) AS largest_hosts,
           (SELECT im.url FROM clipgres.image im WHERE im.id = c.image_id) AS url,
           ARRAY(
               SELECT min(t.text)
               FROM (SELECT im.id FROM clipgres.image im WHERE im.sha256 = c.sha256 ORDER BY im.id LIMIT 3) few
               JOIN clipgres.caption t ON t.image_id = few.id
               GROUP BY few.id ORDER BY few.id
           ) AS captions
    FROM counted c
    LEFT JOIN clipgres.placeholder p ON p.sha256 = c.sha256
    ORDER BY c.urls DESC, c.sha256
""")
BYTES_OF_SQL = text("""
    SELECT im.sha256
    FROM clipgres.job j
    JOIN clipgres.image im ON im.id = j.image_id
    WHERE j.collection_id = :collection AND j.namespace = :namespace AND j.key = :key
""")

# Whoever writes outcomes reads this table first. So once it could be locked, all that did not know of the decision is
# written, and there to be found. A backup holds every table for long: nobody waits behind this for it.
PATIENCE_SQL = text("SET LOCAL lock_timeout = '5s'")
LOCK_SQL = text("LOCK TABLE clipgres.placeholder IN ACCESS EXCLUSIVE MODE")
DECIDE_SQL = text("""
    INSERT INTO clipgres.placeholder (sha256, is_placeholder, note) VALUES (:sha256, :is_placeholder, :note)
    ON CONFLICT (sha256) DO UPDATE
    SET is_placeholder = excluded.is_placeholder, note = coalesce(excluded.note, placeholder.note), decided_at = now()
""")
# Jobs before images, both in order of the image: the order in which all who write take them.
CHOSEN_SQL = text("""
    SELECT j.collection_id, j.image_id
    FROM clipgres.job j
    WHERE j.image_id = ANY (ARRAY(
        SELECT im.id
        FROM clipgres.image im
        WHERE im.sha256 = :sha256 AND im.id > :after
          AND EXISTS (SELECT FROM clipgres.job wants WHERE wants.image_id = im.id)
        ORDER BY im.id
        LIMIT :portion
    ))
    ORDER BY j.image_id, j.collection_id
    FOR NO KEY UPDATE
""")
END_SQL = text("""
    UPDATE clipgres.job j
    SET status = 'failed', reason = 'placeholder', updated_at = now()
    WHERE j.image_id = ANY (CAST(:images AS bigint[])) AND j.status = 'ok'
    RETURNING j.collection_id, j.image_id
""")
END_IMAGES_SQL = text("""
    UPDATE clipgres.image SET state = 'failed', reason = 'placeholder'
    WHERE id = ANY (CAST(:images AS bigint[])) AND state = 'ok' AND sha256 = :sha256
""")
# Their thumbnails are still there: they are embedded again without being fetched.
RETURN_SQL = text("""
    UPDATE clipgres.job j
    SET status = 'pending', reason = NULL, attempts = 0, ignored_at = NULL, next_attempt_at = now(), updated_at = now()
    WHERE j.image_id = ANY (CAST(:images AS bigint[])) AND j.status = 'failed' AND j.reason = 'placeholder'
    RETURNING j.collection_id, j.image_id
""")
RETURN_IMAGES_SQL = text("""
    UPDATE clipgres.image SET state = 'ok', reason = NULL
    WHERE id = ANY (CAST(:images AS bigint[])) AND reason = 'placeholder' AND sha256 = :sha256
""")
REMOVE_SQL = (
    "DELETE FROM {items} WHERE image_id = ANY (CAST(:images AS bigint[]))",
    "DELETE FROM {captions} WHERE image_id = ANY (CAST(:images AS bigint[]))",
)

# Of what a worker has in hand. A picture embedded from its thumbnail has its bytes on record.
MARK_SQL = text("""
    UPDATE outcome o
    SET status = 'failed', reason = 'placeholder', embedding = NULL
    FROM clipgres.image im, clipgres.placeholder p
    WHERE im.id = o.image_id AND o.status = 'ok' AND p.is_placeholder AND p.sha256 = coalesce(o.sha256, im.sha256)
    RETURNING o.image_id
""")
MARK_IMAGES_SQL = text("""
    UPDATE clipgres.image im
    SET state = 'failed', reason = 'placeholder'
    FROM outcome o
    JOIN clipgres.placeholder p ON p.is_placeholder AND p.sha256 = o.sha256
    WHERE im.id = o.image_id AND o.is_alive
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A file that many URLs give, and what a person said of it, if anybody did."""

    sha256: str
    urls: int
    hosts: int
    largest_hosts: Sequence[str]
    url: str
    captions: Sequence[str]
    is_placeholder: bool | None
    note: str | None


def suspects(connection: Connection, *, least: int = SUSPECT_URLS, limit: int = 20) -> list[Suspect]:
    """The files that at least so many URLs give, those with the most first."""
    rows = connection.execute(SUSPECTS_SQL, {"least": least, "limit": limit}).mappings()
    return [Suspect(**row) for row in rows]


def bytes_of(connection: Connection, collection: Collection, name: str, namespace: str = "") -> bytes:
    """The SHA-256 that a name means: itself in hexadecimal, or the key of a picture, be it here or failed.

    Raises:
        NotFound: there is no such picture.
        BadRequest: it was never fetched.
    """
    if re.fullmatch(r"[0-9a-fA-F]{64}", name):
        return bytes.fromhex(name)
    key = {"collection": collection.id, "namespace": namespace, "key": name}
    row = connection.execute(BYTES_OF_SQL, key).first()
    if row is None:
        raise NotFound(f'there is no picture "{name[:60]}" in collection "{collection.name}"')
    if row.sha256 is None:
        raise BadRequest(f'"{name[:60]}" was never fetched: nobody knows its bytes', "key")
    return bytes(row.sha256)


def decide(engine: Engine, sha256: bytes, *, is_placeholder: bool, note: str | None = None) -> int:
    """Remember what these bytes are, and act on it; returns how many pictures left the collections, or come back.

    That is done in portions, each a transaction: done again after it was broken off, it ends what it began.

    Raises:
        Unavailable: a backup is running, or the database is away.
    """
    with transaction(engine) as connection:
        connection.execute(PATIENCE_SQL)
        connection.execute(LOCK_SQL)
        connection.execute(DECIDE_SQL, {"sha256": sha256, "is_placeholder": is_placeholder, "note": note})
    changed, after = 0, 0
    while True:
        with transaction(engine) as connection:
            rows = connection.execute(CHOSEN_SQL, {"sha256": sha256, "after": after, "portion": PORTION}).all()
            if not rows:
                return changed
            images = sorted({row.image_id for row in rows})
            changed += (_end if is_placeholder else _return)(connection, sha256, images)
            after = images[-1]


def mark_outcomes(connection: Connection, collection: Collection) -> int:
    """Let staged outcomes that are placeholders fail, and remove the items they had; returns how many these are."""
    marked = connection.execute(MARK_SQL).scalars().all()
    if marked:
        _remove(connection, collection, marked)
    return len(marked)


def mark_images(connection: Connection) -> None:
    """Let images fail that staged outcomes found to be placeholders."""
    connection.execute(MARK_IMAGES_SQL)


def _end(connection: Connection, sha256: bytes, images: Sequence[int]) -> int:
    rows = connection.execute(END_SQL, {"images": images}).all()
    connection.execute(END_IMAGES_SQL, {"images": images, "sha256": sha256})
    of_collection: dict[int, list[int]] = {}
    for row in rows:
        of_collection.setdefault(row.collection_id, []).append(row.image_id)
    for collection, ended in _named(connection, of_collection).items():
        _remove(connection, collection, ended)
    return len(rows)


def _return(connection: Connection, sha256: bytes, images: Sequence[int]) -> int:
    returned = connection.execute(RETURN_SQL, {"images": images}).rowcount
    connection.execute(RETURN_IMAGES_SQL, {"images": images, "sha256": sha256})
    jobs.announce(connection)
    return returned


def _named(connection: Connection, of_collection: Mapping[int, Sequence[int]]) -> dict[Collection, Sequence[int]]:
    """The collections that are still there, in order of id."""
    found = ((collections.find_by_id(connection, id_), of_collection[id_]) for id_ in sorted(of_collection))
    return {collection: images for collection, images in found if collection is not None}


def _remove(connection: Connection, collection: Collection, images: Sequence[int]) -> None:
    tables = {"items": collection.item_table, "captions": collection.caption_table}
    for statement in REMOVE_SQL:
        connection.execute(text(statement.format(**tables)), {"images": list(images)})
