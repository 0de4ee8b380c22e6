"""The groups of duplicates, the largest first, each with examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from clipgres.collections import Collection
from clipgres.schema import DuplicateKind

EXAMPLES = 3

# Pictures that look the same because they are the same file are told under `bytes` alone.
GROUPS_SQL = """
    WITH largest AS MATERIALIZED (
        SELECT d.group_id, count(*) AS pictures, count(DISTINCT im.sha256) AS files, sum(im.bytes)::bigint AS bytes
        FROM clipgres.duplicate d
        JOIN clipgres.image im ON im.id = d.image_id
        WHERE d.collection_id = :collection AND d.kind = :kind
        GROUP BY d.group_id
        HAVING :kind <> 'near' OR count(DISTINCT im.sha256) > 1
        ORDER BY pictures DESC, d.group_id
        LIMIT :limit
    )
    SELECT l.group_id, l.pictures, l.files, l.bytes,
           (
               SELECT jsonb_agg(jsonb_build_object(
                          'key', e.key, 'namespace', e.namespace, 'url', e.url, 'caption', e.caption
                      ) ORDER BY e.image_id, e.id)
               FROM (
                   SELECT i.id, i.key, i.namespace, d.image_id, im.url,
                          (SELECT c.text FROM clipgres.caption c WHERE c.image_id = d.image_id ORDER BY c.id LIMIT 1)
                              AS caption
                   FROM clipgres.duplicate d
                   JOIN {items} i ON i.image_id = d.image_id
                   JOIN clipgres.image im ON im.id = d.image_id
                   WHERE d.collection_id = :collection AND d.kind = :kind AND d.group_id = l.group_id
                   ORDER BY d.image_id, i.id
                   LIMIT :examples
               ) e
           ) AS examples
    FROM largest l
    ORDER BY l.pictures DESC, l.group_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A group of one kind: how many pictures and distinct files it has, their bytes in all, and its first pictures."""

    kind: DuplicateKind
    group: int
    pictures: int
    files: int
    bytes: int
    examples: Sequence[Mapping[str, Any]]


def list_groups(
    connection: Connection, collection: Collection, kind: DuplicateKind, *, limit: int = 20, examples: int = EXAMPLES
) -> list[Group]:
    """The largest groups of a kind."""
    statement = text(GROUPS_SQL.format(items=collection.item_table))
    parameters = {"collection": collection.id, "kind": kind.value, "limit": limit, "examples": examples}
    return [
        Group(
            kind=kind,
            group=row.group_id,
            pictures=row.pictures,
            files=row.files,
            bytes=row.bytes or 0,
            examples=row.examples or [],
        )
        for row in connection.execute(statement, parameters)
    ]
