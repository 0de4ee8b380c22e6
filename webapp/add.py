"""The page that adds pictures: one address, pasted lines, or a file."""

from __future__ import annotations

import io
from typing import BinaryIO, cast

from flask import Blueprint, Request, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from clipgres.collections import DEFAULT, list_all
from clipgres.database import transaction
from clipgres.errors import BadRequest, UserError
from clipgres.lists import OpenedList, open_rows, open_stream
from webapp.errors import problem_of
from webapp.intake import take
from webapp.security import admin_only
from webapp.services import services

add = Blueprint("add", __name__)


@add.get("/add")
@admin_only
def form() -> str:
    """The empty form."""
    return _page()


@add.post("/add")
@admin_only
def submit() -> ResponseReturnValue:
    """Take what was sent and lead to its batch; what does not fit is said above the form, still filled in."""
    try:
        opened = _opened(request, services().settings.caption_max_chars)
        added, _ = take(services(), request.form.get("collection") or DEFAULT, opened)
    except UserError as error:
        problem = problem_of(error)
        return make_response(_page(problem=problem), problem.status)
    return redirect(url_for("batches.show", batch_id=added.batch), 303)


def _opened(request: Request, caption_max_chars: int) -> OpenedList:
    """The one list that the form holds."""
    url, lines, upload = request.form.get("url", "").strip(), request.form.get("lines", ""), request.files.get("list")
    if url:
        row = {"url": url, "caption": request.form.get("caption", "")}
        return open_rows([row], url[:200], caption_max_chars=caption_max_chars)
    if lines.strip():
        return open_stream(io.BytesIO(lines.encode()), "pasted lines", caption_max_chars=caption_max_chars)
    if upload and upload.filename:
        return open_stream(cast(BinaryIO, upload.stream), upload.filename[-200:], caption_max_chars=caption_max_chars)
    raise BadRequest("give an address, lines, or a file", "url")


def _page(**more: object) -> str:
    with transaction(services().engine) as connection:
        return render_template("add.html", collections=list_all(connection), values=request.form, **more)
