"""robots.txt: the first label of the host name that is asked says which one it has; all other hosts have none."""

from __future__ import annotations

import gzip
import socket
from collections.abc import Callable

from tests.hostile.server import HostileServer, Request, behaviour, jpeg, pour, reply

DENY = b"User-agent: *\nDisallow: /\n"
NONE = reply("404 Not Found", b"<h1>Not found</h1>", "Content-Type: text/html")
FILES = {
    "empty": b"",
    "deny": DENY,
    "deny-us": b"User-agent: *\nAllow: /\n\nUser-Agent: ClipGres/2.0\nDisallow: /\n",
    "deny-others": b"User-agent: clip\nUser-agent: otherbot\nDisallow: /\n",
    "deny-some": b"\xef\xbb\xbfuser-agent: *\r\ndisallow: /pic*e$\r\nallow: /picture\r\ndisallow: /conditional?",
    "deny-late": b"# " + b"x" * 499_990 + b"\n" + DENY,
    "deny-cut": b"User-agent: *\n# " + b"x" * (500_000 - 16 - 12) + b"\nDisallow: /nothing",
    "picture": jpeg(),
}
REPLIES = {name: reply("200 OK", body, "Content-Type: text/plain") for name, body in FILES.items()} | {
    "status-204": reply("204 No Content"),
    "status-304": reply("304 Not Modified"),
    "status-403": reply("403 Forbidden", b"no"),
    "status-429": reply("429 Too Many Requests", b"", "Retry-After: 7"),
    "status-500": reply("500 Oops", DENY),
    "status-503": reply("503 Unavailable", b"", "Retry-After: 7"),
    "bomb": reply("200 OK", gzip.compress(bytes(8_000_000)), "Content-Encoding: gzip"),
    "loop": reply("301 Moved", b"", "Location: /robots.txt"),
    "moved-to-mail": reply("301 Moved", b"", "Location: mailto:web@example.org"),
    "moved-inside": reply("302 Found", b"", "Location: http://169.254.169.254/robots.txt"),
    "cut-short": reply("200 OK", DENY, length=5_000),
    "garbage": b"\x00\x01\x02 SSH-2.0-OpenSSH_9.9\r\n\r\n",
    "silence": b"",
}


@behaviour("/robots.txt")
def robots(server: HostileServer, connection: socket.socket, request: Request) -> bool:
    """What the host that is asked has; connections stay open wherever they can."""
    label = server.robots or request.headers.get("host", "").partition(".")[0].removeprefix("robots-")
    if special := SPECIAL.get(label):
        special(server, connection, request)
        return False
    connection.sendall(REPLIES.get(label, NONE))
    return label not in ("cut-short", "garbage", "silence", "bomb")


def _moved(_: HostileServer, connection: socket.socket, request: Request) -> None:
    """A redirect to another host, which denies everything."""
    port = request.headers["host"].partition(":")[2]
    connection.sendall(reply("308 Moved", b"", f"Location: http://robots-deny.test:{port}/robots.txt"))


def _endless(_: HostileServer, connection: socket.socket, __: Request) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    pour(connection)


def _slow(server: HostileServer, connection: socket.socket, _: Request) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    server.drip(connection)


def _hang(server: HostileServer, _: socket.socket, __: Request) -> None:
    server.closing.wait(60)


SPECIAL: dict[str, Callable[[HostileServer, socket.socket, Request], None]] = {
    "moved": _moved,
    "endless": _endless,
    "slow": _slow,
    "hang": _hang,
}
