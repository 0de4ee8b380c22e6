"""Fetch a URL safely: public addresses only, checked at every redirect, within one deadline and one byte limit."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Self
from urllib.parse import urljoin

import certifi
from urllib3 import BaseHTTPResponse, PoolManager, Timeout
from urllib3.exceptions import ProtocolError

from clipgres.addresses import AddressPolicy
from clipgres.dial import Dialer, Resolver, pinned_pools, system_resolver
from clipgres.errors import BadRequest, ImageError
from clipgres.fetch_errors import FOREIGN_ERRORS, failure, failure_of
from clipgres.reasons import Reason
from clipgres.settings import Settings
from clipgres.transfer import MeteredTLSSocket, begin_transfer, current_transfer
from clipgres.urls import NormalUrl, normalise_url

CHUNK_BYTES = 64 * 1024
RETRY_AFTER_MAX_S = 3_600.0
ACCEPT = "image/avif,image/webp,image/png,image/jpeg,image/gif;q=0.9,*/*;q=0.1"

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_REASON_BY_STATUS = {
    401: Reason.FORBIDDEN,
    403: Reason.FORBIDDEN,
    404: Reason.NOT_FOUND,
    408: Reason.TIMEOUT,
    410: Reason.GONE,
    429: Reason.RATE_LIMITED,
    451: Reason.FORBIDDEN,
}


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a URL gave: the body as it came (content encoding undone), and what the headers say of it."""

    body: bytes
    content_type: str | None
    http_status: int
    final_url: str
    etag: str | None
    last_modified: str | None


class Fetcher:
    """Fetches URLs with reused connections; any number of threads may share one.

    It asks urllib3 directly, since a requests Session reads a redirect's body whole, however long, even when it is
    told not to follow. No proxy, .netrc or cookie is ever used.
    """

    def __init__(
        self, settings: Settings, resolver: Resolver = system_resolver, tls: ssl.SSLContext | None = None
    ) -> None:
        """Read the limits and the address policy from the settings.

        Raises:
            SetupError: `CLIPGRES_FETCH_ALLOW` cannot be read.
        """
        self._settings = settings
        tls = tls or default_tls()
        tls.sslsocket_class = MeteredTLSSocket
        dial = Dialer(AddressPolicy.from_setting(settings.fetch_allow), resolver, settings.fetch_connect_timeout_s)
        headers = {"User-Agent": settings.fetch_user_agent, "Accept": ACCEPT, "Accept-Encoding": "identity"}
        threads = settings.fetch_threads
        self._pools = PoolManager(num_pools=2 * threads, headers=headers, maxsize=threads, ssl_context=tls)
        self._pools.pool_classes_by_scheme = pinned_pools(dial)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that are kept for reuse."""
        self._pools.clear()

    def fetch(self, url: str) -> Fetched:
        """Fetch one URL, following redirects.

        Raises:
            PermanentImageError, TransientImageError: with a reason of the closed list.
        """
        with begin_transfer(self._settings.fetch_total_timeout_s, self._settings.fetch_read_timeout_s):
            try:
                return self._follow(_first_url(url))
            except FOREIGN_ERRORS as error:
                raise failure_of(error) from error

    def _follow(self, url: NormalUrl) -> Fetched:
        for _ in range(self._settings.fetch_max_redirects + 1):
            with self._answer(url) as response:
                if response.status not in _REDIRECTS:
                    return self._fetched(url, response)
                url = _next_url(url, response)
        raise failure(Reason.REDIRECTS, f"more than {self._settings.fetch_max_redirects} redirects")

    def _answer(self, url: NormalUrl) -> BaseHTTPResponse:
        try:
            return self._open(url)
        except ProtocolError as error:
            # A host may close a kept connection at the very moment of its next use: only a new one tells.
            if not isinstance(error.args[-1], ConnectionError):
                raise
            return self._open(url)

    def _open(self, url: NormalUrl) -> BaseHTTPResponse:
        current_transfer().expect_headers()
        timeout = Timeout(self._settings.fetch_connect_timeout_s, self._settings.fetch_read_timeout_s)
        return self._pools.urlopen(
            "GET", url.url, redirect=False, retries=False, preload_content=False, timeout=timeout
        )

    def _fetched(self, url: NormalUrl, response: BaseHTTPResponse) -> Fetched:
        if response.status != 200:
            raise _failure_of_status(response)
        return Fetched(
            body=self._body(response),
            content_type=response.headers.get("Content-Type"),
            http_status=response.status,
            final_url=url.url,
            etag=response.headers.get("ETag"),
            last_modified=response.headers.get("Last-Modified"),
        )

    def _body(self, response: BaseHTTPResponse) -> bytes:
        limit = self._settings.fetch_max_bytes
        if (response.length_remaining or 0) > limit:
            raise _too_many_bytes(limit)
        current_transfer().expect_body(limit)
        body = bytearray()
        for chunk in response.stream(CHUNK_BYTES):
            body += chunk
            if len(body) > limit:
                raise _too_many_bytes(limit)
        return bytes(body)


def default_tls() -> ssl.SSLContext:
    """Verify against the system's certificate authorities and Mozilla's, since small systems ship none."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def retry_after_s(value: str | None) -> float | None:
    """Read a Retry-After header (seconds or a date) as seconds, at most an hour; None: absent or garbage."""
    if not value:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), RETRY_AFTER_MAX_S)
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    wait = (when if when.tzinfo else when.replace(tzinfo=UTC)) - datetime.now(UTC)
    return min(max(wait.total_seconds(), 0.0), RETRY_AFTER_MAX_S)


def _too_many_bytes(limit: int) -> ImageError:
    return failure(Reason.TOO_MANY_BYTES, f"the file is larger than {limit / 1e6:.1f} MB")


def _first_url(url: str) -> NormalUrl:
    try:
        return normalise_url(url)
    except BadRequest as error:
        raise failure(Reason.BAD_URL, str(error)) from error


def _next_url(url: NormalUrl, response: BaseHTTPResponse) -> NormalUrl:
    """Resolve a Location header, which may be relative and hold raw UTF-8, against the URL that sent it."""
    location = response.headers.get("Location")
    if not location:
        raise failure(Reason.REDIRECTS, "a redirect without a Location", http_status=response.status)
    raw = location.encode("latin-1", "replace")
    try:
        return normalise_url(urljoin(url.url, raw.decode("utf-8", "replace")))
    except (BadRequest, ValueError) as error:
        raise failure(Reason.REDIRECTS, f"a redirect to a {error}", http_status=response.status) from error


def _failure_of_status(response: BaseHTTPResponse) -> ImageError:
    status = response.status
    fallback = Reason.SERVER_ERROR if 500 <= status <= 599 else Reason.HTTP_STATUS
    reason = _REASON_BY_STATUS.get(status, fallback)
    wait = retry_after_s(response.headers.get("Retry-After")) if status in (429, 503) else None
    return failure(reason, f"{reason.gloss}: HTTP {status}", http_status=status, retry_after_s=wait)
