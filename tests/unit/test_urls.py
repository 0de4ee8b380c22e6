"""URLs: one normal form, one key, and a named cause for what is refused."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clipgres.errors import BadRequest
from clipgres.urls import normalise_url


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("https://example.com/a.jpg", "https://example.com/a.jpg"),
        ("HTTPS://Example.COM/A.jpg", "https://example.com/A.jpg"),
        ("http://example.com", "http://example.com/"),
        ("http://example.com?b=2&a=1", "http://example.com/?b=2&a=1"),
        ("http://example.com:80/", "http://example.com/"),
        ("https://example.com:443/", "https://example.com/"),
        ("http://example.com:443/", "http://example.com:443/"),
        ("http://example.com:/", "http://example.com/"),
        ("http://example.com:0008080/", "http://example.com:8080/"),
        ("http://example.com./", "http://example.com/"),
        ("http://example.com/a#b?c", "http://example.com/a"),
        ("http://example.com/%41%2fb%2D", "http://example.com/A%2Fb-"),
        ("http://example.com/100%", "http://example.com/100%25"),
        ("http://example.com/%zz", "http://example.com/%25zz"),
        ("http://example.com/a b/é", "http://example.com/a%20b/%C3%A9"),
        ("http://example.com/?q=a b[]", "http://example.com/?q=a%20b%5B%5D"),
        ("http://example.com/a\\b", "http://example.com/a%5Cb"),
        ("http://example.com/a/./b/../c/..", "http://example.com/a/"),
        ("http://example.com/../../a", "http://example.com/a"),
        ("http://example.com/%2e%2e/a", "http://example.com/a"),
        ("http://example.com//a//b", "http://example.com//a//b"),
        ("http://example.com/?a=/../b", "http://example.com/?a=/../b"),
        ("http://bücher.example/ü", "http://xn--bcher-kva.example/%C3%BC"),
        ("http://①②⑦.0.0.1/", "http://127.0.0.1/"),
        ("http://[0:0:0:0:0:FFFF:7F00:1]:80/", "http://[::ffff:7f00:1]/"),
        ("  http://example.com/ ", "http://example.com/"),
        ("http://my_site.example.com/a", "http://my_site.example.com/a"),
    ],
)
def test_every_spelling_has_one_normal_form(written: str, normal: str) -> None:
    result = normalise_url(written)

    assert result.url == normal
    assert result.key == hashlib.sha256(normal.encode()).digest()


def test_the_host_carries_no_port_and_no_brackets() -> None:
    assert normalise_url("http://Example.com:8080/a").host == "example.com"
    assert normalise_url("http://[::1]:8080/a").host == "::1"


@pytest.mark.parametrize(
    ("written", "cause"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("//example.com/a", "no scheme; did you mean https://example.com/a?"),
        ("example.com/a", "no scheme; did you mean https://example.com/a?"),
        ("example.com:8080/a", "no scheme"),
        ("localhost:8080/a", "no scheme"),
        ("http:", "no host"),
        ("http:/example.com", "no host"),
        ("http:///a", "no host"),
        ("https://:80/", "no host"),
        ("file:///etc/passwd", "only http and https can be fetched, not file:"),
        ("ftp://example.com/a", "not ftp:"),
        ("gopher://127.0.0.1:6379/_FLUSHALL", "not gopher:"),
        ("data:image/png;base64,AAAA", "not data:"),
        ("javascript:alert(1)", "not javascript:"),
        ("http://user:secret@example.com/", "user name or password"),
        ("http://example.com\\@127.0.0.1/", "user name or password"),
        ("http://example.com/a\r\nX: y", "control character"),
        ("http://example.com/a\x00", "control character"),
        ("http://exam\tple.com/", "control character"),
        ("http://example.com/\ud800", "surrogate"),
        ("http://example.com:0/", "port"),
        ("http://example.com:65536/", "port"),
        ("http://example.com:8a/", "cannot be read"),
        ("http://example..com/", "not a host name"),
        ("http://ex%61mple.com/", "not a host name"),
        ("http://-a.com/", "not a host name"),
        ("http://" + "a" * 64 + ".com/", "not a host name"),
        ("http://" + "a." * 130 + "com/", "longer than 253"),
        ("http://xn--é/", "not a host name"),
        ("http://[::1%25lo]/", "scope"),
        ("http://[::1/", "cannot be read"),
        ("http://[zz]/", "not an IPv6 address"),
        ("http://example.com/" + "a" * 8_000, "longer than 8,000 characters"),
        ("http://example.com/" + "é" * 3_000, "once it is percent-encoded"),
    ],
)
def test_what_cannot_be_fetched_is_refused_with_its_cause(written: str, cause: str) -> None:
    with pytest.raises(BadRequest) as refused:
        normalise_url(written)
    assert cause in str(refused.value)
    assert refused.value.field == "url"


@given(
    scheme=st.sampled_from(["http", "HTTPS"]),
    host=st.sampled_from(["example.com", "Bücher.example.", "127.0.0.1", "[::1]", "a_b.c"]),
    port=st.sampled_from(["", ":", ":80", ":443", ":8080"]),
    rest=st.text(alphabet=st.sampled_from("/..%%2eE41fF?#&=+ é\\[]a~"), max_size=30),
)
@example(scheme="http", host="a", port="", rest="/%%34%31")
def test_normalising_twice_changes_nothing(scheme: str, host: str, port: str, rest: str) -> None:
    once = normalise_url(f"{scheme}://{host}{port}/{rest}")
    assert normalise_url(once.url) == once


def check_normal_or_refused(text: str) -> None:
    try:
        once = normalise_url(text)
    except BadRequest:
        return
    assert normalise_url(once.url) == once
    assert once.url.isascii()


@given(st.text(max_size=60))
def test_any_text_is_normal_or_refused(text: str) -> None:
    check_normal_or_refused(text)


@given(st.text(max_size=40))
def test_any_host_is_normal_or_refused(host: str) -> None:
    check_normal_or_refused(f"http://{host}/")
