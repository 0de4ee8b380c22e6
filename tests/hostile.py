"""A raw-socket HTTP server on loopback that misbehaves on request: the path of a URL names the behaviour."""

from __future__ import annotations

import gzip
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO
from urllib.parse import unquote

from PIL import Image

DRIP_S = 0.1
CHUNK = bytes(64 * 1024)


def jpeg(width: int = 64, height: int = 48) -> bytes:
    """A small valid JPEG."""
    stream = BytesIO()
    Image.radial_gradient("L").resize((width, height)).convert("RGB").save(stream, "JPEG")
    return stream.getvalue()


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came: the path without its query, the query decoded, headers by lower-case name."""

    path: str
    query: str
    headers: dict[str, str]


@dataclass(slots=True)
class HostileServer:
    """Listens on one loopback address; counts connections and keeps the requests."""

    address: str
    listener: socket.socket
    tls: ssl.SSLContext | None = None
    connections: int = 0
    requests: list[Request] = field(default_factory=list)
    in_hand: int = 0
    most_in_hand: int = 0
    closing: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.listener.getsockname()[1])

    def url(self, behaviour: str, host: str | None = None) -> str:
        """The URL of a behaviour, under another host name if one is given."""
        return f"http{'s' if self.tls else ''}://{host or self.address}:{self.port}/{behaviour}"

    def serve(self) -> None:
        """Accept until the listener is closed, each connection in a thread of its own."""
        while not self.closing.is_set():
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._handle, args=(connection,), daemon=True).start()

    def _handle(self, accepted: socket.socket) -> None:
        with accepted, suppress(OSError), self._secured(accepted) as connection, connection.makefile("rb") as stream:
            while request := read_request(stream):
                self.requests.append(request)
                with self._counted():
                    keep_alive = BEHAVIOURS[request.path](self, connection, request)
                if not keep_alive:
                    return

    def _secured(self, accepted: socket.socket) -> socket.socket:
        return self.tls.wrap_socket(accepted, server_side=True) if self.tls else accepted

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self.lock:
            self.in_hand += 1
            self.most_in_hand = max(self.most_in_hand, self.in_hand)
        try:
            yield
        finally:
            with self.lock:
                self.in_hand -= 1


Behaviour = Callable[[HostileServer, socket.socket, Request], bool | None]
BEHAVIOURS: dict[str, Behaviour] = {}


@contextmanager
def hostile_server(address: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> Iterator[HostileServer]:
    """Run a server on any free port of a loopback address, over TLS if it is given a context."""
    with socket.create_server((address, 0), backlog=128) as listener:
        server = HostileServer(address, listener, tls)
        thread = threading.Thread(target=server.serve, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)


def read_request(stream: BytesIO) -> Request | None:
    """Read one request head; None at the end of the connection."""
    words = stream.readline().decode("latin-1").split()
    if len(words) < 2:
        return None
    path, _, query = words[1].partition("?")
    headers: dict[str, str] = {}
    while line := stream.readline().strip().decode("latin-1"):
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return Request(path, unquote(query), headers)


def reply(status: str, body: bytes = b"", *headers: str, length: int | None = None) -> bytes:
    """A whole reply; `length` makes its Content-Length lie."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def behaviour(path: str) -> Callable[[Behaviour], Behaviour]:
    """Register what the server does for a path; a true result keeps the connection open."""

    def register(function: Behaviour) -> Behaviour:
        BEHAVIOURS[path] = function
        return function

    return register


def _fixed(path: str, data: bytes) -> None:
    def send(_: HostileServer, connection: socket.socket, __: Request) -> bool:
        connection.sendall(data)
        return False

    BEHAVIOURS[path] = send


for _status in ("204 No Content", "206 Partial Content", "304 Not Modified", "401 Unauthorized", "403 Forbidden"):
    _fixed(f"/{_status[:3]}", reply(_status))
for _status in ("404 Not Found", "408 Request Timeout", "410 Gone", "418 Teapot", "451 Legal", "500 Oops", "502 Oops"):
    _fixed(f"/{_status[:3]}", reply(_status))
_fixed("/html-as-jpeg", reply("200 OK", b"<!DOCTYPE html><title>gone</title>", "Content-Type: image/jpeg"))
_fixed("/oversize", reply("200 OK", b"", length=10**12))
_fixed("/cut-short", reply("200 OK", jpeg()[:100], length=5_000))
_fixed("/gzip-bomb", reply("200 OK", gzip.compress(bytes(50_000_000)), "Content-Encoding: gzip"))
_fixed("/gzip", reply("200 OK", gzip.compress(jpeg()), "Content-Encoding: gzip"))
_fixed("/bad-gzip", reply("200 OK", b"not gzip at all", "Content-Encoding: gzip"))
_fixed("/garbage", b"\x00\x01\x02 SSH-2.0-OpenSSH_9.9\r\n\r\n")
_fixed("/http-0.9", b"<html>no status line</html>")
_fixed("/silence", b"")
_fixed("/bad-chunks", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nxx\r\n")
_fixed("/unended-chunks", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
_fixed("/two-lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!")
_fixed("/many-headers", reply("200 OK", b"", *(f"X-{n}: 1" for n in range(10_000))))
_fixed("/long-headers", reply("200 OK", b"", *(f"X-{n}: {'a' * 60_000}" for n in range(50))))
_fixed("/endless-100", b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000)
_fixed("/no-location", reply("302 Found"))
_fixed("/relative", reply("302 Found", b"", "Location: a/../picture?caf\u00c3\u00a9"))


@behaviour("/picture")
def picture(_: HostileServer, connection: socket.socket, __: Request) -> bool:
    """A valid JPEG on a connection that stays open."""
    connection.sendall(reply("200 OK", jpeg(), "Content-Type: image/jpeg", 'ETag: "1"', "Last-Modified: Sat"))
    return True


@behaviour("/slow-picture")
def slow_picture(server: HostileServer, connection: socket.socket, request: Request) -> bool:
    """A valid JPEG after a short wait."""
    server.closing.wait(DRIP_S)
    return picture(server, connection, request)


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
    _pour(connection)


@behaviour("/loop")
def loop(_: HostileServer, connection: socket.socket, __: Request) -> bool:
    """A redirect to itself."""
    connection.sendall(reply("302 Found", b"", "Location: /loop"))
    return True


@behaviour("/slow-loop")
def slow_loop(server: HostileServer, connection: socket.socket, _: Request) -> bool:
    """A redirect to itself that takes its time, short of any timeout of one read."""
    server.closing.wait(2 * DRIP_S)
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
    _pour(connection)


@behaviour("/hang")
def hang(server: HostileServer, _: socket.socket, __: Request) -> None:
    """No byte of a reply, ever."""
    server.closing.wait(60)


@behaviour("/slow-headers")
def slow_headers(server: HostileServer, connection: socket.socket, _: Request) -> None:
    """A status line, then a header that arrives byte by byte and never ends."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    _drip(server, connection)


@behaviour("/slow-body")
def slow_body(server: HostileServer, connection: socket.socket, _: Request) -> None:
    """A body of a thousand bytes, one at a time."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    _drip(server, connection)


@behaviour("/slow-chunks")
def slow_chunks(server: HostileServer, connection: socket.socket, _: Request) -> None:
    """A chunk size that arrives byte by byte."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;")
    _drip(server, connection)


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


def _drip(server: HostileServer, connection: socket.socket) -> None:
    while not server.closing.wait(DRIP_S):
        connection.sendall(b"a")


def _pour(connection: socket.socket) -> None:
    while True:
        connection.sendall(CHUNK)
