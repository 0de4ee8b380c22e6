"""Errors as answers: each kind of the error tree has its status; programs get problem+json, people get a page."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeVar

from flask import Flask, Response, current_app, make_response, render_template, request
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.exceptions import NotFound as PageNotFound

from clipgres.errors import (
    BadRequest,
    ClipgresError,
    Conflict,
    ImageError,
    ModelError,
    NotFound,
    SetupError,
    Unavailable,
)
from clipgres.plain_text import printable

STATUS = {
    BadRequest: HTTPStatus.BAD_REQUEST,
    NotFound: HTTPStatus.NOT_FOUND,
    Conflict: HTTPStatus.CONFLICT,
    ImageError: HTTPStatus.UNPROCESSABLE_ENTITY,
    SetupError: HTTPStatus.SERVICE_UNAVAILABLE,
    Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}
HINTS = {
    ModelError: "`clipgres doctor` says which model this machine has and how to get the one that is missing.",
    SetupError: "`clipgres doctor` says what is missing on this machine and how to mend it.",
    Unavailable: "Reload this page in a moment. If it stays like this, `clipgres doctor` says which part is away, and "
    "`clipgres up` starts everything.",
}
HEADLINES = {
    HTTPStatus.BAD_REQUEST: "That does not fit",
    HTTPStatus.UNAUTHORIZED: "This needs the admin token",
    HTTPStatus.FORBIDDEN: "That may not be done from there",
    HTTPStatus.NOT_FOUND: "There is nothing here",
    HTTPStatus.CONFLICT: "Something else is in the way",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "That is too large",
    HTTPStatus.UNPROCESSABLE_ENTITY: "That picture cannot be used",
    HTTPStatus.INTERNAL_SERVER_ERROR: "Something went wrong here",
    HTTPStatus.SERVICE_UNAVAILABLE: "Not available at this moment",
}
SUBJECTS = {
    "image": "the picture",
    "image_url": "the picture at that address",
    "like": "more like this",
    "unlike": "less like this",
    "not_text": "without",
    "criterion": "what to compare with",
    "keywords": "caption words to rank by",
    "filter": "the filter",
    "cursor": "this page",
    "weights": "how much each part counts",
}
RETRY_AFTER_S = "5"

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """An error as it is told; `hint` is for people alone."""

    status: HTTPStatus
    detail: str
    field: str | None = None
    reason: str | None = None
    hint: str = ""

    @property
    def title(self) -> str:
        """The status in words."""
        return self.status.phrase

    @property
    def told(self) -> str:
        """The detail for people, who know no field by its name in the API."""
        name, _, rest = self.detail.partition(": ")
        if name not in SUBJECTS or self.field not in (None, name):
            return self.detail
        return f"{SUBJECTS[name]}: {rest.removesuffix(': search again')}"

    @property
    def headline(self) -> str:
        """The status as people say it."""
        return HEADLINES.get(self.status, self.title)

    def to_dict(self) -> dict[str, object]:
        """The body of RFC 9457."""
        told = {"type": "about:blank", "title": self.title, "status": int(self.status), "detail": self.detail}
        more = {"field": self.field, "reason": self.reason}
        return told | {name: value for name, value in more.items() if value is not None}


def handle_errors(app: Flask) -> None:
    """Answer every error in the way that its reader understands."""
    app.register_error_handler(ClipgresError, lambda error: respond(problem_of(error)))
    app.register_error_handler(HTTPException, _respond_http)
    app.register_error_handler(Exception, _respond_unexpected)


def problem_of(error: ClipgresError) -> Problem:
    """What an error of ours is over HTTP."""
    status = _along(STATUS, error, HTTPStatus.INTERNAL_SERVER_ERROR)
    return Problem(
        status=status,
        detail=str(error),
        field=getattr(error, "field", None),
        reason=error.reason.value if isinstance(error, ImageError) else None,
        hint=_along(HINTS, error, ""),
    )


def respond(problem: Problem) -> Response:
    """The problem as JSON under `/api` and for those who ask for JSON, else as a page."""
    if _wants_json():
        response = Response(json.dumps(problem.to_dict()), mimetype="application/problem+json")
    else:
        response = make_response(render_template("error.html", problem=problem))
    response.status_code = problem.status
    if problem.status == HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["Retry-After"] = RETRY_AFTER_S
    return response


def _respond_http(error: HTTPException) -> Response:
    if error.response is not None or error.code is None or error.code < HTTPStatus.BAD_REQUEST:
        return make_response(error.get_response())  # a redirect
    response = respond(Problem(status=HTTPStatus(error.code), detail=_told(error)))
    kept = [(name, value) for name, value in error.get_headers() if name in {"Allow", "WWW-Authenticate"}]
    response.headers.extend(kept)
    return response


def _told(error: HTTPException) -> str:
    if isinstance(error, CSRFError):
        return "this form is too old to be sent: load its page anew and try again"
    if isinstance(error, RequestEntityTooLarge):
        limit = request.max_content_length or 0
        return f"the request is larger than may be sent here ({limit / 1e6:,.0f} MB), or it has too many parts"
    if isinstance(error, PageNotFound) and error.description == PageNotFound.description:
        return f"there is no page at {request.path[:80]}"
    return (error.description or "").rstrip(".")


def _respond_unexpected(error: Exception) -> Response:
    current_app.logger.error("%s %s failed", request.method, printable(request.path), exc_info=error)
    detail = "something unexpected went wrong; the log of the web application says what"
    return respond(Problem(status=HTTPStatus.INTERNAL_SERVER_ERROR, detail=detail))


def _wants_json() -> bool:
    if request.path.startswith("/api/"):
        return True
    return request.accept_mimetypes.best_match(["text/html", "application/json"]) == "application/json"


def _along(table: dict[type[ClipgresError], T], error: ClipgresError, default: T) -> T:
    """The entry of the error's most specific kind."""
    return next((table[kind] for kind in type(error).__mro__ if kind in table), default)
