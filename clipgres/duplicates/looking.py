"""Looks at pictures one block after the other: which of those before each looks the same.

Leader clustering (Hartigan, "Clustering Algorithms", 1975, chapter 3): a picture that is near a leader follows it, the
nearest if there are several; one that is near none is a leader from now on. So whatever follows a leader is near it
itself: a chain of small steps leads nowhere. What was looked at stays as it is, and only what is new is compared, with
all leaders.

Near is both: the hashes differ in few bits, and the cosine of the vectors is high. Either alone is fooled: a model
by two pictures of one subject, a hash by pictures with little in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from sqlalchemy import Connection, Engine, text

from clipgres.collections import Collection
from clipgres.database import transaction
from clipgres.duplicates.hashes import GrowingTables, Hashes, HashTables, Ids, has_detail

BLOCK = 1_000
# Pairs whose vectors are compared by one statement.
PAIRS = 20_000

STALE_SQL = (
    """
    DELETE FROM clipgres.duplicate_look l
    WHERE l.collection_id = :collection AND NOT (
        EXISTS (SELECT FROM clipgres.image im WHERE im.id = l.image_id AND im.phash = l.phash)
        AND EXISTS (SELECT FROM {items} i WHERE i.image_id = l.image_id)
    )
    """,
    """
    DELETE FROM clipgres.duplicate_look l
    WHERE l.collection_id = :collection AND l.leader_id <> l.image_id AND NOT EXISTS (
        SELECT FROM clipgres.duplicate_look leader
        WHERE leader.collection_id = l.collection_id AND leader.image_id = l.leader_id
    )
    """,
)
# Packed by the database: a million rows as rows would take a fifth of a gigabyte.
LEADERS_SQL = text("""
    SELECT string_agg(int8send(image_id) || int8send(phash), '')
    FROM clipgres.duplicate_look
    WHERE collection_id = :collection AND leader_id = image_id
""")
NEW_SQL = """
    SELECT j.image_id, im.phash
    FROM clipgres.job j
    JOIN clipgres.image im ON im.id = j.image_id
    WHERE j.collection_id = :collection AND j.image_id > :after AND im.phash IS NOT NULL
      AND EXISTS (SELECT FROM {items} i WHERE i.image_id = j.image_id)
      AND NOT EXISTS (
          SELECT FROM clipgres.duplicate_look l WHERE l.collection_id = j.collection_id AND l.image_id = j.image_id
      )
    ORDER BY j.image_id
    LIMIT :limit
"""
SCORES_SQL = """
    SELECT p.image_id, p.other_id, max(1 - (a.embedding <=> b.embedding)) AS score
    FROM unnest(CAST(:images AS bigint[]), CAST(:others AS bigint[])) AS p (image_id, other_id)
    JOIN {items} a ON a.image_id = p.image_id
    JOIN {items} b ON b.image_id = p.other_id
    GROUP BY p.image_id, p.other_id
    HAVING max(1 - (a.embedding <=> b.embedding)) >= :least
"""
LOOKED_SQL = text("""
    INSERT INTO clipgres.duplicate_look (collection_id, image_id, phash, leader_id)
    SELECT :collection, n.image_id, n.phash, n.leader_id
    FROM unnest(CAST(:images AS bigint[]), CAST(:hashes AS bigint[]), CAST(:leaders AS bigint[]))
         AS n (image_id, phash, leader_id)
    JOIN clipgres.job j ON j.collection_id = :collection AND j.image_id = n.image_id
    ON CONFLICT DO NOTHING
""")

LEADER = np.dtype([("id", ">i8"), ("hash", ">i8")])
Near = dict[int, list[tuple[float, int]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When two pictures are near: at most so many bits of their hashes differ, and the cosine is at least this.

    The defaults were measured (`python -m bench near`): of 503,000 pairs of unlike pictures none meets them, and of
    photographs that are compressed anew, made smaller or cropped by 1 %, 92 to 99 % do.
    """

    bits: int = 6
    score: float = 0.95


@dataclass(frozen=True, slots=True)
class Looker:
    """Looks at the pictures of one collection by one rule."""

    engine: Engine
    collection: Collection
    rule: Rule
    leaders: GrowingTables = field(init=False, default_factory=GrowingTables)

    def look(self, on_look: Callable[[int], None]) -> int:
        """Look at all that was not looked at yet, or has changed since; returns how many pictures these were.

        `on_look` is told how many they are so far.
        """
        with transaction(self.engine) as connection:
            forget_stale(connection, self.collection)
            packed = connection.execute(LEADERS_SQL, {"collection": self.collection.id}).scalar_one()
        known = np.frombuffer(packed or b"", LEADER)
        self._lead(known["id"].astype(np.int64), known["hash"].astype(np.int64))
        looked, after = 0, 0
        while True:
            with transaction(self.engine) as connection:
                block = self._new(connection, after)
                if not block:
                    return looked
                self._look_at(connection, block)
            looked, after = looked + len(block), block[-1][0]
            on_look(looked)

    def _new(self, connection: Connection, after: int) -> Sequence[tuple[int, int]]:
        statement = text(NEW_SQL.format(items=self.collection.item_table))
        rows = connection.execute(statement, {"collection": self.collection.id, "after": after, "limit": BLOCK})
        return [(row.image_id, row.phash) for row in rows]

    def _look_at(self, connection: Connection, block: Sequence[tuple[int, int]]) -> None:
        """Find the leader of each picture of a block, among those before it and within the block."""
        ids, hashes = np.array(block, np.int64).T.copy()
        asking = has_detail(hashes, self.rule.bits)
        before = self._scored(connection, self._pairs_before(ids[asking], hashes[asking]))
        may_lead = asking & ~np.isin(ids, list(before))
        tables = HashTables(ids[may_lead], hashes[may_lead])
        within = self._scored(connection, self._pairs_within(tables, ids[asking], hashes[asking]))
        leader_of: dict[int, int] = {}
        for image in ids.tolist():
            near = before.get(image, []) + [pair for pair in within.get(image, ()) if leader_of[pair[1]] == pair[1]]
            leader_of[image] = min(near, key=lambda pair: (-pair[0], pair[1]))[1] if near else image
        leaders = np.array(list(leader_of.values()), np.int64)
        self._lead(ids[leaders == ids], hashes[leaders == ids])
        looked = {"images": ids.tolist(), "hashes": hashes.tolist(), "leaders": leaders.tolist()}
        connection.execute(LOOKED_SQL, {"collection": self.collection.id, **looked})

    def _lead(self, ids: Ids, hashes: Hashes) -> None:
        """Let these be followed from now on; one without detail in it is followed by none."""
        lead = has_detail(hashes, self.rule.bits)
        self.leaders.add(ids[lead], hashes[lead])

    def _pairs_before(self, ids: Ids, hashes: Hashes) -> Iterable[tuple[Ids, Ids]]:
        return ((ids[places], others) for places, others in self.leaders.near(hashes, self.rule.bits))

    def _pairs_within(self, tables: HashTables, ids: Ids, hashes: Hashes) -> Iterable[tuple[Ids, Ids]]:
        for places, others in tables.near(hashes, self.rule.bits):
            is_later = ids[places] > tables.ids[others]
            yield ids[places[is_later]], tables.ids[others[is_later]]

    def _scored(self, connection: Connection, pairs: Iterable[tuple[Ids, Ids]]) -> Near:
        """For each picture, those that it is near to by its vector too, with the score."""
        statement = text(SCORES_SQL.format(items=self.collection.item_table))
        near: Near = {}
        for images, others in pairs:
            for start in range(0, len(images), PAIRS):
                part = slice(start, start + PAIRS)
                sides = {"images": images[part].tolist(), "others": others[part].tolist()}
                for row in connection.execute(statement, {**sides, "least": self.rule.score}):
                    near.setdefault(row.image_id, []).append((row.score, row.other_id))
        return near


def forget_stale(connection: Connection, collection: Collection) -> None:
    """Look again at pictures that changed or are gone, and at those that followed them."""
    for statement in STALE_SQL:
        connection.execute(text(statement.format(items=collection.item_table)), {"collection": collection.id})
