"""The fetcher against a server that lies, drips, hangs and redirects, over real sockets on loopback."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from urllib.parse import quote

import pytest
import trustme

from clipgres.errors import ImageError, PermanentImageError, TransientImageError
from clipgres.fetch import Fetcher, retry_after_s
from clipgres.reasons import Reason
from clipgres.settings import Settings
from tests.hostile import HostileServer, hostile_server, jpeg

IMPATIENT = {"fetch_total_timeout_s": 0.5, "fetch_read_timeout_s": 0.3}
# Far more than that, for a loaded machine; without a deadline any of these would take longer still.
AMPLE_S = 10


@pytest.fixture(scope="module")
def server() -> Iterator[HostileServer]:
    with hostile_server() as running:
        yield running


@pytest.fixture
def canary() -> Iterator[HostileServer]:
    """A server that no policy here allows: it must never see a connection."""
    with hostile_server("127.0.0.2") as running:
        yield running
        assert running.connections == 0


def settings_for(server: HostileServer, **changes: object) -> Settings:
    return Settings(fetch_allow=f"127.0.0.1:{server.port}", fetch_max_bytes=1_000_000, **changes)


@pytest.fixture(scope="module")
def fetcher(server: HostileServer) -> Iterator[Fetcher]:
    with Fetcher(settings_for(server)) as fetcher:
        yield fetcher


def failure_of_fetching(fetcher: Fetcher, url: str) -> ImageError:
    with pytest.raises(ImageError) as failed:
        fetcher.fetch(url)
    assert isinstance(failed.value, TransientImageError) is failed.value.reason.is_transient
    return failed.value


def test_a_picture_comes_with_what_its_headers_say(fetcher: Fetcher, server: HostileServer) -> None:
    url = server.url("picture")
    fetched = fetcher.fetch(url + "#fragment")

    assert fetched.body == jpeg()
    assert (fetched.content_type, fetched.etag, fetched.last_modified) == ("image/jpeg", '"1"', "Sat")
    assert (fetched.http_status, fetched.final_url) == (200, url)


def test_the_request_is_honest_and_carries_nothing_else(
    fetcher: Fetcher, server: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.2:9")
    fetcher.fetch(server.url("picture"))

    headers = server.requests[-1].headers
    assert headers["user-agent"].startswith("clipgres/")
    assert headers["accept-encoding"] == "identity"
    assert set(headers) == {"host", "user-agent", "accept", "accept-encoding"}


def test_connections_are_reused(server: HostileServer) -> None:
    before = server.connections
    with Fetcher(settings_for(server)) as fetcher:
        for _ in range(5):
            fetcher.fetch(server.url("picture"))
    assert server.connections == before + 1


def test_a_kept_connection_that_breaks_on_its_next_use_is_replaced(server: HostileServer) -> None:
    before = server.connections
    with Fetcher(settings_for(server)) as fetcher:
        bodies = {fetcher.fetch(server.url("stale")).body for _ in range(3)}
    assert bodies == {jpeg()}
    assert server.connections == before + 3


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("204", Reason.HTTP_STATUS),
        ("206", Reason.HTTP_STATUS),
        ("304", Reason.HTTP_STATUS),
        ("401", Reason.FORBIDDEN),
        ("403", Reason.FORBIDDEN),
        ("404", Reason.NOT_FOUND),
        ("408", Reason.TIMEOUT),
        ("410", Reason.GONE),
        ("418", Reason.HTTP_STATUS),
        ("451", Reason.FORBIDDEN),
        ("500", Reason.SERVER_ERROR),
        ("502", Reason.SERVER_ERROR),
    ],
)
def test_every_status_has_its_reason(fetcher: Fetcher, server: HostileServer, behaviour: str, reason: Reason) -> None:
    failed = failure_of_fetching(fetcher, server.url(behaviour))
    assert (failed.reason, failed.http_status) == (reason, int(behaviour))


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("cut-short", Reason.CUT_SHORT),
        ("reset", Reason.CUT_SHORT),
        ("silence", Reason.CUT_SHORT),
        ("unended-chunks", Reason.CUT_SHORT),
        ("garbage", Reason.BAD_HTTP),
        ("http-0.9", Reason.BAD_HTTP),
        ("bad-chunks", Reason.BAD_HTTP),
        ("bad-gzip", Reason.BAD_HTTP),
        ("two-lengths", Reason.BAD_HTTP),
        ("many-headers", Reason.BAD_HTTP),
        ("long-headers", Reason.BAD_HTTP),
        ("endless-100", Reason.BAD_HTTP),
        ("oversize", Reason.TOO_MANY_BYTES),
        ("endless", Reason.TOO_MANY_BYTES),
        ("gzip-bomb", Reason.TOO_MANY_BYTES),
        ("loop", Reason.REDIRECTS),
        ("no-location", Reason.REDIRECTS),
        ("countdown?6", Reason.REDIRECTS),
    ],
)
def test_every_misbehaviour_has_a_reason(
    fetcher: Fetcher, server: HostileServer, behaviour: str, reason: Reason
) -> None:
    assert failure_of_fetching(fetcher, server.url(behaviour)).reason is reason


def check_timeout(fetcher: Fetcher, url: str) -> None:
    started = time.monotonic()
    assert failure_of_fetching(fetcher, url).reason is Reason.TIMEOUT
    assert time.monotonic() - started < AMPLE_S


@pytest.mark.parametrize("behaviour", ["hang", "slow-headers", "slow-body", "slow-chunks", "slow-loop"])
def test_no_slowness_outlives_the_deadline(server: HostileServer, behaviour: str) -> None:
    with Fetcher(settings_for(server, **IMPATIENT)) as fetcher:
        check_timeout(fetcher, server.url(behaviour))


@pytest.mark.parametrize("behaviour", ["picture", "gzip", "countdown?5", "relative", "redirect?308,/picture"])
def test_what_is_only_unusual_arrives(fetcher: Fetcher, server: HostileServer, behaviour: str) -> None:
    assert fetcher.fetch(server.url(behaviour)).body == jpeg()


def test_an_html_page_called_a_picture_is_left_to_the_decoder(fetcher: Fetcher, server: HostileServer) -> None:
    fetched = fetcher.fetch(server.url("html-as-jpeg"))
    assert fetched.content_type == "image/jpeg"
    assert fetched.body.startswith(b"<!DOCTYPE")


def test_a_refused_port_is_named(server: HostileServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with Fetcher(Settings(fetch_allow="127.0.0.1")) as fetcher:
        assert failure_of_fetching(fetcher, f"http://127.0.0.1:{port}/").reason is Reason.REFUSED


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.2:{port}/picture",
        "//127.0.0.2:{port}/picture",
        "http://[::ffff:127.0.0.2]:{port}/picture",
        "http://0x7f000002:{port}/picture",
        "http://2130706434:{port}/picture",
        "http://169.254.169.254/latest/meta-data/",
        "http://[fd00:ec2::254]/",
        "http://8.8.8.8:22/",
    ],
)
def test_no_redirect_leads_to_a_forbidden_address(
    fetcher: Fetcher, server: HostileServer, canary: HostileServer, location: str
) -> None:
    target = location.format(port=canary.port)
    failed = failure_of_fetching(fetcher, server.url(f"redirect?302,{target}"))
    assert failed.reason is Reason.BLOCKED_ADDRESS


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_every_kind_of_redirect_is_checked(
    fetcher: Fetcher, server: HostileServer, canary: HostileServer, status: int
) -> None:
    failed = failure_of_fetching(fetcher, server.url(f"redirect?{status},{canary.url('picture')}"))
    assert failed.reason is Reason.BLOCKED_ADDRESS


def test_the_third_hop_is_checked_like_the_first(server: HostileServer, canary: HostileServer) -> None:
    last = server.url(f"redirect?302,{canary.url('picture')}", "b.test")
    first = server.url(f"redirect?302,{quote(last, safe='')}", "a.test")
    with Fetcher(settings_for(server), resolver=lambda _: ["127.0.0.1"]) as fetcher:
        assert failure_of_fetching(fetcher, first).reason is Reason.BLOCKED_ADDRESS
    assert [request.headers["host"][:6] for request in server.requests[-2:]] == ["a.test", "b.test"]


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/", "http://a:b@127.0.0.1/", "http://["])
def test_no_redirect_leads_out_of_http(fetcher: Fetcher, server: HostileServer, location: str) -> None:
    assert failure_of_fetching(fetcher, server.url(f"redirect?302,{location}")).reason is Reason.REDIRECTS


@pytest.mark.parametrize("host", ["127.0.0.2", "127.2", "0x7f.2", "0177.0.0.2", "[::ffff:7f00:2]", "127.0.0.2."])
def test_no_spelling_reaches_a_forbidden_address(fetcher: Fetcher, canary: HostileServer, host: str) -> None:
    failed = failure_of_fetching(fetcher, canary.url("picture", host))
    assert failed.reason is Reason.BLOCKED_ADDRESS


def test_a_url_that_cannot_be_read_is_permanent(fetcher: Fetcher) -> None:
    failed = failure_of_fetching(fetcher, "gopher://127.0.0.1/")
    assert failed.reason is Reason.BAD_URL
    assert isinstance(failed, PermanentImageError)


def test_a_name_is_looked_up_once_and_its_checked_address_is_connected_to(
    server: HostileServer, canary: HostileServer
) -> None:
    answers = iter([["127.0.0.1"], ["127.0.0.2"]])
    with Fetcher(settings_for(server), resolver=lambda _: next(answers)) as fetcher:
        fetcher.fetch(server.url("picture", "rebinding.test"))
    assert server.requests[-1].headers["host"] == f"rebinding.test:{server.port}"
    assert next(answers) == ["127.0.0.2"]


def test_a_name_that_moves_to_a_forbidden_address_is_refused(server: HostileServer, canary: HostileServer) -> None:
    answers = iter([["127.0.0.1"], ["127.0.0.2"]])
    url = server.url("cut-short", "rebinding.test")
    with Fetcher(settings_for(server), resolver=lambda _: next(answers)) as fetcher:
        assert failure_of_fetching(fetcher, url).reason is Reason.CUT_SHORT
        assert failure_of_fetching(fetcher, url).reason is Reason.BLOCKED_ADDRESS


def test_one_forbidden_answer_refuses_the_whole_name(server: HostileServer, canary: HostileServer) -> None:
    with Fetcher(settings_for(server), resolver=lambda _: ["127.0.0.1", "127.0.0.2"]) as fetcher:
        failed = failure_of_fetching(fetcher, server.url("picture", "mixed.test"))
    assert failed.reason is Reason.BLOCKED_ADDRESS
    assert "127.0.0.2" in str(failed)


def test_a_name_that_does_not_resolve_is_tried_again_later(fetcher: Fetcher, server: HostileServer) -> None:
    assert failure_of_fetching(fetcher, server.url("picture", "nowhere.invalid")).reason is Reason.DNS_FAILED


def test_a_name_without_addresses_is_tried_again_later(server: HostileServer) -> None:
    with Fetcher(settings_for(server), resolver=lambda _: []) as fetcher:
        assert failure_of_fetching(fetcher, server.url("picture", "empty.test")).reason is Reason.DNS_FAILED


def test_a_resolver_that_hangs_does_not_outlive_the_deadline(server: HostileServer) -> None:
    def hang(_: str) -> list[str]:
        server.closing.wait(2 * AMPLE_S)
        return []

    started = time.monotonic()
    with Fetcher(settings_for(server, **IMPATIENT), resolver=hang) as fetcher:
        assert failure_of_fetching(fetcher, server.url("picture", "hanging.test")).reason is Reason.DNS_FAILED
    assert time.monotonic() - started < AMPLE_S


@pytest.mark.parametrize(
    ("status", "value", "seconds"),
    [("429", "7", 7.0), ("503", "7", 7.0), ("500", "7", None), ("429", "99999999", 3_600.0), ("429", "soon", None)],
)
def test_retry_after_is_honoured(
    fetcher: Fetcher, server: HostileServer, status: str, value: str, seconds: float | None
) -> None:
    assert failure_of_fetching(fetcher, server.url(f"retry-after?{status},{value}")).retry_after_s == seconds


def test_retry_after_may_be_a_date() -> None:
    now = datetime.now(UTC)
    assert retry_after_s(format_datetime(now + timedelta(seconds=90), usegmt=True)) == pytest.approx(90, abs=2)
    assert retry_after_s(format_datetime(now - timedelta(days=9), usegmt=True)) == 0
    assert retry_after_s("Wed, 01 Jan 2936 00:00:00 GMT") == 3_600


@pytest.mark.parametrize(
    "value", [None, "", "-5", "1e9", "²", "soon", "Wed, 01 Jan 2936 00:00:00 +99999999999999999999"]
)
def test_garbage_in_retry_after_is_no_wish(value: str | None) -> None:
    assert retry_after_s(value) is None


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def tls_server(authority: trustme.CA) -> Iterator[HostileServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("pictures.test").configure_cert(context)
    with hostile_server(tls=context) as running:
        yield running


@pytest.fixture
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def test_the_certificate_is_that_of_the_name_not_of_the_address(
    tls_server: HostileServer, trusting: ssl.SSLContext
) -> None:
    with Fetcher(settings_for(tls_server), resolver=lambda _: ["127.0.0.1"], tls=trusting) as fetcher:
        assert fetcher.fetch(tls_server.url("picture", "pictures.test")).body == jpeg()
        assert failure_of_fetching(fetcher, tls_server.url("picture", "other.test")).reason is Reason.TLS_FAILED
        assert failure_of_fetching(fetcher, tls_server.url("picture")).reason is Reason.TLS_FAILED


def test_an_unknown_authority_is_refused(tls_server: HostileServer) -> None:
    with Fetcher(settings_for(tls_server), resolver=lambda _: ["127.0.0.1"]) as fetcher:
        failed = failure_of_fetching(fetcher, tls_server.url("picture", "pictures.test"))
    assert failed.reason is Reason.TLS_FAILED


@pytest.mark.parametrize("behaviour", ["slow-headers", "slow-body", "hang"])
def test_the_deadline_holds_over_tls(tls_server: HostileServer, trusting: ssl.SSLContext, behaviour: str) -> None:
    impatient = settings_for(tls_server, **IMPATIENT)
    with Fetcher(impatient, resolver=lambda _: ["127.0.0.1"], tls=trusting) as fetcher:
        check_timeout(fetcher, tls_server.url(behaviour, "pictures.test"))


def test_the_deadline_holds_in_the_handshake() -> None:
    impatient = Settings(fetch_allow="127.0.0.1", **IMPATIENT)
    with socket.create_server(("127.0.0.1", 0)) as silent, Fetcher(impatient) as fetcher:
        check_timeout(fetcher, f"https://127.0.0.1:{silent.getsockname()[1]}/")
