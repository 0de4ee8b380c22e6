"""Whose turn it is: a collection gives way to others that wait, after a minute or as soon as the network seems dead."""

from __future__ import annotations

import time

from sqlalchemy import Engine, text

from clipgres.database import transaction
from worker.network import Network

TURN_S = 60.0
LOOK_EVERY_S = 5.0

OTHERS_DUE_SQL = text("""
    SELECT EXISTS (
        SELECT FROM clipgres.collection c
        WHERE c.id <> :collection AND c.state = 'ready' AND EXISTS (
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
        """Whether to claim more; asks the database every few seconds once the turn may end."""
        now = time.monotonic()
        least_s = LOOK_EVERY_S if self._network.is_suspected else TURN_S
        if not self._is_over and now - self._began >= least_s and now - self._looked_at >= LOOK_EVERY_S:
            self._looked_at = now
            self._is_over = self._others_wait()
        return not self._is_over

    def _others_wait(self) -> bool:
        with transaction(self._engine) as connection:
            answer: bool = connection.execute(OTHERS_DUE_SQL, {"collection": self._collection_id}).scalar_one()
        return answer
