"""Collections that are paused: nothing of theirs is worked on until they are resumed, and lists are still taken."""

from __future__ import annotations

from sqlalchemy import Connection, text

from clipgres.collections import Collection
from clipgres.jobs import announce

PAUSE_SQL = text("""
    UPDATE clipgres.collection SET paused_at = now()
    WHERE paused_at IS NULL AND (CAST(:collection AS integer) IS NULL OR id = :collection)
""")
RESUME_SQL = text("""
    UPDATE clipgres.collection SET paused_at = NULL
    WHERE paused_at IS NOT NULL AND (CAST(:collection AS integer) IS NULL OR id = :collection)
""")


def pause(connection: Connection, collection: Collection | None = None) -> int:
    """Pause a collection, or all there are; returns how many were not paused before.

    The workers see it within seconds, and give back what they have not begun.
    """
    return connection.execute(PAUSE_SQL, {"collection": collection and collection.id}).rowcount


def resume(connection: Connection, collection: Collection | None = None) -> int:
    """Go on with a collection, or with all; returns how many were paused."""
    resumed = connection.execute(RESUME_SQL, {"collection": collection and collection.id}).rowcount
    announce(connection)
    return resumed
