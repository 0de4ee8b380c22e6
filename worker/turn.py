"""Whose turn it is: a collection gives way to others that wait, after a minute or as soon as the network seems dead.

One that is paused ends its turn at once.
"""

from __future__ import annotations

import time
from contextlib import suppress

from sqlalchemy import Connection, Engine, text

from clipgres.database import transaction
from clipgres.errors import Unavailable
from worker.network import Network

TURN_S = 60.0
LOOK_EVERY_S = 2.0

IS_PAUSED_SQL = text("SELECT paused_at IS NOT NULL FROM clipgres.collection WHERE id = :collection")
OTHERS_DUE_SQL = text("""
    SELECT EXISTS (
        SELECT FROM clipgres.collection c
        WHERE c.id <> :collection AND c.state = 'ready' AND c.paused_at IS NULL AND EXISTS (
            SELECT FROM clipgres.job j
            WHERE j.collection_id = c.id AND j.status = 'pending' AND j.next_attempt_at <= now()
        )
    )
""")


class Turn:
    """One turn of a collection, from when it is made."""

    def __init__(self, engine: Engine, collection_id: int, network: Network) -> None:
        self._engine = engine
        self._collection_id = collection_id
        self._network = network
        self._began = self._looked_at = time.monotonic()
        self._is_over = False

    def goes_on(self) -> bool:
        """Whether to claim more; asks the database every few seconds, and goes on while that is away."""
        now = time.monotonic()
        if not self._is_over and now - self._looked_at >= LOOK_EVERY_S:
            self._looked_at = now
            with suppress(Unavailable), transaction(self._engine) as connection:
                self._is_over = self._ends(connection, now)
        return not self._is_over

    def _ends(self, connection: Connection, now: float) -> bool:
        ours = {"collection": self._collection_id}
        if connection.execute(IS_PAUSED_SQL, ours).scalar_one_or_none() is not False:
            return True
        least_s = LOOK_EVERY_S if self._network.is_suspected else TURN_S
        return now - self._began >= least_s and bool(connection.execute(OTHERS_DUE_SQL, ours).scalar_one())
