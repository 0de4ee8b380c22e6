"""What may stand in a path: names of collections, and keys of items, which may hold anything but NUL."""

from __future__ import annotations

from flask import Flask
from werkzeug.routing import BaseConverter

from clipgres.schema import ALIAS_PATTERN, KEY_MAX_BYTES

MAX_ID = 2**63 - 1


class CollectionName(BaseConverter):
    """The name of a collection; anything else cannot be there."""

    regex = ALIAS_PATTERN.strip("^$")


class ItemKey(BaseConverter):
    """The rest of the path, slashes and all."""

    regex = rf"[^\x00]{{1,{KEY_MAX_BYTES}}}"
    part_isolating = False


def add_converters(app: Flask) -> None:
    """Let the routes use `collection` and `key`."""
    app.url_map.converters.update(collection=CollectionName, key=ItemKey)
    app.url_map.merge_slashes = False
