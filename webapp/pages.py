"""The search page and its saved searches, the page of one picture, and the collections."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus

from flask import Blueprint, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from clipgres import attempts, saved
from clipgres.database import transaction
from clipgres.errors import BadRequest, UserError
from clipgres.items import find_item
from clipgres.request import SearchRequest
from clipgres.statistics import all_statistics
from webapp.errors import problem_of
from webapp.params import namespace_of
from webapp.params_page import Picture, Values, from_page, opened, picture_of, tidied
from webapp.search_view import address, search_page
from webapp.security import admin_only
from webapp.services import services

pages = Blueprint("pages", __name__)

# Lets Back return to the answer to a picture without sending the picture again.
KEEP_ANSWER_S = 600
# Longer addresses are refused by web servers: what needs one is answered where it was sent to.
MAX_ADDRESS = 3_500


@pages.route("/", methods=["GET", "POST"])
def search() -> ResponseReturnValue:
    """The box, and the answer once something was asked; a wrong question is answered on the same page."""
    parts, values = services(), tidied(request.values)
    if request.method == "GET" and sorted(values.items(multi=True)) != sorted(request.args.items(multi=True)):
        return redirect(address(values))
    name, picture = values.get("saved"), None
    try:
        picture = picture_of(request)
        if request.method == "POST" and not picture and len(address(values)) <= MAX_ADDRESS:
            return redirect(address(values), HTTPStatus.SEE_OTHER)
        values = opened(values, partial(saved.load, parts.engine))
        wanted = _wanted(values, picture)
        answer = parts.searcher.search(wanted) if wanted else None
    except UserError as error:
        problem = problem_of(error)
        return make_response(search_page(parts, values, picture=picture, problem=problem), problem.status)
    response = make_response(search_page(parts, values, opened=name, picture=picture, answer=answer))
    if request.method == "POST":
        response.cache_control.private = True
        response.cache_control.max_age = KEEP_ANSWER_S
    return response


@pages.post("/searches")
@admin_only
def save() -> ResponseReturnValue:
    """Save what the search form holds under a name, and open it there."""
    parts, values = services(), tidied(request.form)
    name, picture = request.form.get("save_as", "").strip(), None
    try:
        picture = picture_of(request)
        wanted = _wanted(values, picture)
        if wanted is None:
            raise BadRequest("say what to search for before you save it", "q")
        saved.save(parts.engine, name, wanted, replace="replace" in request.form)
    except UserError as error:
        problem = problem_of(error)
        return make_response(search_page(parts, values, picture=picture, problem=problem), problem.status)
    return redirect(url_for(".search", saved=name), HTTPStatus.SEE_OTHER)


@pages.post("/searches/delete")
@admin_only
def forget() -> ResponseReturnValue:
    """Delete a saved search."""
    saved.delete_saved(services().engine, request.form.get("name", ""))
    return redirect(url_for(".search"), HTTPStatus.SEE_OTHER)


@pages.get("/items/<collection:collection>/<key:key>")
def item(collection: str, key: str) -> str:
    """One picture with all that is known of it."""
    with transaction(services().engine) as connection:
        found = find_item(connection, collection, key, namespace_of(request))
        history = attempts.of_image(connection, found.image_id) if found.image_id else []
    return render_template("item.html", item=found, collection=collection, history=history)


@pages.get("/collections")
def collections() -> str:
    """Every collection in numbers."""
    with transaction(services().engine) as connection:
        return render_template("collections.html", collections=all_statistics(connection))


def _wanted(values: Values, picture: Picture | None) -> SearchRequest | None:
    """What the values ask for, with the vector of the saved search that they may name."""
    source = values.get("vector_of")
    vector = saved.load(services().engine, source).vector if source else None
    return from_page(values, picture, vector)
