"""Replies that are always the same bytes: statuses, lengths and headers that lie, encodings, what is no picture."""

from __future__ import annotations

import gzip
import socket
import zlib
from functools import cache
from io import BytesIO
from zipfile import ZipFile

from tests.hostile.server import HostileServer, Request, behaviour, fixed, jpeg, reply

STATUSES = """
    204 No Content, 206 Partial Content, 300 Multiple Choices, 304 Not Modified, 401 Unauthorized, 403 Forbidden,
    404 Not Found, 408 Request Timeout, 410 Gone, 418 Teapot, 451 Unavailable For Legal Reasons, 500 Oops,
    502 Bad Gateway, 503 Unavailable, 504 Gateway Timeout, 999 Denied
"""
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="48"/>'
LOGIN_PAGE = b"<!DOCTYPE html><form action=/login><input name=password type=password></form>"
REFRESH_PAGE = b'<meta http-equiv="refresh" content="0; url=/picture">'
COOKIE_WALL = b"<html><body>Please accept our cookies to see this picture.</body></html>"


def _zip() -> bytes:
    stream = BytesIO()
    with ZipFile(stream, "w") as archive:
        archive.writestr("picture.jpg", jpeg())
    return stream.getvalue()


def _chunked(*parts: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(parts)


for _status in STATUSES.split(","):
    fixed(f"/{_status.strip()[:3]}", reply(_status.strip()))

# What is no picture, or not the one that it says it is.
fixed("/html-as-jpeg", reply("200 OK", b"<!DOCTYPE html><title>gone</title>", "Content-Type: image/jpeg"))
fixed("/login-page", reply("200 OK", LOGIN_PAGE, "Content-Type: text/html"))
fixed("/meta-refresh", reply("200 OK", REFRESH_PAGE, "Content-Type: text/html"))
fixed("/cookie-wall", reply("200 OK", COOKIE_WALL, "Content-Type: text/html", "Set-Cookie: seen=1"))
fixed("/json-error", reply("200 OK", b'{"error": "no such picture"}', "Content-Type: application/json"))
fixed("/svg", reply("200 OK", SVG, "Content-Type: image/svg+xml"))
fixed("/svg-as-jpeg", reply("200 OK", SVG, "Content-Type: image/jpeg"))
fixed("/pdf-as-jpeg", reply("200 OK", b"%PDF-1.7\n%%EOF", "Content-Type: image/jpeg"))
fixed("/zip-as-jpeg", reply("200 OK", _zip(), "Content-Type: image/jpeg"))
fixed("/eps-as-jpeg", reply("200 OK", b"%!PS-Adobe-3.0 EPSF-3.0\n%%EOF", "Content-Type: image/jpeg"))
fixed("/empty", reply("200 OK", b"", "Content-Type: image/jpeg"))
fixed("/text-as-jpeg-is-jpeg", reply("200 OK", jpeg(), "Content-Type: text/plain"))

# Lengths that lie.
fixed("/oversize", reply("200 OK", b"", length=10**12))
fixed("/cut-short", reply("200 OK", jpeg()[:100], length=5_000))
fixed("/short-length", reply("200 OK", jpeg(), length=10))
fixed("/negative-length", reply("200 OK", jpeg(), length=-1))
fixed("/huge-length", reply("200 OK", jpeg(), length="9" * 5_000))
fixed("/word-length", reply("200 OK", jpeg(), length="many"))
fixed("/two-lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!")
fixed("/no-length", b"HTTP/1.1 200 OK\r\n\r\n" + jpeg())

# Content encodings that nobody asked for.
fixed("/gzip", reply("200 OK", gzip.compress(jpeg()), "Content-Encoding: gzip"))
fixed("/deflate", reply("200 OK", zlib.compress(jpeg()), "Content-Encoding: deflate"))
fixed("/double-gzip", reply("200 OK", gzip.compress(gzip.compress(jpeg())), "Content-Encoding: gzip, gzip"))
fixed("/stacked-encodings", reply("200 OK", jpeg(), "Content-Encoding: " + ", ".join(["gzip"] * 100)))
fixed("/unknown-encoding", reply("200 OK", jpeg(), "Content-Encoding: rot13"))
fixed("/brotli-said", reply("200 OK", jpeg(), "Content-Encoding: br"))
fixed("/bad-gzip", reply("200 OK", b"not gzip at all", "Content-Encoding: gzip"))
fixed("/cut-gzip", reply("200 OK", gzip.compress(jpeg())[:100], "Content-Encoding: gzip"))
fixed("/gzip-members", reply("200 OK", gzip.compress(b"") * 40_000, "Content-Encoding: gzip"))

# Chunks.
fixed("/chunks", _chunked(b"%x\r\n" % len(jpeg()), jpeg(), b"\r\n0\r\n\r\n"))
fixed("/bad-chunks", _chunked(b"zz\r\nxx\r\n"))
fixed("/negative-chunk", _chunked(b"-5\r\nhello\r\n0\r\n\r\n"))
fixed("/huge-chunk", _chunked(b"F" * 16 + b"\r\nhello\r\n0\r\n\r\n"))
fixed("/overflowing-chunk", _chunked(b"F" * 60_000 + b"\r\nhello\r\n0\r\n\r\n"))
fixed("/unended-chunks", _chunked(b"5\r\nhello\r\n"))
fixed("/endless-trailers", _chunked(b"0\r\n", b"X: 1\r\n" * 500_000))

# Status lines and headers.
fixed("/garbage", b"\x00\x01\x02 SSH-2.0-OpenSSH_9.9\r\n\r\n")
fixed("/http-0.9", b"<html>no status line</html>")
fixed("/silence", b"")
fixed("/header-without-colon", b"HTTP/1.1 200 OK\r\nno colon here\r\nContent-Length: 5\r\n\r\nhello")
fixed("/nul-in-header", reply("200 OK", jpeg(), 'ETag: "a\x00b"', "X-Robots-Tag: a\x00b"))
fixed("/status-too-long", b"HTTP/1.1 20000 OK\r\n\r\n")
fixed("/many-headers", reply("200 OK", b"", *(f"X-{n}: 1" for n in range(10_000))))
fixed("/long-headers", reply("200 OK", b"", *(f"X-{n}: {'a' * 60_000}" for n in range(50))))
fixed("/endless-100", b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000)
fixed("/one-100", b"HTTP/1.1 100 Continue\r\n\r\n" + reply("200 OK", jpeg()))
fixed("/101", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n")

# Redirects.
fixed("/no-location", reply("302 Found"))
fixed("/relative", reply("302 Found", b"", "Location: a/../picture?caf\u00c3\u00a9"))
fixed("/unicode-location", reply("302 Found", b"", "Location: ./a/../\u00c3\u00bc"), keeps_open=True)


@cache
def _bomb() -> bytes:
    return gzip.compress(bytes(8_000_000))


@behaviour("/gzip-bomb")
def gzip_bomb(_: HostileServer, connection: socket.socket, __: Request) -> None:
    """8 MB in 8 kB."""
    connection.sendall(reply("200 OK", _bomb(), "Content-Encoding: gzip"))


@behaviour("/double-gzip-bomb")
def double_gzip_bomb(_: HostileServer, connection: socket.socket, __: Request) -> None:
    """8 MB in a few bytes."""
    connection.sendall(reply("200 OK", gzip.compress(_bomb()), "Content-Encoding: gzip, gzip"))


@behaviour("/bomb-in-redirect")
def bomb_in_redirect(_: HostileServer, connection: socket.socket, __: Request) -> None:
    """A bomb as the body of a redirect, which nobody needs to read."""
    connection.sendall(reply("302 Found", _bomb(), "Location: /picture", "Content-Encoding: gzip"))
