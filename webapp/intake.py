"""Takes a list into a collection, whichever door it came through."""

from __future__ import annotations

from clipgres.destination import destination
from clipgres.enqueue import Added, enqueue
from clipgres.lists import OpenedList, RefusedLine
from webapp.services import Services

TOLD_REFUSALS = 1_000


def take(parts: Services, collection: str, opened: OpenedList) -> tuple[Added, list[RefusedLine]]:
    """Add every row of the list and return its counts and the first lines that were refused.

    A collection that is not there yet is made with the model of the settings.

    Raises:
        BadRequest: the collection's name does not fit.
        ModelError: the collection is new, and the model of the settings cannot be had.
    """
    target = destination(parts.engine, collection, parts.encoders)
    refused: list[RefusedLine] = []

    def keep(line: RefusedLine) -> None:
        if len(refused) < TOLD_REFUSALS:
            refused.append(line)

    return enqueue(parts.engine, target, opened, on_refused=keep), refused
