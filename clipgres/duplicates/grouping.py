"""Groups out of what was found: who has the same URL, the same bytes, the same look, and what a person said of it.

URL and bytes are facts, and nobody decides on them. A group of look is what follows one leader, with whatever has the
same bytes or the same URL, and with what a person joined; two that a person split are never in one. Links are taken in
this order: joined by a person, the latest first; the same bytes; the same URL; the same leader. One that would bring
two together that were split is not taken, so of two that followed the same leader the later one is left out.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from sqlalchemy import Connection, text

from clipgres.collections import Collection
from clipgres.database import driver_connection

LOCK_SQL = text("SELECT pg_advisory_xact_lock(:collection, hashtext('clipgres.duplicate'))")
STAGING_SQL = text("""
    CREATE TEMP TABLE IF NOT EXISTS grouped (kind text, image_id bigint, group_id bigint) ON COMMIT DELETE ROWS
""")
BYTES_SQL = """
    INSERT INTO grouped (kind, image_id, group_id)
    SELECT 'bytes', image_id, group_id
    FROM (
        SELECT j.image_id, min(j.image_id) OVER same AS group_id, count(*) OVER same AS images
        FROM clipgres.job j
        JOIN clipgres.image im ON im.id = j.image_id
        WHERE j.collection_id = :collection AND im.sha256 IS NOT NULL
          AND EXISTS (SELECT FROM {items} i WHERE i.image_id = j.image_id)
        WINDOW same AS (PARTITION BY im.sha256)
    ) counted
    WHERE images > 1
"""
# An image is where a permanent redirect led, else where its own URL is. Most are nobody's target.
URL_SQL = """
    INSERT INTO grouped (kind, image_id, group_id)
    WITH target AS MATERIALIZED (
        SELECT DISTINCT im.final_url AS url
        FROM clipgres.job j
        JOIN clipgres.image im ON im.id = j.image_id
        WHERE j.collection_id = :collection AND im.final_url IS NOT NULL
    )
    SELECT 'url', image_id, group_id
    FROM (
        SELECT j.image_id, min(j.image_id) OVER same AS group_id, count(*) OVER same AS images
        FROM target t
        JOIN clipgres.image im ON coalesce(im.final_url, im.url) = t.url
        JOIN clipgres.job j ON j.collection_id = :collection AND j.image_id = im.id
        WHERE EXISTS (SELECT FROM {items} i WHERE i.image_id = j.image_id)
        WINDOW same AS (PARTITION BY t.url)
    ) counted
    WHERE images > 1
"""
FACTS_SQL = text("""
    SELECT string_agg(int8send(image_id) || int8send(group_id), '' ORDER BY kind, image_id)
    FROM grouped
    WHERE image_id <> group_id
""")
FOLLOWING_SQL = text("""
    SELECT string_agg(int8send(image_id) || int8send(leader_id), '' ORDER BY image_id)
    FROM clipgres.duplicate_look
    WHERE collection_id = :collection AND leader_id <> image_id
""")
DECIDED_SQL = """
    SELECT a.id AS image_id, b.id AS other_id, d.is_duplicate
    FROM clipgres.duplicate_decision d
    JOIN clipgres.image a ON a.url_key = d.url_a
    JOIN clipgres.image b ON b.url_key = d.url_b
    JOIN clipgres.job ja ON ja.collection_id = :collection AND ja.image_id = a.id
    JOIN clipgres.job jb ON jb.collection_id = :collection AND jb.image_id = b.id
    WHERE EXISTS (SELECT FROM {items} i WHERE i.image_id = a.id)
      AND EXISTS (SELECT FROM {items} i WHERE i.image_id = b.id)
    ORDER BY d.decided_at DESC, a.id, b.id
"""
# What stays as it is is not written again.
WRITE_SQL = (
    text("""
        DELETE FROM clipgres.duplicate d
        WHERE d.collection_id = :collection
          AND NOT EXISTS (SELECT FROM grouped g WHERE g.kind = d.kind AND g.image_id = d.image_id)
    """),
    text("""
        INSERT INTO clipgres.duplicate (collection_id, kind, image_id, group_id)
        SELECT j.collection_id, g.kind, g.image_id, g.group_id
        FROM grouped g
        JOIN clipgres.job j ON j.collection_id = :collection AND j.image_id = g.image_id
        ON CONFLICT (collection_id, kind, image_id) DO UPDATE SET group_id = excluded.group_id
        WHERE duplicate.group_id <> excluded.group_id
    """),
)

Link = tuple[int, int]


class Groups:
    """Images in groups that links make larger; two that are kept apart are never in one."""

    def __init__(self, apart: Iterable[Link]) -> None:
        self._up: dict[int, int] = {}
        self._apart: dict[int, set[int]] = {}
        for one, other in apart:
            self._apart.setdefault(one, set()).add(other)
            self._apart.setdefault(other, set()).add(one)

    def find(self, image: int) -> int:
        """The smallest image of the group that an image is in."""
        up = self._up
        while (above := up.get(image, image)) != image:
            up[image] = up.get(above, above)
            image = above
        return image

    def join(self, one: int, other: int) -> None:
        """Make the groups of two images one, unless that would bring two together that are kept apart."""
        low, high = sorted((self.find(one), self.find(other)))
        apart = self._apart.get(high, set())
        if low == high or any(self.find(image) == low for image in apart):
            return
        self._up[high] = low
        if apart:
            self._apart.setdefault(low, set()).update(apart)

    def rows(self) -> Iterable[Link]:
        """Each image of a group of two or more, and the smallest image of it."""
        images = list(self._up)
        for image in {*images, *(self.find(each) for each in images)}:
            yield image, self.find(image)


def regroup(connection: Connection, collection: Collection) -> None:
    """Write the groups of a collection as they follow from what is known by now."""
    ours = {"collection": collection.id}
    connection.execute(LOCK_SQL, ours)
    connection.execute(STAGING_SQL)
    for statement in (BYTES_SQL, URL_SQL):
        connection.execute(text(statement.format(items=collection.item_table)), ours)
    _stage_near(connection, _near_groups(connection, collection))
    for write in WRITE_SQL:
        connection.execute(write, ours)


def _near_groups(connection: Connection, collection: Collection) -> Groups:
    ours = {"collection": collection.id}
    decided = connection.execute(text(DECIDED_SQL.format(items=collection.item_table)), ours).all()
    groups = Groups((row.image_id, row.other_id) for row in decided if not row.is_duplicate)
    for row in decided:
        if row.is_duplicate:
            groups.join(row.image_id, row.other_id)
    for links in (FACTS_SQL, FOLLOWING_SQL):
        packed = connection.execute(links, ours if links is FOLLOWING_SQL else {}).scalar_one()
        for image, other in np.frombuffer(packed or b"", ">i8").reshape(-1, 2).tolist():
            groups.join(image, other)
    return groups


def _stage_near(connection: Connection, groups: Groups) -> None:
    with driver_connection(connection).cursor() as cursor, cursor.copy("COPY grouped FROM STDIN") as copy:
        for image, group in groups.rows():
            copy.write_row(("near", image, group))
