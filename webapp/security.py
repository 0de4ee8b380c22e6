"""Who may do what: the rule of loopback, requests of other sites, CSRF on forms, body limits, and the headers."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from functools import wraps
from ipaddress import ip_address
from typing import ParamSpec, TypeVar
from urllib.parse import urlsplit

from flask import Flask, Response, current_app, request
from flask_wtf import CSRFProtect
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Forbidden, MisdirectedRequest, Unauthorized

from clipgres.errors import SetupError
from clipgres.settings import Settings

HEADERS = {
    # Pictures may come from any host, since results point at the originals; nothing else may come from elsewhere.
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' https: http: data: blob:; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
# Lists are streamed or spooled to disk, so they may be larger than a picture.
LIST_ENDPOINTS = {"add.submit", "api.add_images"}
PASTED_LIST_BYTES = 2_000_000

P = ParamSpec("P")
R = TypeVar("R")

csrf = CSRFProtect()


def require_token(settings: Settings, bind_host: str) -> None:
    """Refuse to be open to the network without an admin token.

    Raises:
        SetupError: `bind_host` is beyond loopback and no token is set.
    """
    if not is_loopback(bind_host) and not settings.admin_token:
        raise SetupError(
            f"listening on {bind_host} opens clipgres to the network: set CLIPGRES_ADMIN_TOKEN to a long secret "
            "(`openssl rand -hex 32` makes one), or listen on 127.0.0.1"
        )


def protect(app: Flask, settings: Settings, bind_host: str) -> None:
    """Put the walls around an app that listens on `bind_host`.

    Raises:
        SetupError: it would be open to the network, and no admin token is set.
    """
    require_token(settings, bind_host)
    local = is_loopback(bind_host)
    token = settings.admin_token.get_secret_value() if settings.admin_token else ""
    app.config.update(
        ADMIN_TOKEN=None if local else token,
        SECRET_KEY=_session_key(token),
        SESSION_COOKIE_NAME="clipgres",
        SESSION_COOKIE_SAMESITE="Lax",
        WTF_CSRF_TIME_LIMIT=None,
        WTF_CSRF_SSL_STRICT=False,  # it needs the Referer, which our own policy keeps back
        MAX_CONTENT_LENGTH=settings.upload_max_bytes + 100_000,  # room for the fields beside the picture
        MAX_FORM_MEMORY_SIZE=PASTED_LIST_BYTES,
        MAX_FORM_PARTS=1_000,
    )
    if local:
        app.before_request(_refuse_foreign_host)
    app.before_request(_refuse_other_sites)
    app.before_request(lambda: _limit_body(settings))
    csrf.init_app(app)
    app.after_request(_add_headers)


def is_loopback(host: str) -> bool:
    """Whether a host name or address, without a port, is this machine itself."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def admin_only(view: Callable[P, R]) -> Callable[P, R]:
    """Beyond loopback, let only those in who know the admin token: as bearer, or as the password a browser asks for."""

    @wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        if not _is_admin():
            challenges = [WWWAuthenticate("basic", {"realm": "clipgres"}), WWWAuthenticate("bearer")]
            raise Unauthorized("this needs the token of CLIPGRES_ADMIN_TOKEN", www_authenticate=challenges)
        return view(*args, **kwargs)

    return guarded


def _is_admin() -> bool:
    expected = current_app.config["ADMIN_TOKEN"]
    return expected is None or hmac.compare_digest(_given_token().encode(), expected.encode())


def _given_token() -> str:
    given = request.authorization
    if given is None:
        return ""
    return (given.token if given.type == "bearer" else given.password) or ""


def _session_key(token: str) -> bytes:
    """Sign forms with a key that every web process of an installation shares; without a token there is only one."""
    return hmac.digest(token.encode(), b"clipgres sessions", hashlib.sha256) if token else secrets.token_bytes(32)


def _refuse_foreign_host() -> None:
    """A page elsewhere can point its own name at 127.0.0.1 (DNS rebinding): its name gives it away."""
    try:
        name = urlsplit(f"//{request.host}").hostname or ""
    except ValueError:
        name = ""
    if not is_loopback(name):
        raise MisdirectedRequest("this clipgres answers on this machine only: open it as http://localhost")


def _refuse_other_sites() -> None:
    """Other sites may link here, and nothing more."""
    site = request.headers.get("Sec-Fetch-Site")
    is_link = request.method in SAFE_METHODS and request.headers.get("Sec-Fetch-Mode") == "navigate"
    is_foreign = _has_foreign_origin() if site is None else site not in {"none", "same-origin"} and not is_link
    if is_foreign:
        raise Forbidden("this request comes from another site")


def _has_foreign_origin() -> bool:
    """What an old browser says of itself; a form's Origin is `null` under our referrer policy, but it has its token."""
    origin = request.headers.get("Origin")
    is_form = request.blueprint != "api"
    return not is_form and origin is not None and origin.partition("://")[2] != request.host


def _limit_body(settings: Settings) -> None:
    """Let a list be large, but only from those who may add one: a form is read before its view is asked."""
    if request.endpoint in LIST_ENDPOINTS and not request.is_json and _is_admin():
        request.max_content_length = settings.list_max_bytes


def _add_headers(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response
