"""Replies that take their time, never end, or depend on what was asked."""

from __future__ import annotations

import socket
import struct

from tests.hostile.server import DRIP_S, HostileServer, Request, behaviour, jpeg, pour, reply

ETAG, LAST_MODIFIED = '"1"', "Sat, 01 Jan 2022 00:00:00 GMT"
BANNED_AFTER = 3


@behaviour("/picture")
def picture(_: HostileServer, connection: socket.socket, __: Request) -> bool:
    """A valid JPEG on a connection that stays open."""
    connection.sendall(
        reply("200 OK", jpeg(), "Content-Type: image/jpeg", f"ETag: {ETAG}", f"Last-Modified: {LAST_MODIFIED}")
    )
    return True


@behaviour("/conditional")
def conditional(server: HostileServer, connection: socket.socket, request: Request) -> bool:
    """304 for those who have it already, else a valid JPEG; `?X-ROBOTS-TAG` says something of it either way."""
    tags = [f"X-Robots-Tag: {request.query}"] if request.query else []
    headers = request.headers
    if headers.get("if-none-match") == ETAG or headers.get("if-modified-since") == LAST_MODIFIED:
        connection.sendall(reply("304 Not Modified", b"", *tags))
        return True
    return picture(server, connection, request)


@behaviour("/tagged")
def tagged(_: HostileServer, connection: socket.socket, request: Request) -> bool:
    """`?A|B`: a valid JPEG with the X-Robots-Tag headers A and B."""
    connection.sendall(reply("200 OK", jpeg(), *(f"X-Robots-Tag: {tag}" for tag in request.query.split("|"))))
    return True


@behaviour("/tagged-endless")
def tagged_endless(_: HostileServer, connection: socket.socket, request: Request) -> None:
    """`?TAG`: a body that never ends, under an X-Robots-Tag."""
    connection.sendall(reply("200 OK", b"", f"X-Robots-Tag: {request.query}", length=10**9))
    pour(connection)


@behaviour("/slow-picture")
def slow_picture(server: HostileServer, connection: socket.socket, request: Request) -> bool:
    """A valid JPEG after a short wait."""
    server.closing.wait(DRIP_S)
    return picture(server, connection, request)


@behaviour("/ban")
def ban(server: HostileServer, connection: socket.socket, request: Request) -> bool:
    """A picture to the first three who ask, 403 to all others."""
    if sum(asked.path == request.path for asked in server.requests) <= BANNED_AFTER:
        return picture(server, connection, request)
    connection.sendall(reply("403 Forbidden"))
    return True


@behaviour("/retry-after")
def retry_after(_: HostileServer, connection: socket.socket, request: Request) -> None:
    """`?STATUS,VALUE`: that status with this Retry-After."""
    status, _, value = request.query.partition(",")
    connection.sendall(reply(f"{status} Later", b"", f"Retry-After: {value}"))


@behaviour("/redirect")
def redirect(_: HostileServer, connection: socket.socket, request: Request) -> None:
    """`?STATUS,LOCATION`: a redirect with an endless body."""
    status, _, location = request.query.partition(",")
    connection.sendall(reply(f"{status} Moved", b"", f"Location: {location}", length=10**12))
    pour(connection)


@behaviour("/loop")
def loop(_: HostileServer, connection: socket.socket, __: Request) -> bool:
    """A redirect to itself."""
    connection.sendall(reply("302 Found", b"", "Location: /loop"))
    return True


@behaviour("/slow-loop")
def slow_loop(server: HostileServer, connection: socket.socket, _: Request) -> bool:
    """A redirect to itself that takes its time, short of any timeout of one read."""
    server.closing.wait(4 * DRIP_S)
    connection.sendall(reply("302 Found", b"", "Location: /slow-loop"))
    return True


@behaviour("/countdown")
def countdown(_: HostileServer, connection: socket.socket, request: Request) -> bool:
    """`?N`: N redirects, then a picture."""
    left = int(request.query)
    target = f"/countdown?{left - 1}" if left > 1 else "/picture"
    connection.sendall(reply("301 Moved", b"", f"Location: {target}"))
    return True


@behaviour("/endless")
def endless(_: HostileServer, connection: socket.socket, __: Request) -> None:
    """A body without length that never ends, as fast as it is read."""
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    pour(connection)


@behaviour("/endless-chunks")
def endless_chunks(_: HostileServer, connection: socket.socket, __: Request) -> None:
    """Chunks of one byte, for ever."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"1\r\na\r\n" * 10_000)


@behaviour("/endless-header")
def endless_header(_: HostileServer, connection: socket.socket, __: Request) -> None:
    """One header line of as many bytes as are read."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
    pour(connection)


@behaviour("/hang")
def hang(server: HostileServer, _: socket.socket, __: Request) -> None:
    """No byte of a reply, ever."""
    server.closing.wait(60)


@behaviour("/slow-headers")
def slow_headers(server: HostileServer, connection: socket.socket, _: Request) -> None:
    """A status line, then a header that arrives byte by byte and never ends."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    server.drip(connection)


@behaviour("/slow-100")
def slow_100(server: HostileServer, connection: socket.socket, _: Request) -> None:
    """One 100 Continue after the other, in no hurry."""
    while not server.closing.wait(DRIP_S):
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")


@behaviour("/slow-body")
def slow_body(server: HostileServer, connection: socket.socket, _: Request) -> None:
    """A body of a thousand bytes, one at a time."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    server.drip(connection)


@behaviour("/slow-chunks")
def slow_chunks(server: HostileServer, connection: socket.socket, _: Request) -> None:
    """A chunk size that arrives byte by byte."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;")
    server.drip(connection)


@behaviour("/reset")
def reset(_: HostileServer, connection: socket.socket, __: Request) -> None:
    """Half a body, then a TCP reset."""
    connection.sendall(reply("200 OK", b"half", length=8))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@behaviour("/stale")
def stale(_: HostileServer, connection: socket.socket, __: Request) -> None:
    """A valid JPEG on a connection that stays open until it is used again: then a TCP reset."""
    connection.sendall(reply("200 OK", jpeg(), "Content-Type: image/jpeg"))
    connection.recv(1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
