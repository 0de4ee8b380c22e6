"""Every way in which a web server can misbehave: a named reason for each, within the deadline, and no thread left."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
import trustme

from clipgres.decoding.decode import decode
from clipgres.errors import ImageError, TransientImageError
from clipgres.fetching import Fetcher
from clipgres.fetching.dial import system_resolver
from clipgres.reasons import Reason
from clipgres.settings import Settings
from tests.hostile import HostileServer, hostile_server

TOTAL_S, READ_S, SLACK_S = 1.5, 0.75, 1.0
PICTURE = None

# What each reply leads to, decoding included; None is a picture.
REPLIES: dict[str, Reason | None] = {
    "204": Reason.HTTP_STATUS,
    "206": Reason.HTTP_STATUS,
    "300": Reason.HTTP_STATUS,
    "304": Reason.HTTP_STATUS,
    "101": Reason.HTTP_STATUS,
    "401": Reason.FORBIDDEN,
    "403": Reason.FORBIDDEN,
    "404": Reason.NOT_FOUND,
    "408": Reason.TIMEOUT,
    "410": Reason.GONE,
    "418": Reason.HTTP_STATUS,
    "451": Reason.FORBIDDEN,
    "500": Reason.SERVER_ERROR,
    "502": Reason.SERVER_ERROR,
    "503": Reason.SERVER_ERROR,
    "504": Reason.SERVER_ERROR,
    "999": Reason.HTTP_STATUS,
    "retry-after?429,7": Reason.RATE_LIMITED,
    "retry-after?503,soon": Reason.SERVER_ERROR,
    "picture": PICTURE,
    "text-as-jpeg-is-jpeg": PICTURE,
    "html-as-jpeg": Reason.NOT_AN_IMAGE,
    "login-page": Reason.NOT_AN_IMAGE,
    "meta-refresh": Reason.NOT_AN_IMAGE,
    "cookie-wall": Reason.NOT_AN_IMAGE,
    "json-error": Reason.NOT_AN_IMAGE,
    "svg": Reason.NOT_AN_IMAGE,
    "svg-as-jpeg": Reason.NOT_AN_IMAGE,
    "pdf-as-jpeg": Reason.NOT_AN_IMAGE,
    "zip-as-jpeg": Reason.NOT_AN_IMAGE,
    "eps-as-jpeg": Reason.NOT_AN_IMAGE,
    "empty": Reason.NOT_AN_IMAGE,
    "oversize": Reason.TOO_MANY_BYTES,
    "cut-short": Reason.CUT_SHORT,
    "short-length": Reason.TRUNCATED,
    "negative-length": PICTURE,
    "huge-length": PICTURE,
    "word-length": PICTURE,
    "two-lengths": Reason.BAD_HTTP,
    "no-length": PICTURE,
    "reset": Reason.CUT_SHORT,
    "silence": Reason.CUT_SHORT,
    "endless": Reason.TOO_MANY_BYTES,
    "slow-body": Reason.TIMEOUT,
    "gzip": PICTURE,
    "deflate": PICTURE,
    "double-gzip": PICTURE,
    "stacked-encodings": Reason.BAD_HTTP,
    "unknown-encoding": PICTURE,
    "brotli-said": PICTURE,
    "bad-gzip": Reason.BAD_HTTP,
    "cut-gzip": Reason.BROKEN_IMAGE,
    "gzip-members": Reason.NOT_AN_IMAGE,
    "gzip-bomb": Reason.TOO_MANY_BYTES,
    "double-gzip-bomb": Reason.TOO_MANY_BYTES,
    "bomb-in-redirect": PICTURE,
    "chunks": PICTURE,
    "bad-chunks": Reason.BAD_HTTP,
    "negative-chunk": Reason.BAD_HTTP,
    "huge-chunk": Reason.CUT_SHORT,
    "overflowing-chunk": Reason.CUT_SHORT,
    "unended-chunks": Reason.CUT_SHORT,
    "endless-chunks": Reason.TOO_MANY_BYTES,
    "endless-trailers": Reason.TOO_MANY_BYTES,
    "slow-chunks": Reason.TIMEOUT,
    "garbage": Reason.BAD_HTTP,
    "http-0.9": Reason.BAD_HTTP,
    "status-too-long": Reason.BAD_HTTP,
    "header-without-colon": Reason.NOT_AN_IMAGE,
    "nul-in-header": PICTURE,
    "many-headers": Reason.BAD_HTTP,
    "long-headers": Reason.BAD_HTTP,
    "endless-header": Reason.BAD_HTTP,
    "slow-headers": Reason.TIMEOUT,
    "hang": Reason.TIMEOUT,
    "one-100": PICTURE,
    "endless-100": Reason.BAD_HTTP,
    "slow-100": Reason.TIMEOUT,
    "no-location": Reason.REDIRECTS,
    "relative": PICTURE,
    "unicode-location": Reason.NOT_FOUND,
    "loop": Reason.REDIRECTS,
    "slow-loop": Reason.TIMEOUT,
    "countdown?5": PICTURE,
    "countdown?6": Reason.REDIRECTS,
    "redirect?301,/picture": PICTURE,
    "redirect?308,/picture": PICTURE,
    "redirect?302,file:///etc/passwd": Reason.REDIRECTS,
    "redirect?302,ftp://127.0.0.1/": Reason.REDIRECTS,
    "redirect?302,http://a:b@127.0.0.1/": Reason.REDIRECTS,
    "redirect?302,http://[": Reason.REDIRECTS,
    "redirect?302,http://8.8.8.8:22/": Reason.BLOCKED_ADDRESS,
    "tagged?index": PICTURE,
    "tagged?noai": Reason.OPTED_OUT,
    "tagged?otherbot: noai": PICTURE,
    "tagged-endless?noimageai": Reason.OPTED_OUT,
}

# What robots.txt says, by the host that has it.
ROBOTS: dict[str, Reason | None] = {
    "none": PICTURE,
    "empty": PICTURE,
    "deny": Reason.ROBOTS_DENIED,
    "deny-us": Reason.ROBOTS_DENIED,
    "deny-others": PICTURE,
    "deny-some": PICTURE,
    "deny-late": PICTURE,
    "deny-cut": PICTURE,
    "picture": PICTURE,
    "bomb": PICTURE,
    "endless": PICTURE,
    "loop": PICTURE,
    "moved": Reason.ROBOTS_DENIED,
    "moved-to-mail": PICTURE,
    "moved-inside": Reason.BLOCKED_ADDRESS,
    "status-204": PICTURE,
    "status-304": PICTURE,
    "status-403": PICTURE,
    "status-429": Reason.RATE_LIMITED,
    "status-500": Reason.SERVER_ERROR,
    "status-503": Reason.SERVER_ERROR,
    "cut-short": Reason.CUT_SHORT,
    "garbage": Reason.BAD_HTTP,
    "silence": Reason.CUT_SHORT,
    "slow": Reason.TIMEOUT,
    "hang": Reason.TIMEOUT,
}

TLS: dict[str, Reason | None] = {
    "good.test": PICTURE,
    "other.test": Reason.TLS_FAILED,
    "expired.test": Reason.TLS_FAILED,
    "self-signed.test": Reason.TLS_FAILED,
    "old.test": Reason.TLS_FAILED,
    "not-tls.test": Reason.TLS_FAILED,
    "silent.test": Reason.TIMEOUT,
    "trickled.test": Reason.TIMEOUT,
    "slow-body.test": Reason.TIMEOUT,
    "slow-headers.test": Reason.TIMEOUT,
}

NAMES: dict[str, Reason | None] = {
    "nowhere.invalid": Reason.DNS_FAILED,
    "empty.test": Reason.DNS_FAILED,
    "hanging.test": Reason.DNS_FAILED,
    "broken.test": Reason.DNS_FAILED,
    "refusing.test": Reason.REFUSED,
}


@dataclass(frozen=True, slots=True)
class End:
    """What became of a URL: the reason of its failure, None for a picture, and how long it took."""

    reason: Reason | None
    seconds: float


@dataclass(slots=True)
class Trial:
    """The URLs that are tried, and a fetcher that knows the names in them."""

    fetcher: Fetcher
    settings: Settings
    urls: dict[str, str]

    def __call__(self, case: str) -> End:
        """Fetch and decode one of them."""
        started = time.monotonic()
        try:
            decode(self.fetcher.fetch(self.urls[case]).body, self.settings)
        except ImageError as error:
            assert isinstance(error, TransientImageError) is error.reason.is_transient
            return End(error.reason, time.monotonic() - started)
        return End(None, time.monotonic() - started)


@contextmanager
def trickle(greeting: bytes) -> Iterator[int]:
    """A port on which something that is not asked for arrives, then more of it byte by byte."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closing = threading.Event()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(greeting)
                while not closing.wait(0.1):
                    try:
                        connection.sendall(b"\x02")
                    except OSError:
                        return

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        closing.set()
        thread.join()


@contextmanager
def tls_urls(authority: trustme.CA) -> Iterator[dict[str, str]]:
    """A URL for each of the hosts in `TLS`."""
    now = datetime.now(UTC)
    certificates = {
        "good.test": authority.issue_cert("good.test", "slow-body.test", "slow-headers.test"),
        "expired.test": authority.issue_cert("expired.test", not_after=now - timedelta(days=1)),
        "self-signed.test": trustme.CA().issue_cert("self-signed.test"),
        "old.test": authority.issue_cert("old.test"),
    }
    with ExitStack() as stack:
        servers: dict[str, HostileServer] = {}
        for host, certificate in certificates.items():
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            certificate.configure_cert(context)
            if host == "old.test":
                context.set_ciphers("ALL:@SECLEVEL=0")
                context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1
            servers[host] = stack.enter_context(hostile_server(tls=context))
        plain = stack.enter_context(trickle(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
        record = stack.enter_context(trickle(b"\x16\x03\x03\x40\x00"))
        mute = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        good = servers["good.test"]
        yield {host: server.url("picture", host) for host, server in servers.items()} | {
            "other.test": good.url("picture", "other.test"),
            "slow-body.test": good.url("slow-body", "slow-body.test"),
            "slow-headers.test": good.url("slow-headers", "slow-headers.test"),
            "not-tls.test": f"https://not-tls.test:{plain}/",
            "silent.test": f"https://silent.test:{mute.getsockname()[1]}/",
            "trickled.test": f"https://trickled.test:{record}/",
        }


@pytest.fixture(scope="module")
def trial() -> Iterator[Trial]:
    authority = trustme.CA()
    tls = ssl.create_default_context()
    authority.configure_trust(tls)
    closing = threading.Event()

    def resolve(host: str) -> list[str]:
        if host == "hanging.test":
            closing.wait(60)
        if host == "broken.test":
            raise UnicodeError("label too long")
        if host in ("empty.test", "hanging.test"):
            return []
        return ["127.0.0.1"] if host.endswith(".test") else system_resolver(host)

    with (
        pytest.warns(DeprecationWarning, match="TLSv1"),
        hostile_server() as server,
        socket.create_server(("127.0.0.1", 0)) as closed,
        tls_urls(authority) as secure,
    ):
        refusing = f"http://refusing.test:{closed.getsockname()[1]}/"
        closed.close()
        settings = Settings(
            fetch_allow="127.0.0.1",
            fetch_max_bytes=1_000_000,
            fetch_total_timeout_s=TOTAL_S,
            fetch_read_timeout_s=READ_S,
            fetch_threads=64,
        )
        urls = {case: server.url(case) for case in REPLIES}
        urls |= {case: server.url("picture", f"robots-{case}.test") for case in ROBOTS}
        urls |= {host: server.url("picture", host) for host in NAMES} | secure | {"refusing.test": refusing}
        with Fetcher(settings, resolve, tls) as fetcher:
            yield Trial(fetcher, settings, urls)
        closing.set()


@pytest.fixture(scope="module")
def ends(trial: Trial) -> dict[str, End]:
    """All of them at once."""
    with ThreadPoolExecutor(64, "hostile") as pool:
        return dict(zip(trial.urls, pool.map(trial, trial.urls), strict=True))


@pytest.mark.parametrize(("case", "reason"), (REPLIES | ROBOTS | TLS | NAMES).items())
def test_every_misbehaviour_ends_as_it_must(ends: dict[str, End], case: str, reason: Reason | None) -> None:
    assert ends[case].reason is reason


def test_every_url_ends_within_its_deadline(trial: Trial, ends: dict[str, End]) -> None:
    late = [case for case, end in ends.items() if end.seconds > TOTAL_S + SLACK_S]
    # All at once they keep a small machine busy: what was late for that is not late alone.
    assert [case for case in late if trial(case).seconds > TOTAL_S + SLACK_S] == []


def test_no_thread_is_left(ends: dict[str, End]) -> None:
    left = Counter(thread.name.split("_")[0] for thread in threading.enumerate())
    assert left["hostile"] == 0
    assert left["lookup of hanging.test"] == 1
    assert sum(count for name, count in left.items() if name.startswith("lookup of")) == 1
