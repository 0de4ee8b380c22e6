"""robots.txt: what is read of it, whom it is asked of and how often."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipgres.errors import ImageError, PermanentImageError, TransientImageError
from clipgres.fetching import Fetcher, robots
from clipgres.fetching.robots import answer_of, product_token, relevant_lines
from clipgres.reasons import Reason
from clipgres.settings import Settings
from tests.hostile import HostileServer, hostile_server, jpeg
from tests.hostile.robots import FILES


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with hostile_server() as running:
        yield running


@pytest.fixture
def fetcher(server: HostileServer) -> Iterator[Fetcher]:
    with Fetcher(settings_for(server), resolver=lambda _: ["127.0.0.1"]) as fetcher:
        yield fetcher


def settings_for(server: HostileServer, **changes: object) -> Settings:
    return Settings(fetch_allow=f"127.0.0.1:{server.port}", **changes)


def failure_of_fetching(fetcher: Fetcher, url: str) -> ImageError:
    with pytest.raises(ImageError) as failed:
        fetcher.fetch(url)
    return failed.value


def allows(text: str, path: str) -> bool:
    rules = answer_of(text.encode(), "clipgres").rules
    return rules is None or rules.can_fetch(f"http://example.com{path}", "clipgres")


@pytest.mark.parametrize(
    ("text", "path", "allowed"),
    [
        ("", "/a", True),
        ("User-agent: *\nDisallow:", "/a", True),
        ("User-agent: *\nDisallow: /", "/a", False),
        ("User-agent: *\nDisallow: / # all", "/a", False),
        ("User-agent: *\nDisallow: /a\nAllow: /a/b", "/a/b/c", True),
        ("User-agent: *\nDisallow: /*.jpg$", "/a.jpg", False),
        ("User-agent: *\nDisallow: /*.jpg$", "/a.jpg?size=1", True),
        ("User-agent: *\nDisallow: /b%C3%BC", "/b%C3%BCcher.jpg", False),
        ("User-agent: clipgres\nDisallow: /", "/a", False),
        ("user-agent : CLIPGRES/9 (mine)\ndisallow : /", "/a", False),
        ("User-agent: *\nDisallow: /\n\nUser-agent: clipgres\nAllow: /", "/a", True),
        ("User-agent: clipgres\nAllow: /\n\nUser-agent: *\nDisallow: /", "/a", True),
        ("User-agent: other\nUser-agent: clipgres\n\n# both\nDisallow: /", "/a", False),
        ("User-agent: clipgres\nSitemap: http://example.com/map\nUser-agent: other\nDisallow: /", "/a", False),
        ("User-agent: clipgres\nDisallow: /x\nUser-agent: other\nDisallow: /a", "/a", True),
        ("User-agent: clip\nDisallow: /", "/a", True),
        ("User-agent: clipgresbot\nDisallow: /", "/a", True),
        ("Disallow: /", "/a", True),
        ("\ufeffUser-agent: *\rDisallow: /", "/a", False),
        ("<!DOCTYPE html>\n<p>Disallow: /", "/a", True),
    ],
)
def test_the_group_that_names_us_counts_else_that_for_all(text: str, path: str, allowed: bool) -> None:
    assert allows(text, path) is allowed


def test_names_times_rules_do_not_explode() -> None:
    names = "".join(f"User-agent: bot{number}\n" for number in range(15_000))
    rules = "".join(f"Disallow: /{number}\n" for number in range(15_000))
    assert relevant_lines(names + rules, "clipgres") == ""
    assert not allows(f"{names}User-agent: *\n{rules}", "/7")


@given(
    st.binary(max_size=300)
    | st.lists(
        st.sampled_from(["User-agent:", "*", "clipgres", "\n", "Disallow:", "Allow", "/%", "$", "\x85", "[", "//"])
    )
    .map(" ".join)
    .map(str.encode)
)
def test_any_bytes_can_be_read(body: bytes) -> None:
    rules = answer_of(body, "clipgres").rules
    assert rules is None or rules.can_fetch("http://[::1]:8080//a?b=%zz", "clipgres") in (True, False)


@pytest.mark.parametrize("name", ["deny-late", "deny-cut"])
def test_what_lies_beyond_500_kb_does_not_count(name: str) -> None:
    assert len(FILES[name]) > robots.MAX_BYTES
    rules = answer_of(FILES[name], "clipgres").rules
    assert rules is None or rules.can_fetch("http://example.com/nothing", "clipgres")


@pytest.mark.parametrize(
    ("user_agent", "token"),
    [("clipgres/0.1 (+https://example.com)", "clipgres"), ("MyBot", "mybot"), ("My Bot/2", "my"), (" a/b/c", "a")],
)
def test_the_product_part_of_the_user_agent_is_the_name(user_agent: str, token: str) -> None:
    assert product_token(user_agent) == token


def test_a_denied_url_is_not_asked_for(fetcher: Fetcher, server: HostileServer) -> None:
    failed = failure_of_fetching(fetcher, server.url("picture", "robots-deny.test"))
    assert isinstance(failed, PermanentImageError)
    assert str(failed) == "the host's robots.txt asks not to fetch it: robots-deny.test"
    assert server.requests == []


def test_a_site_is_asked_once_on_the_connection_of_its_pictures(fetcher: Fetcher, server: HostileServer) -> None:
    for host in ("a.test", "robots-deny-others.test", "robots-status-403.test"):
        before = server.connections
        for _ in range(5):
            fetcher.fetch(server.url("picture", host))
        assert server.connections == before + 1
    assert len(server.robots_requests) == 3
    asked = server.robots_requests[0].headers
    assert asked["user-agent"].startswith("clipgres/")
    assert set(asked) == {"host", "user-agent", "accept", "accept-encoding"}


def test_many_threads_ask_a_new_site_once(fetcher: Fetcher, server: HostileServer) -> None:
    barrier = threading.Barrier(32)

    def fetch(number: int) -> bytes:
        barrier.wait()
        return fetcher.fetch(server.url(f"picture?{number}", "a.test")).body

    with ThreadPoolExecutor(32) as pool:
        assert set(pool.map(fetch, range(32))) == {jpeg()}
    assert len(server.robots_requests) == 1


def test_scheme_host_and_port_have_rules_of_their_own(fetcher: Fetcher, server: HostileServer) -> None:
    with (
        hostile_server() as other,
        Fetcher(Settings(fetch_allow="127.0.0.1"), resolver=lambda _: ["127.0.0.1"]) as both,
    ):
        for url in (server.url("picture", "a.test"), other.url("picture", "a.test"), server.url("picture", "b.test")):
            both.fetch(url)
        assert (len(server.robots_requests), len(other.robots_requests)) == (2, 1)


def test_a_redirect_to_another_site_asks_that_one_too(fetcher: Fetcher, server: HostileServer) -> None:
    target = server.url("picture", "robots-deny.test")
    failed = failure_of_fetching(fetcher, server.url(f"redirect?302,{target}", "a.test"))
    assert failed.reason is Reason.ROBOTS_DENIED
    assert [request.path for request in server.requests] == ["/redirect"]


def test_a_host_that_cannot_say_is_not_asked_for_every_url(fetcher: Fetcher, server: HostileServer) -> None:
    for _ in range(3):
        failed = failure_of_fetching(fetcher, server.url("picture", "robots-status-503.test"))
        assert isinstance(failed, TransientImageError)
        assert (failed.reason, failed.http_status, failed.retry_after_s) == (Reason.SERVER_ERROR, 503, 7)
        assert str(failed).startswith("robots.txt: the host failed")
    assert len(server.robots_requests) == 1
    assert server.requests == []


def test_it_is_asked_again_after_a_while(
    fetcher: Fetcher, server: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(robots, "FAILURE_REMEMBERED_S", 0)
    for _ in range(2):
        failure_of_fetching(fetcher, server.url("picture", "robots-status-500.test"))
    assert len(server.robots_requests) == 2


def test_what_is_remembered_has_a_bound(
    fetcher: Fetcher, server: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(robots, "MEMORY_CHARS", 2 * robots.ORIGIN_CHARS)
    for host in ("a.test", "b.test", "c.test", "c.test", "b.test", "a.test"):
        fetcher.fetch(server.url("picture", host))
    assert [request.headers["host"][0] for request in server.robots_requests] == ["a", "b", "c", "a"]


def test_it_can_be_switched_off(server: HostileServer) -> None:
    with Fetcher(settings_for(server, fetch_robots=False), resolver=lambda _: ["127.0.0.1"]) as careless:
        assert careless.fetch(server.url("picture", "robots-deny.test")).body == jpeg()
    assert server.robots_requests == []
