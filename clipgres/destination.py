"""Where a list goes: the collection of a name, made if it is new."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from sqlalchemy import Engine

from clipgres.aliases import check_name
from clipgres.collections import Collection, find, find_or_create
from clipgres.database import transaction
from clipgres.encoders import Encoders
from clipgres.errors import NotFound


def destination(
    engine: Engine, name: str, encoders: Encoders, *, on_made: Callable[[Collection], None] = lambda _made: None
) -> Collection:
    """The collection of that name, whose model this machine need not have; a new one gets the settings' model.

    Raises:
        BadRequest: the name does not fit.
        ModelError: it is new, and the model of the settings cannot be had.
    """
    with suppress(NotFound), transaction(engine) as connection:
        return find(connection, name)
    check_name(name)
    space = encoders.default_space()
    with transaction(engine) as connection:
        made = find_or_create(connection, name, space)
    on_made(made)
    return made
