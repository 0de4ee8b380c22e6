"""The server itself: accepts, reads a request and lets the behaviour that its path names reply."""

from __future__ import annotations

import socket
import ssl
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
    """Listens on one address of this machine; counts connections and keeps the requests, those for robots apart.

    `robots` names the robots.txt that it has whatever its host is called.
    """

    address: str
    listener: socket.socket
    tls: ssl.SSLContext | None = None
    robots: str = ""
    connections: int = 0
    requests: list[Request] = field(default_factory=list)
    robots_requests: list[Request] = field(default_factory=list)
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

    def drip(self, connection: socket.socket) -> None:
        """Send a byte ten times a second until the client has enough."""
        while not self.closing.wait(DRIP_S):
            connection.sendall(b"a")

    def _handle(self, accepted: socket.socket) -> None:
        with accepted, suppress(OSError), self._secured(accepted) as connection, connection.makefile("rb") as stream:
            while request := read_request(stream):
                if not self._reply(connection, request):
                    return

    def _reply(self, connection: socket.socket, request: Request) -> bool | None:
        if request.path == "/robots.txt":
            self.robots_requests.append(request)
            return BEHAVIOURS[request.path](self, connection, request)
        self.requests.append(request)
        with self._counted():
            return BEHAVIOURS.get(request.path, BEHAVIOURS["/404"])(self, connection, request)

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
def hostile_server(
    address: str = "127.0.0.1", tls: ssl.SSLContext | None = None, robots: str = ""
) -> Iterator[HostileServer]:
    """Run a server on any free port of an address, over TLS if it is given a context."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    both = address == "::"
    with socket.create_server((address, 0), family=family, backlog=128, dualstack_ipv6=both) as listener:
        server = HostileServer(address, listener, tls, robots)
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


def reply(status: str, body: bytes = b"", *headers: str, length: int | str | None = None) -> bytes:
    """A whole reply; `length` makes its Content-Length lie."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def behaviour(path: str) -> Callable[[Behaviour], Behaviour]:
    """Register what the server does for a path; a true result keeps the connection open."""

    def register(function: Behaviour) -> Behaviour:
        BEHAVIOURS[path] = function
        return function

    return register


def fixed(path: str, data: bytes, *, keeps_open: bool = False) -> None:
    """Register a reply that is always the same."""

    def send(_: HostileServer, connection: socket.socket, __: Request) -> bool:
        connection.sendall(data)
        return keeps_open

    BEHAVIOURS[path] = send


def pour(connection: socket.socket) -> None:
    """Send for ever, as fast as it is read."""
    while True:
        connection.sendall(CHUNK)
