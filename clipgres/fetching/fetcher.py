"""Fetch a URL safely: public addresses only, checked at every redirect, within one deadline and one byte limit."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from urllib3 import BaseHTTPResponse

from clipgres.errors import BadRequest, ImageError
from clipgres.fetching.dial import Resolver, system_resolver
from clipgres.fetching.errors import failure, foreign_errors_named
from clipgres.fetching.opt_out import HEADER, OptOut
from clipgres.fetching.robots import Robots, product_token
from clipgres.fetching.statuses import PERMANENT_REDIRECTS, REDIRECTS, failure_of_status
from clipgres.fetching.transfer import begin_transfer
from clipgres.fetching.transport import Transport, next_url, start_of_body
from clipgres.reasons import Reason
from clipgres.settings import Settings
from clipgres.urls import NormalUrl, normalise_url

HEADERS = {"Accept": "image/avif,image/webp,image/png,image/jpeg,image/gif;q=0.9,*/*;q=0.1"}

_SENDABLE = re.compile(r"[\x21-\x7e\xa1-\xff](?:[\x20-\x7e\xa0-\xff]*[\x21-\x7e\xa1-\xff])?")


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a URL gave: the body as it came (content encoding undone), and what the headers say of it.

    `is_moved` when permanent redirects alone (301, 308), and at least one, led to `final_url`. What a temporary one led
    to has no `etag` and no `last_modified`: the next look begins at the first URL, which never said them.
    """

    body: bytes
    content_type: str | None
    http_status: int
    final_url: str
    etag: str | None
    last_modified: str | None
    x_robots_tag: str | None = None
    is_moved: bool = False


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of a reply seen before: the headers that ask for a newer one, and the one URL that they are for."""

    url: str = ""
    headers: Mapping[str, str] | None = None

    def headers_for(self, url: NormalUrl) -> Mapping[str, str]:
        return (self.headers or {}) if url.url == self.url else {}


class Fetcher:
    """Fetches URLs as the settings allow; any number of threads may share one."""

    def __init__(
        self, settings: Settings, resolver: Resolver = system_resolver, tls: ssl.SSLContext | None = None
    ) -> None:
        """Read the limits, the address policy and what is obeyed from the settings.

        Raises:
            SetupError: `CLIPGRES_FETCH_ALLOW` cannot be read.
        """
        token = product_token(settings.fetch_user_agent)
        self._settings = settings
        self._transport = Transport(settings, resolver, tls)
        self._robots = Robots(self._transport, token) if settings.fetch_robots else None
        self._opt_out = OptOut.from_setting(settings.fetch_opt_out, token)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that are kept for reuse."""
        self._transport.close()

    def fetch(self, url: str) -> Fetched:
        """Fetch one URL, following redirects.

        Raises:
            PermanentImageError, TransientImageError: with a reason of the closed list.
        """
        fetched = self._fetch(url, _Known())
        assert fetched is not None  # noqa: S101 - only what is known can be unchanged
        return fetched

    def fetch_if_changed(
        self, url: str, *, etag: str | None, last_modified: str | None, final_url: str | None = None
    ) -> Fetched | None:
        """Fetch one URL unless it is still what it was (304): then None.

        The `etag` and `last_modified` were those of `final_url`, if redirects led there, and are sent there alone.

        Raises:
            PermanentImageError, TransientImageError: with a reason of the closed list.
        """
        asked = {"If-None-Match": etag, "If-Modified-Since": last_modified}
        headers = {name: value for name, value in asked.items() if value and _SENDABLE.fullmatch(value)}
        return self._fetch(url, _Known(final_url or _first_url(url).url, headers))

    def _fetch(self, url: str, known: _Known) -> Fetched | None:
        first = _first_url(url)
        with begin_transfer(self._settings.fetch_total_timeout_s, self._settings.fetch_read_timeout_s):
            with foreign_errors_named():
                return self._follow(first, known)

    def _follow(self, url: NormalUrl, known: _Known) -> Fetched | None:
        statuses: set[int] = set()
        for _ in range(self._settings.fetch_max_redirects + 1):
            if self._robots:
                self._robots.check(url)
            conditions = known.headers_for(url)
            with self._transport.get(url, {**HEADERS, **conditions}) as response:
                if response.status in {200, 304} | REDIRECTS:
                    self._opt_out.check(response.headers.getlist(HEADER))
                if response.status == 304 and conditions:
                    return None
                if response.status not in REDIRECTS:
                    return self._fetched(url, response, statuses)
                statuses.add(response.status)
                url = next_url(url, response)
        raise failure(Reason.REDIRECTS, f"more than {self._settings.fetch_max_redirects} redirects")

    def _fetched(self, url: NormalUrl, response: BaseHTTPResponse, redirects: set[int]) -> Fetched:
        if response.status != 200:
            raise failure_of_status(response)
        is_where_asked = redirects <= PERMANENT_REDIRECTS
        return Fetched(
            body=self._body(response),
            content_type=response.headers.get("Content-Type"),
            http_status=response.status,
            final_url=url.url,
            etag=response.headers.get("ETag") if is_where_asked else None,
            last_modified=response.headers.get("Last-Modified") if is_where_asked else None,
            x_robots_tag=response.headers.get(HEADER),
            is_moved=bool(redirects) and is_where_asked,
        )

    def _body(self, response: BaseHTTPResponse) -> bytes:
        limit = self._settings.fetch_max_bytes
        if (response.length_remaining or 0) > limit:
            raise _too_many_bytes(limit)
        body = start_of_body(response, limit + 1)
        if len(body) > limit:
            raise _too_many_bytes(limit)
        return body


def _too_many_bytes(limit: int) -> ImageError:
    return failure(Reason.TOO_MANY_BYTES, f"the file is larger than {limit / 1e6:.1f} MB")


def _first_url(url: str) -> NormalUrl:
    try:
        return normalise_url(url)
    except BadRequest as error:
        raise failure(Reason.BAD_URL, str(error)) from error
