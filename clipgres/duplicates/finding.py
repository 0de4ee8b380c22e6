"""Finds the duplicates of a collection: what is new is looked at, then the groups are made anew.

It may be broken off at any time and goes on where it was; two at once would do the same work, so there is one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import IntegrityError

from clipgres.collections import Collection
from clipgres.database import autocommit, transaction
from clipgres.duplicates.grouping import regroup
from clipgres.duplicates.looking import Looker, Rule
from clipgres.errors import Conflict

LOCK_SQL = text("SELECT pg_try_advisory_lock(:collection, hashtext('clipgres.duplicates'))")
UNLOCK_SQL = text("SELECT pg_advisory_unlock(:collection, hashtext('clipgres.duplicates'))")
RULE_SQL = text("SELECT near_bits, near_score FROM clipgres.duplicate_rule WHERE collection_id = :collection")
SET_RULE_SQL = text("""
    INSERT INTO clipgres.duplicate_rule (collection_id, near_bits, near_score) VALUES (:collection, :bits, :score)
    ON CONFLICT (collection_id) DO UPDATE
    SET near_bits = excluded.near_bits, near_score = excluded.near_score, found_at = NULL
""")
FORGET_SQL = text("DELETE FROM clipgres.duplicate_look WHERE collection_id = :collection")
FOUND_SQL = text("UPDATE clipgres.duplicate_rule SET found_at = now() WHERE collection_id = :collection")
COUNTS_SQL = text("""
    SELECT kind, count(DISTINCT group_id) AS groups, count(*) AS images
    FROM clipgres.duplicate
    WHERE collection_id = :collection
    GROUP BY kind
""")
HAS_CHANGED_SQL = """
    SELECT EXISTS (
        SELECT FROM clipgres.job j
        JOIN clipgres.image im ON im.id = j.image_id
        LEFT JOIN clipgres.duplicate_look l
          ON l.collection_id = j.collection_id AND l.image_id = j.image_id AND l.phash = im.phash
        WHERE j.collection_id = :collection AND j.status = 'ok' AND im.phash IS NOT NULL AND l.image_id IS NULL
          AND EXISTS (SELECT FROM {items} i WHERE i.image_id = j.image_id)
    ) OR EXISTS (
        SELECT FROM clipgres.duplicate d
        WHERE d.collection_id = :collection AND NOT EXISTS (SELECT FROM {items} i WHERE i.image_id = d.image_id)
    )
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many pictures were looked at, and by kind how many groups there are by now, and pictures in them."""

    looked: int
    groups: dict[str, int]
    images: dict[str, int]


def find_duplicates(
    engine: Engine,
    collection: Collection,
    *,
    bits: int | None = None,
    score: float | None = None,
    on_look: Callable[[int], None] = lambda looked: None,
) -> Counts | None:
    """Bring the groups of a collection up to date; None while another session is at it.

    What is near is decided as it was the last time; with other `bits` or `score` everything is looked at anew.
    `on_look` is told how many pictures were looked at so far.

    Raises:
        Conflict: images were deleted meanwhile.
        Unavailable: the database is away.
    """
    key = {"collection": collection.id}
    with autocommit(engine) as session:
        if not session.execute(LOCK_SQL, key).scalar_one():
            return None
        try:
            looked = Looker(engine, collection, _rule(engine, collection, bits, score)).look(on_look)
            with transaction(engine) as connection:
                regroup(connection, collection)
                connection.execute(FOUND_SQL, key)
        except IntegrityError as error:
            raise Conflict(f"{collection.name}: pictures were deleted meanwhile; run this again") from error
        finally:
            session.execute(UNLOCK_SQL, key)
        rows = session.execute(COUNTS_SQL, key).all()
    return Counts(
        looked=looked,
        groups={row.kind: row.groups for row in rows},
        images={row.kind: row.images for row in rows},
    )


def has_changed(connection: Connection, collection: Collection) -> bool:
    """Whether pictures came, changed or left since the groups were made."""
    statement = text(HAS_CHANGED_SQL.format(items=collection.item_table))
    is_there: bool = connection.execute(statement, {"collection": collection.id}).scalar_one()
    return is_there


def _rule(engine: Engine, collection: Collection, bits: int | None, score: float | None) -> Rule:
    """The rule to find by: the one of the last time, changed as is asked; one that is new forgets what was found."""
    with transaction(engine) as connection:
        row = connection.execute(RULE_SQL, {"collection": collection.id}).first()
        before = Rule(bits=row.near_bits, score=round(row.near_score, 6)) if row else None
        rule = before or Rule()
        rule = replace(rule, bits=rule.bits if bits is None else bits, score=rule.score if score is None else score)
        if rule != before:
            connection.execute(FORGET_SQL, {"collection": collection.id})
            connection.execute(SET_RULE_SQL, {"collection": collection.id, "bits": rule.bits, "score": rule.score})
    return rule
