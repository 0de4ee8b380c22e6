"""Keeps the groups of duplicates up to date, once all pictures of a collection are in."""

from __future__ import annotations

import logging
import time

from sqlalchemy import Engine

from clipgres.collections import Collection
from clipgres.database import transaction
from clipgres.duplicates import find_duplicates, has_changed
from clipgres.errors import ClipgresError
from clipgres.jobs import is_drained

log = logging.getLogger(__name__)


def group_duplicates(engine: Engine, collection: Collection) -> None:
    """Look at what has changed in a collection, unless pictures are on their way or another worker is at it."""
    try:
        with transaction(engine) as connection:
            is_due = is_drained(connection, collection.id) and has_changed(connection, collection)
        started = time.monotonic()
        if is_due and (found := find_duplicates(engine, collection)):
            seconds = time.monotonic() - started
            log.info("%s: %s new pictures compared in %.1f s", collection.name, f"{found.looked:,}", seconds)
    except ClipgresError as error:
        log.warning("%s: its duplicates cannot be found now: %s", collection.name, error)
