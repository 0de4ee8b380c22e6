"""URLs: one normal form, one key, and a named cause for what is refused."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from urllib3.util import parse_url

from clipgres.errors import BadRequest
from clipgres.urls import NormalUrl, normalise_url


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
        ("http://[\u202e]/", "[\N{REPLACEMENT CHARACTER}] is not an IPv6 address"),
        ("\x9b2Jexample.com", "did you mean https://\N{REPLACEMENT CHARACTER}2Jexample.com"),
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
    # What connects must read the same host in it as what checks.
    assert (parse_url(once.url).host or "").strip("[]") == once.host
    assert once.url.startswith(f"{once.origin}/")


@given(
    st.sampled_from(["http://", "https://"]),
    st.from_regex(r"[a-z0-9_.-]{1,12}", fullmatch=True),
    st.from_regex(r"[A-Za-z0-9._~!$&'()*+,;=:@/?%-]{0,20}", fullmatch=True),
)
@example("http://", "a", "/b/./c/../d?e=/.")
@example("https://", "a.", "/")
@example("http://", "-a", "/")
def test_a_url_that_is_in_its_normal_form_already_is_read_as_any_other(scheme: str, host: str, rest: str) -> None:
    outcomes: list[NormalUrl | str] = []
    # A fragment is dropped, but with it no URL is in its normal form.
    for text in (f"{scheme}{host}{rest}", f"{scheme}{host}{rest}#"):
        try:
            outcomes.append(normalise_url(text))
        except BadRequest as error:
            outcomes.append(str(error))
    assert outcomes[0] == outcomes[1]


@given(st.text(max_size=60))
def test_any_text_is_normal_or_refused(text: str) -> None:
    check_normal_or_refused(text)


@given(st.text(max_size=40))
def test_any_host_is_normal_or_refused(host: str) -> None:
    check_normal_or_refused(f"http://{host}/")


@given(st.text(max_size=40))
def test_any_authority_is_normal_or_refused(authority: str) -> None:
    check_normal_or_refused(f"http://{authority}:8080@[::1]/")
    check_normal_or_refused(f"http://127.0.0.1{authority}")
    check_normal_or_refused(f"https://{authority}.example.com:443/")


def spelled(character: str, style: int) -> str:
    """A letter as it is, or percent-encoded in either case."""
    return [character, f"%{ord(character):02X}", f"%{ord(character):02x}"][style]


@given(
    st.lists(st.tuples(st.sampled_from("abzAZ09-._~"), st.integers(0, 2)), min_size=1, max_size=20),
    st.sampled_from(["HTTP://Example.COM:80", "http://example.com.", "http://EXAMPLE.com:0080", "http://example.com:"]),
    st.sampled_from(["", "#", "#part", "#a?b/c"]),
)
def test_all_spellings_of_a_url_have_one_key(letters: list[tuple[str, int]], origin: str, fragment: str) -> None:
    plain = "".join(character for character, _ in letters)
    written = f"{origin}/x/{''.join(spelled(*letter) for letter in letters)}{fragment}"
    assert normalise_url(written).key == normalise_url(f"http://example.com/x/{plain}").key
