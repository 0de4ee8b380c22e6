"""Which jobs to take next: what is due, or of a network that seems dead a few and whatever can do without it."""

from __future__ import annotations

from uuid import uuid4

from sqlalchemy import Engine

from clipgres.collections import Collection
from clipgres.database import transaction
from clipgres.jobs import claim
from clipgres.settings import Settings
from worker.hand import Row
from worker.network import Network


def claim_next(engine: Engine, collection: Collection, network: Network, settings: Settings) -> list[Row]:
    """Claim up to a batch of a collection's due jobs, under a lease of their own."""
    if limit := network.room(settings.batch_images):
        if rows := _claim(engine, collection, settings, limit, None):
            return rows
    if network.is_suspected:
        return _claim(engine, collection, settings, settings.batch_images, network.local)
    return []


def _claim(
    engine: Engine, collection: Collection, settings: Settings, limit: int, local: list[str] | None
) -> list[Row]:
    token = uuid4()
    with transaction(engine) as connection:
        jobs = claim(connection, collection.id, token, limit=limit, lease_s=settings.lease_s, local=local)
    return [Row(job, token) for job in jobs]
