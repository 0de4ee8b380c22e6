"""The page of failures: what failed and why, what is to be done still, and the buttons that try again or ignore."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, flash, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from redis.exceptions import RedisError
from sqlalchemy import Connection

from clipgres import failures as store
from clipgres.backlog import backlog
from clipgres.collections import list_all
from clipgres.database import transaction
from clipgres.errors import UserError
from clipgres.failures import FailureFilter, Grouping
from clipgres.presence import WorkerInfo, workers
from clipgres.reasons import Reason
from clipgres.standing import backlog_lines, workers_line
from clipgres.wording import many
from webapp.errors import problem_of
from webapp.params_failures import filter_of, grouping_of
from webapp.security import admin_only
from webapp.services import services

failures = Blueprint("failures", __name__, url_prefix="/failures")


@failures.get("")
def show() -> ResponseReturnValue:
    """What failed, narrowed down by the address; what does not fit in it is said above the form."""
    with transaction(services().engine) as connection:
        page = _standing(connection)
        try:
            page |= _failed(connection, filter_of(request.args), grouping_of(request.args))
        except UserError as error:
            page["problem"] = problem_of(error)
    problem = page.get("problem")
    return make_response(render_template("failures.html", **page), problem.status if problem else 200)


@failures.post("/retry")
@admin_only
def retry() -> ResponseReturnValue:
    """Try again what the page showed."""
    return _act(store.retry, "will be tried again")


@failures.post("/ignore")
@admin_only
def ignore() -> ResponseReturnValue:
    """Ignore what the page showed."""
    return _act(store.ignore, "ignored from now on")


def _act(action: Callable[[Connection, FailureFilter], int], outcome: str) -> ResponseReturnValue:
    chosen = filter_of(request.form)
    with transaction(services().engine) as connection:
        flash(f"{many(action(connection, chosen), 'picture')} {outcome}.")
    return redirect(url_for(".show", **_asked(chosen), by=grouping_of(request.form)), 303)


def _standing(connection: Connection) -> dict[str, Any]:
    """What the page says whatever was asked."""
    now, alive = backlog(connection), _workers()
    return {
        "now": now,
        "alive": alive,
        "lines": [*workers_line(alive).splitlines(), *backlog_lines(now)],
        "collections": list_all(connection),
        "reasons": list(Reason),
        "groupings": list(Grouping),
        "asked": {},
        "values": request.args,
    }


def _failed(connection: Connection, chosen: FailureFilter, by: Grouping) -> dict[str, Any]:
    return {
        "chosen": chosen,
        "asked": _asked(chosen),
        "by": by,
        "totals": store.totals(connection, chosen),
        "groups": store.grouped(connection, chosen, by),
        "pictures": store.samples(connection, chosen),
    }


def _asked(chosen: FailureFilter) -> dict[str, Any]:
    """The filter as it stands in an address."""
    return {name: 1 if value is True else value for name, value in chosen.given().items()}


def _workers() -> list[WorkerInfo] | None:
    try:
        return workers(services().redis)
    except RedisError:
        return None
