"""Takes a list into a collection, whichever door it came through."""

from __future__ import annotations

from clipgres.collections import find_or_create
from clipgres.database import transaction
from clipgres.enqueue import Added, enqueue
from clipgres.lists import OpenedList, RefusedLine
from webapp.services import Services

TOLD_REFUSALS = 1_000


def take(parts: Services, collection: str, opened: OpenedList) -> tuple[Added, list[RefusedLine]]:
    """Add every row of the list and return its counts and the first lines that were refused.

    A collection that is not there yet is made with the model of the settings.

    Raises:
        BadRequest: the collection's name does not fit.
        ModelError: its vectors are of another model than the settings name.
    """
    space = parts.encoders.default_space()
    with transaction(parts.engine) as connection:
        found = find_or_create(connection, collection, space)
    refused: list[RefusedLine] = []

    def keep(line: RefusedLine) -> None:
        if len(refused) < TOLD_REFUSALS:
            refused.append(line)

    return enqueue(parts.engine, found, opened, on_refused=keep), refused
