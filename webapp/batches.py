"""The pages of imports: all of them, and one with its progress, its reasons and its retry."""

from __future__ import annotations

from flask import Blueprint, Response, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from clipgres import failures
from clipgres.batches import progress, recent, refusals
from clipgres.database import transaction
from clipgres.failures import FailureFilter
from clipgres.lists import report
from webapp.routing import MAX_ID
from webapp.security import admin_only
from webapp.services import services

batches = Blueprint("batches", __name__)

SHOWN_BATCHES = 100
SHOWN_REFUSALS = 100


@batches.get("/batches")
def listing() -> str:
    """The latest imports."""
    with transaction(services().engine) as connection:
        return render_template("batches.html", batches=recent(connection, SHOWN_BATCHES))


@batches.get(f"/batches/<int(max={MAX_ID}):batch_id>")
def show(batch_id: int) -> str:
    """One import: how far it is, and why some of it failed."""
    with transaction(services().engine) as connection:
        return render_template(
            "batch.html",
            batch=progress(connection, batch_id),
            failures=failures.by_reason(connection, FailureFilter(batch=batch_id)),
            refusals=refusals(connection, batch_id, SHOWN_REFUSALS),
        )


@batches.get(f"/batches/<int(max={MAX_ID}):batch_id>/refused.tsv")
def refused(batch_id: int) -> Response:
    """The refused lines that are kept, as a file to mend the list by."""
    with transaction(services().engine) as connection:
        batch = progress(connection, batch_id)
        lines = report(refusals(connection, batch_id))
    response = Response(lines, mimetype="text/tab-separated-values")
    response.headers.set("Content-Disposition", "attachment", filename=f"batch-{batch.id}-refused.tsv")
    return response


@batches.post(f"/batches/<int(max={MAX_ID}):batch_id>/retry")
@admin_only
def retry(batch_id: int) -> ResponseReturnValue:
    """Try again what failed."""
    with transaction(services().engine) as connection:
        failures.retry(connection, FailureFilter(batch=batch_id))
    return redirect(url_for(".show", batch_id=batch_id), 303)
