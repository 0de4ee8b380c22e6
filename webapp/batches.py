"""The pages of imports: all of them, and one with its progress, its reasons and its retry."""

from __future__ import annotations

from flask import Blueprint, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from clipgres import failures
from clipgres.batches import progress, recent, refusals
from clipgres.database import transaction
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
            failures=failures.by_reason(connection, batch=batch_id),
            refusals=refusals(connection, batch_id, SHOWN_REFUSALS),
        )


@batches.post(f"/batches/<int(max={MAX_ID}):batch_id>/retry")
@admin_only
def retry(batch_id: int) -> ResponseReturnValue:
    """Try again what failed."""
    with transaction(services().engine) as connection:
        progress(connection, batch_id)
        failures.retry(connection, collection=None, batch=batch_id)
    return redirect(url_for(".show", batch_id=batch_id), 303)
