"""HTTP over checked addresses: one request at a time on connections kept for reuse; nothing is followed or retried."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Mapping
from urllib.parse import urljoin

import certifi
from urllib3 import BaseHTTPResponse, PoolManager, Timeout
from urllib3.exceptions import ProtocolError

from clipgres.errors import BadRequest
from clipgres.fetching.addresses import AddressPolicy
from clipgres.fetching.dial import Dialer, Resolver, pinned_pools, system_resolver
from clipgres.fetching.errors import failure
from clipgres.fetching.transfer import MeteredTLSSocket, current_transfer
from clipgres.reasons import Reason
from clipgres.settings import Settings
from clipgres.urls import NormalUrl, normalise_url

# Most pictures are one read. What is packed is read in small ones, since many empty gzip members take a time that grows
# with the square of it: 19 MB of them 11 s in reads of 1 MB, 3 s in reads of 256 kB.
CHUNK_BYTES, PACKED_CHUNK_BYTES = 1024 * 1024, 16 * 1024


class Transport:
    """Opens URLs with reused connections, each within the current transfer; any number of threads may share one.

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
        # It warns, with a traceback, of every reply whose headers are odd: strangers would fill the log.
        logging.getLogger("urllib3.connection").setLevel(logging.ERROR)
        self._timeout = Timeout(settings.fetch_connect_timeout_s, settings.fetch_read_timeout_s)
        self._headers = {"User-Agent": settings.fetch_user_agent, "Accept-Encoding": "identity"}
        tls = tls or default_tls()
        tls.sslsocket_class = MeteredTLSSocket
        dial = Dialer(AddressPolicy.from_setting(settings.fetch_allow), resolver, settings.fetch_connect_timeout_s)
        threads = settings.fetch_threads
        self._pools = PoolManager(num_pools=2 * threads, maxsize=threads, ssl_context=tls)
        self._pools.pool_classes_by_scheme = pinned_pools(dial)

    def close(self) -> None:
        """Close the connections that are kept for reuse."""
        self._pools.clear()

    def get(self, url: NormalUrl, headers: Mapping[str, str]) -> BaseHTTPResponse:
        """Ask for a URL; the reply's body has not been read, and closing it early closes its connection."""
        try:
            return self._open(url, headers)
        except ProtocolError as error:
            # A host may close a kept connection at the very moment of its next use: only a new one tells.
            if not isinstance(error.args[-1], ConnectionError):
                raise
            return self._open(url, headers)

    def _open(self, url: NormalUrl, headers: Mapping[str, str]) -> BaseHTTPResponse:
        current_transfer().expect_headers()
        return self._pools.urlopen(
            "GET",
            url.url,
            headers={**self._headers, **headers},
            redirect=False,
            retries=False,
            preload_content=False,
            timeout=self._timeout,
        )


def start_of_body(response: BaseHTTPResponse, most: int) -> bytes:
    """Read a body (content encoding undone) until its end, or until `most` bytes of it and hardly more are there."""
    current_transfer().expect_body(most)
    is_packed = "Content-Encoding" in response.headers
    body = bytearray()
    for chunk in response.stream(min(most, PACKED_CHUNK_BYTES if is_packed else CHUNK_BYTES)):
        body += chunk
        if len(body) >= most:
            break
    return bytes(body)


def next_url(url: NormalUrl, response: BaseHTTPResponse) -> NormalUrl:
    """Resolve a Location header, which may be relative and hold raw UTF-8, against the URL that sent it.

    Raises:
        PermanentImageError: it leads nowhere.
    """
    location = response.headers.get("Location")
    if not location:
        raise failure(Reason.REDIRECTS, "a redirect without a Location", http_status=response.status)
    raw = location.encode("latin-1", "replace")
    try:
        return normalise_url(urljoin(url.url, raw.decode("utf-8", "replace")))
    except (BadRequest, ValueError) as error:
        raise failure(Reason.REDIRECTS, f"a redirect to a {error}", http_status=response.status) from error


def default_tls() -> ssl.SSLContext:
    """Verify against the system's certificate authorities and Mozilla's, since small systems ship none."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context
