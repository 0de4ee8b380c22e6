"""How the search page looks: the answer, what the search is made of, and what can be chosen."""

from __future__ import annotations

from base64 import b64encode
from contextlib import suppress
from functools import partial
from typing import Any

from flask import render_template, url_for
from sqlalchemy import Connection

from clipgres.answer import Answer
from clipgres.collections import DEFAULT, Collection, list_all
from clipgres.counts import count_items
from clipgres.database import transaction
from clipgres.errors import ImageError, NotFound
from clipgres.items import Item, find_item
from clipgres.model_files import TINY
from clipgres.saved import list_saved
from clipgres.statistics import collection_statistics
from webapp.errors import Problem
from webapp.params_page import Picture, Values
from webapp.services import Services


def search_page(
    parts: Services,
    values: Values,
    *,
    opened: str | None = None,
    picture: Picture | None = None,
    answer: Answer | None = None,
    problem: Problem | None = None,
) -> str:
    """The whole page; `opened` names the saved search that the values come from."""
    with transaction(parts.engine) as connection:
        known = list_all(connection)
        chosen = _chosen(known, values)
        size = count_items(connection, chosen) if chosen and not (answer and answer.hits) else None
        is_empty = chosen is not None and size is not None and size.items == 0
        around: dict[str, Any] = {
            "collections": known,
            "chosen": chosen.name if chosen else DEFAULT,
            "model_is_tiny": chosen is not None and chosen.space.model == TINY,
            "size": size,
            "emptiness": collection_statistics(connection, chosen) if chosen and is_empty else None,
            "named": _named(connection, values) if answer else {},
        }
    return render_template(
        "search.html",
        values=values,
        opened=opened,
        picture=_kept(parts, picture) if picture else None,
        answer=answer,
        problem=problem,
        address=partial(address, values, "after"),
        saved=[each.name for each in list_saved(parts.engine)],
        **around,
    )


def address(values: Values, *without: str, **more: str) -> str:
    """The address of a search, without some of its parts and with others."""
    kept = {name: each for name, each in values.lists() if name not in without}
    parts: dict[str, Any] = {**kept, **more}
    return url_for("pages.search", **parts)


def _chosen(known: list[Collection], values: Values) -> Collection | None:
    """The collection that is asked for, else the default one, else the first."""
    by_name = {collection.name: collection for collection in known}
    return by_name.get(values.get("collection", DEFAULT)) or by_name.get(DEFAULT) or (known[0] if known else None)


def _named(connection: Connection, values: Values) -> dict[str, Item]:
    """The items, by key, that the search is to be like or unlike; those that are gone by now are missing."""
    found = {}
    for key in values.getlist("like") + values.getlist("unlike"):
        with suppress(NotFound):
            found[key] = find_item(connection, values.get("collection", DEFAULT), key, values.get("namespace", ""))
    return found


def _kept(parts: Services, picture: Picture) -> str | None:
    """The picture as the page shows it and its form carries it on: small, in base64; none if it cannot be read."""
    if picture.kept:
        return picture.kept
    with suppress(ImageError):
        return b64encode(parts.searcher.decoders.picture(picture.body, None, thumbnail=True).thumbnail).decode()
    return None
