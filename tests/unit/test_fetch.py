"""The fetcher's own manners: what it sends, keeps, reuses and asks again for. Attacks and bad replies have tables."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from clipgres.errors import ImageError
from clipgres.fetching import Fetched, Fetcher
from clipgres.reasons import Reason
from clipgres.settings import Settings
from tests.hostile import HostileServer, hostile_server, jpeg
from tests.hostile.manners import BANNED_AFTER, ETAG, LAST_MODIFIED


@pytest.fixture(scope="module")
def server() -> Iterator[HostileServer]:
    with hostile_server() as running:
        yield running


def settings_for(server: HostileServer, **changes: object) -> Settings:
    return Settings(fetch_allow=f"127.0.0.1:{server.port}", fetch_max_bytes=1_000_000, **changes)


@pytest.fixture(scope="module")
def fetcher(server: HostileServer) -> Iterator[Fetcher]:
    with Fetcher(settings_for(server)) as fetcher:
        yield fetcher


def failure_of_fetching(fetcher: Fetcher, url: str) -> ImageError:
    with pytest.raises(ImageError) as failed:
        fetcher.fetch(url)
    return failed.value


def test_a_picture_comes_with_what_its_headers_say(fetcher: Fetcher, server: HostileServer) -> None:
    url = server.url("picture")
    fetched = fetcher.fetch(url + "#fragment")

    assert fetched.body == jpeg()
    assert (fetched.content_type, fetched.etag, fetched.last_modified) == ("image/jpeg", ETAG, LAST_MODIFIED)
    assert (fetched.http_status, fetched.final_url) == (200, url)


def test_the_request_is_honest_and_carries_nothing_else(fetcher: Fetcher, server: HostileServer) -> None:
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


def test_no_cookie_is_carried(fetcher: Fetcher, server: HostileServer) -> None:
    fetcher.fetch(server.url("cookie-wall"))
    fetcher.fetch(server.url("cookie-wall"))
    assert "cookie" not in server.requests[-1].headers


def test_odd_headers_do_not_fill_the_log(
    fetcher: Fetcher, server: HostileServer, caplog: pytest.LogCaptureFixture
) -> None:
    assert fetcher.fetch(server.url("header-without-colon")).body
    assert caplog.records == []


def test_a_host_that_has_had_enough_says_so(fetcher: Fetcher, server: HostileServer) -> None:
    for _ in range(BANNED_AFTER):
        assert fetcher.fetch(server.url("ban")).body == jpeg()
    assert failure_of_fetching(fetcher, server.url("ban")).reason is Reason.FORBIDDEN


@pytest.mark.parametrize(
    ("status", "value", "seconds"),
    [("429", "7", 7.0), ("503", "7", 7.0), ("500", "7", None), ("429", "315360000", 3_600.0), ("429", "soon", None)],
)
def test_retry_after_comes_with_the_failure(
    fetcher: Fetcher, server: HostileServer, status: str, value: str, seconds: float | None
) -> None:
    failed = failure_of_fetching(fetcher, server.url(f"retry-after?{status},{value}"))
    assert (failed.http_status, failed.retry_after_s) == (int(status), seconds)


@pytest.mark.parametrize(
    ("behaviour", "is_moved"),
    [
        ("picture", False),
        ("redirect?301,/picture", True),
        ("redirect?308,/countdown%3F2", True),
        ("redirect?302,/picture", False),
        ("redirect?302,/countdown%3F2", False),
        ("redirect?301,/redirect%3F307,/picture", False),
    ],
)
def test_only_permanent_redirects_move_a_picture(
    fetcher: Fetcher, server: HostileServer, behaviour: str, is_moved: bool
) -> None:
    fetched = fetcher.fetch(server.url(behaviour))
    assert fetched.final_url == server.url("picture")
    assert fetched.is_moved is is_moved


@pytest.mark.parametrize(("status", "etag"), [(301, ETAG), (302, None)])
def test_nothing_is_kept_to_ask_with_that_another_url_said(
    fetcher: Fetcher, server: HostileServer, status: int, etag: str | None
) -> None:
    fetched = fetcher.fetch(server.url(f"redirect?{status},/conditional"))
    assert fetched.etag == etag
    assert (fetched.last_modified is None) is (etag is None)


def test_what_is_said_of_use_is_kept_if_it_is_no_refusal(fetcher: Fetcher, server: HostileServer) -> None:
    assert fetcher.fetch(server.url("picture")).x_robots_tag is None
    assert fetcher.fetch(server.url("tagged?noindex|otherbot: noai")).x_robots_tag == "noindex, otherbot: noai"


def test_a_refusal_says_what_was_said(fetcher: Fetcher, server: HostileServer) -> None:
    failed = failure_of_fetching(fetcher, server.url("tagged-endless?noindex, NoAI"))
    assert failed.reason is Reason.OPTED_OUT
    assert str(failed).endswith("(X-Robots-Tag): noindex, NoAI")


def test_what_is_obeyed_is_a_setting(server: HostileServer) -> None:
    with Fetcher(settings_for(server, fetch_opt_out="")) as fetcher:
        assert fetcher.fetch(server.url("tagged?noai")).x_robots_tag == "noai"


def again(fetcher: Fetcher, url: str, **known: str | None) -> Fetched | None:
    return fetcher.fetch_if_changed(url, **{"etag": None, "last_modified": None} | known)


def test_a_picture_that_has_not_changed_is_not_sent_again(fetcher: Fetcher, server: HostileServer) -> None:
    url = server.url("conditional")
    first = again(fetcher, url)
    assert first
    assert first.body == jpeg()
    assert again(fetcher, url, etag=first.etag) is None
    assert again(fetcher, url, last_modified=first.last_modified) is None
    assert again(fetcher, url, etag='"2"') == first


def test_a_picture_that_is_withdrawn_since_is_not_unchanged(fetcher: Fetcher, server: HostileServer) -> None:
    with pytest.raises(ImageError) as failed:
        again(fetcher, server.url("conditional?noai"), etag=ETAG)
    assert failed.value.reason is Reason.OPTED_OUT


def test_unchanged_is_no_answer_to_those_who_did_not_ask(fetcher: Fetcher, server: HostileServer) -> None:
    for known in ({}, {"etag": "a\r\nX-Injected: 1"}, {"etag": ""}, {"last_modified": "\u2028"}):
        with pytest.raises(ImageError) as failed:
            again(fetcher, server.url("304"), **known)
        assert (failed.value.reason, failed.value.http_status) == (Reason.HTTP_STATUS, 304)
        assert not {"if-none-match", "if-modified-since", "x-injected"} & set(server.requests[-1].headers)


def test_what_is_known_is_told_to_the_url_that_said_it_alone(fetcher: Fetcher, server: HostileServer) -> None:
    url, final_url = server.url("redirect?301,/conditional"), server.url("conditional")
    assert again(fetcher, url, etag=ETAG)
    assert [request.headers.get("if-none-match") for request in server.requests[-2:]] == [ETAG, None]
    assert again(fetcher, url, etag=ETAG, final_url=final_url) is None
    assert [request.headers.get("if-none-match") for request in server.requests[-2:]] == [None, ETAG]
