"""URLs: one normal form for each, so that the same address in two spellings has one key."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from ipaddress import IPv6Address

import idna

from clipgres.errors import BadRequest
from clipgres.plain_text import printable

URL_MAX_CHARS = 8_000
HOST_MAX_CHARS = 253
DEFAULT_PORTS = {"http": 80, "https": 443}

_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_PCHARS = r"A-Za-z0-9\-._~!$&'()*+,;=:@"
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_PARTS = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?(?:#.*)?",
    re.DOTALL,
)
_OTHER_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+-]*):(?![0-9])")
_AUTHORITY = re.compile(r"(?P<host>\[[^\[\]]*\]|[^\[\]:]*)(?::(?P<port>[0-9]*))?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*+")
# What is in its normal form already, but for segments of dots.
_NORMAL = re.compile(rf"https?://(?P<host>{_LABEL}(?:\.{_LABEL})*+)/(?:[{_PCHARS}/]*+)(?:\?[{_PCHARS}/?]*+)?", re.ASCII)
_IN_PATH = re.compile(rf"%(?:[0-9A-Fa-f]{{2}})?|[^{_PCHARS}/%]+")
_IN_QUERY = re.compile(rf"%(?:[0-9A-Fa-f]{{2}})?|[^{_PCHARS}/?%]+")


@dataclass(frozen=True, slots=True)
class NormalUrl:
    """A URL in its normal form; `key` is the SHA-256 of it, `host` carries no brackets and no port."""

    url: str
    key: bytes
    host: str

    @property
    def origin(self) -> str:
        """Scheme, host and port: what one robots.txt speaks for."""
        return self.url[: self.url.index("/", len("https://"))]


def normalise_url(text: str) -> NormalUrl:
    """Bring an http or https URL to its one normal form; doing it twice changes nothing.

    Raises:
        BadRequest: it cannot be fetched; the text names the cause.
    """
    text = text.strip(" ")
    if len(text) > URL_MAX_CHARS:
        raise _bad(f"longer than {URL_MAX_CHARS:,} characters")
    if "/." not in text and (normal := _NORMAL.fullmatch(text)):
        return _keyed(text, normal["host"])
    _refuse_unreadable(text)
    parts = _PARTS.fullmatch(text)
    if parts is None:
        raise _bad(_why_no_scheme(text))
    scheme = parts["scheme"].lower()
    if scheme not in DEFAULT_PORTS:
        raise _bad(f"only http and https can be fetched, not {scheme}:")
    host, port = _host_and_port(parts["authority"], DEFAULT_PORTS[scheme])
    path = _without_dot_segments(_IN_PATH.sub(_escape, parts["path"]))
    query = "" if parts["query"] is None else "?" + _IN_QUERY.sub(_escape, parts["query"])
    shown = f"[{host}]" if ":" in host else host
    return _keyed(f"{scheme}://{shown}{port}{path}{query}", host)


def _keyed(url: str, host: str) -> NormalUrl:
    if len(url) > URL_MAX_CHARS:
        raise _bad(f"longer than {URL_MAX_CHARS:,} characters once it is percent-encoded")
    if len(host) > HOST_MAX_CHARS:
        raise _bad(f"the host name is longer than {HOST_MAX_CHARS} characters")
    return NormalUrl(url, hashlib.sha256(url.encode()).digest(), host)


def _bad(cause: str) -> BadRequest:
    return BadRequest(f"bad URL: {printable(cause)}", "url")


def _refuse_unreadable(text: str) -> None:
    if not text:
        raise _bad("it is empty")
    if _CONTROL.search(text):
        raise _bad("it holds a control character")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise _bad("it holds half a character (a lone surrogate)") from error


def _why_no_scheme(text: str) -> str:
    if other := _OTHER_SCHEME.match(text):
        scheme = other["scheme"].lower()
        if scheme in DEFAULT_PORTS:
            return f"it has no host; write {scheme}://host/path"
        return f"only http and https can be fetched, not {scheme}:"
    return f"no scheme; did you mean https://{text.lstrip('/')[:80]}?"


def _host_and_port(authority: str, default_port: int) -> tuple[str, str]:
    """Split an authority into its normal host and `:port`, which is empty for the default one."""
    if "@" in authority:
        raise _bad("it holds a user name or password")
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        raise _bad("the host or port cannot be read")
    return _normal_host(parts["host"]), _normal_port(parts["port"] or "", default_port)


def _normal_port(digits: str, default_port: int) -> str:
    significant = digits.lstrip("0")
    if digits and (not significant or len(significant) > 5 or int(significant) > 65_535):
        raise _bad("the port is not between 1 and 65535")
    return "" if significant in ("", str(default_port)) else f":{significant}"


def _normal_host(host: str) -> str:
    if not host:
        raise _bad("it has no host")
    if host.startswith("["):
        return _normal_ipv6(host[1:-1])
    if len(host) > HOST_MAX_CHARS + 1:
        raise _bad(f"the host name is longer than {HOST_MAX_CHARS} characters")
    name = host.lower() if host.isascii() else _punycode(host)
    name = name.removesuffix(".")
    if not _HOST.fullmatch(name):
        raise _bad(f"{host!r} is not a host name")
    return name


def _normal_ipv6(text: str) -> str:
    try:
        address = IPv6Address(text)
    except ValueError as error:
        raise _bad(f"[{text}] is not an IPv6 address") from error
    if address.scope_id is not None:
        raise _bad("an IPv6 address with a scope is of this machine alone")
    return address.compressed


def _punycode(host: str) -> str:
    try:
        return idna.encode(host, uts46=True).decode("ascii").lower()
    except UnicodeError as error:
        raise _bad(f"{host!r} is not a host name") from error


def _escape(match: re.Match[str]) -> str:
    """Write one percent sign or one run of characters in the only spelling that the normal form has for it."""
    run = match[0]
    if run == "%":
        return "%25"
    if run.startswith("%"):
        character = chr(int(run[1:], 16))
        return character if character in _UNRESERVED else run.upper()
    return "".join(f"%{byte:02X}" for byte in run.encode())


def _without_dot_segments(path: str) -> str:
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    ends_in_dots = bool(kept) and segments[-1] in (".", "..")
    return "/" + "/".join(kept) + ("/" if ends_in_dots else "")
