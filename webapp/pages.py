"""The search page, the page of one picture, and the collections."""

from __future__ import annotations

from base64 import b64encode
from http import HTTPStatus
from urllib.parse import urlencode

from flask import Blueprint, make_response, render_template, request, url_for
from flask.typing import ResponseReturnValue

from clipgres.collections import DEFAULT, Collection, list_all
from clipgres.counts import count_items
from clipgres.database import transaction
from clipgres.decode import decode
from clipgres.decode import thumbnail as make_thumbnail
from clipgres.errors import UserError
from clipgres.items import find_item
from clipgres.model_files import TINY
from clipgres.request import SearchRequest
from clipgres.statistics import all_statistics, collection_statistics
from webapp.errors import problem_of
from webapp.params import from_page, namespace_of
from webapp.services import Services, services

pages = Blueprint("pages", __name__)

# Lets Back return to the answer to a picture without sending the picture again.
KEEP_ANSWER_S = 600


@pages.route("/", methods=["GET", "POST"])
def search() -> ResponseReturnValue:
    """The box, and the answer once something was asked; a wrong question is answered on the same page."""
    parts = services()
    wanted = answer = picture = problem = None
    try:
        wanted = from_page(request)
        if wanted:
            answer = parts.searcher.search(wanted)
            picture = _query_picture(parts, wanted)
    except UserError as error:
        problem = problem_of(error)
    response = make_response(
        render_template(
            "search.html",
            wanted=wanted,
            answer=answer,
            query_picture=picture,
            problem=problem,
            values=request.values,
            without_min=f"{url_for('.search')}?{_without_min()}",
            **_surroundings(parts, needs_counts=not (answer and answer.hits)),
        ),
        problem.status if problem else HTTPStatus.OK,
    )
    if request.method == "POST":
        response.cache_control.private = True
        response.cache_control.max_age = KEEP_ANSWER_S
    return response


@pages.get("/items/<collection:collection>/<key:key>")
def item(collection: str, key: str) -> str:
    """One picture with all that is known of it."""
    with transaction(services().engine) as connection:
        found = find_item(connection, collection, key, namespace_of(request))
    return render_template("item.html", item=found, collection=collection)


@pages.get("/collections")
def collections() -> str:
    """Every collection in numbers."""
    with transaction(services().engine) as connection:
        return render_template("collections.html", collections=all_statistics(connection))


def _surroundings(parts: Services, *, needs_counts: bool) -> dict[str, object]:
    """What the page shows beside the answer: the collections to choose from, and where nothing was found, why."""
    with transaction(parts.engine) as connection:
        known = list_all(connection)
        chosen = _chosen(known)
        size = count_items(connection, chosen) if chosen and needs_counts else None
        is_empty = chosen is not None and size is not None and size.items == 0
        return {
            "collections": known,
            "chosen": chosen.name if chosen else DEFAULT,
            "model_is_tiny": chosen is not None and chosen.space.model == TINY,
            "size": size,
            "emptiness": collection_statistics(connection, chosen) if chosen and is_empty else None,
        }


def _chosen(known: list[Collection]) -> Collection | None:
    """The collection that is asked for, else the default one, else the first."""
    by_name = {collection.name: collection for collection in known}
    asked = request.values.get("collection") or DEFAULT
    return by_name.get(asked) or by_name.get(DEFAULT) or (known[0] if known else None)


def _query_picture(parts: Services, wanted: SearchRequest) -> str | None:
    """Where the page finds the picture that was asked with."""
    if wanted.image:
        webp = make_thumbnail(decode(wanted.image, parts.settings).image)
        return f"data:image/webp;base64,{b64encode(webp).decode()}"
    if wanted.image_url:
        return wanted.image_url
    if not wanted.like:
        return None
    with transaction(parts.engine) as connection:
        liked = find_item(connection, wanted.collection, wanted.like[0], wanted.namespace)
    return url_for("thumbnails.show", image_id=liked.image_id) if liked.has_thumbnail else liked.url


def _without_min() -> str:
    """The query string of this search without its threshold."""
    return urlencode({name: values for name, values in request.args.lists() if name != "min"}, doseq=True)
