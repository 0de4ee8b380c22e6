"""Shows one of a group in a search: rows are read down the ranking until there are as many groups as are wanted.

The first row of a group stands for it, and whatever else of the group follows is passed over. That is done where rows
are ranked and not to a page that was cut already, so a page is full as long as there are groups.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, text

from clipgres.collections import Collection
from clipgres.database import autocommit
from clipgres.plans import Folding, Found, Wanted
from clipgres.request import Fold, Mode

Ids = NDArray[np.int64]

# Few rows of a ranking are duplicates as a rule. Where many are, the next reading is this much deeper.
DEEPER = 4

# An item of no group is a group by itself, with other items of the same image. One without an image, or deleted by now,
# always is.
GROUPS_SQL = """
    SELECT coalesce(d.group_id, i.image_id, -given.id) AS group_id
    FROM unnest(CAST(:ids AS bigint[])) WITH ORDINALITY AS given (id, place)
    LEFT JOIN {items} i ON i.id = given.id
    LEFT JOIN clipgres.duplicate d
      ON d.collection_id = :collection AND d.kind = :fold AND d.image_id = i.image_id
    ORDER BY given.place
"""
ALIKE_SQL = """
    SELECT i.id,
           (
               SELECT count(*) - 1
               FROM clipgres.duplicate o
               JOIN {items} x ON x.image_id = o.image_id
               WHERE o.collection_id = :collection AND o.kind = :fold AND o.group_id = d.group_id
                 AND x.namespace = i.namespace
           ) AS others
    FROM {items} i
    JOIN clipgres.duplicate d ON d.collection_id = :collection AND d.kind = :fold AND d.image_id = i.image_id
    WHERE i.id = ANY (CAST(:ids AS bigint[]))
"""


def find_folded(engine: Engine, wanted: Wanted, fold: Fold, read: Callable[[Wanted], Found]) -> Found:
    """The first row of each group, as many as are wanted, out of the ranking that `read` gives.

    What the query is made of and was left out has been seen: its groups are left out as well.
    """
    collection, limit = wanted.collection, wanted.limit + wanted.limit // DEEPER + 1
    while True:
        found = read(replace(wanted, limit=limit))
        with autocommit(engine) as connection:
            passed = groups_of(connection, collection, fold, wanted.query.left_out)
            groups = groups_of(connection, collection, fold, [row.id for row in found.rows])
        firsts = first_places(groups, passed)
        ends = len(found.rows) < limit
        if ends or len(firsts) > wanted.limit:
            break
        limit *= DEEPER
    shown = firsts[: wanted.limit]
    rows = [found.rows[place] for place in shown]
    with autocommit(engine) as connection:
        alike = count_alike(connection, collection, fold, [row.id for row in rows])
    read_to = firsts[wanted.limit] if len(firsts) > wanted.limit else len(found.rows)
    folding = Folding(
        passed=np.concatenate([groups[shown], passed]).tolist(),
        alike=alike,
        folded=int(read_to) - len(rows),
        is_end=ends and len(firsts) <= wanted.limit,
    )
    # That the index alone has no more rows than were read matters where they do not suffice.
    suffices = wanted.mode is Mode.INDEX and len(rows) == wanted.limit
    return replace(found, rows=rows, capped=found.capped and not suffices, folding=folding)


def first_places(groups: Ids, passed: Ids) -> NDArray[np.intp]:
    """The places at which a group that was not passed comes for the first time, in order."""
    _, places = np.unique(groups, return_index=True)
    places = np.sort(places)
    first: NDArray[np.intp] = places[~np.isin(groups[places], passed)]
    return first


def groups_of(connection: Connection, collection: Collection, fold: Fold, ids: Sequence[int]) -> Ids:
    """The group of each of these items, in their order."""
    if not len(ids):
        return np.zeros(0, np.int64)
    statement = text(GROUPS_SQL.format(items=collection.item_table))
    parameters = {"ids": list(ids), "collection": collection.id, "fold": fold.value}
    groups = connection.execute(statement, parameters).scalars()
    return np.array(groups.all(), np.int64)


def count_alike(connection: Connection, collection: Collection, fold: Fold, ids: Sequence[int]) -> dict[int, int]:
    """By id, how many others of its group there are in its namespace, of those of these items that are in a group."""
    if fold is Fold.NONE or not ids:
        return {}
    statement = text(ALIKE_SQL.format(items=collection.item_table))
    parameters = {"ids": list(ids), "collection": collection.id, "fold": fold.value}
    return {row.id: row.others for row in connection.execute(statement, parameters)}
