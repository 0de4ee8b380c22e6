"""One download's allowance of time and bytes, held at the socket: nothing above it can wait or read beyond it."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clipgres.fetching.errors import failure
from clipgres.reasons import Reason

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

HEADERS_MAX_BYTES = 64 * 1024


@dataclass(slots=True)
class Transfer:
    """What one download may still take: seconds for all of it, and bytes for the part that is being read."""

    total_s: float
    read_timeout_s: float
    ends_at: float
    bytes_left: int = HEADERS_MAX_BYTES
    too_much: Reason = Reason.BAD_HTTP

    def wait_s(self, most: float) -> float:
        """How long the next wait may be, in seconds.

        Raises:
            TransientImageError: the whole time is spent.
        """
        left = self.ends_at - time.monotonic()
        if left <= 0:
            raise failure(Reason.TIMEOUT, f"not done after {self.total_s:g} s")
        return min(left, most)

    def expect_headers(self) -> None:
        """Allow the bytes of one reply's status line and headers."""
        self.bytes_left, self.too_much = HEADERS_MAX_BYTES, Reason.BAD_HTTP

    def expect_body(self, max_bytes: int) -> None:
        """Allow the bytes of a body and of its chunk framing."""
        self.bytes_left, self.too_much = max_bytes + HEADERS_MAX_BYTES, Reason.TOO_MANY_BYTES

    def receive(self, sock: socket.socket, read: Callable[[], int]) -> int:
        """Run one read of a socket within the time that is left, and count its bytes."""
        wait_s = self.wait_s(self.read_timeout_s)
        if sock.gettimeout() != wait_s:
            # Only the last seconds have a timeout of their own, and setting one is a system call.
            sock.settimeout(wait_s)
        count = read()
        self.bytes_left -= count
        if self.bytes_left < 0:
            raise failure(self.too_much, "headers longer than 64 kB" if self.too_much is Reason.BAD_HTTP else "")
        return count


_current: ContextVar[Transfer] = ContextVar("transfer")


def current_transfer() -> Transfer:
    """The transfer that this thread is running."""
    return _current.get()


@contextmanager
def begin_transfer(total_s: float, read_timeout_s: float) -> Iterator[Transfer]:
    """Run a download: every metered socket that this thread reads obeys the one allowance."""
    transfer = Transfer(total_s, read_timeout_s, time.monotonic() + total_s)
    token = _current.set(transfer)
    try:
        yield transfer
    finally:
        _current.reset(token)


class MeteredSocket(socket.socket):
    """A socket whose reads are charged to the current transfer."""

    def recv_into(self, buffer: WriteableBuffer, nbytes: int = 0, flags: int = 0) -> int:
        """Read within the current transfer's allowance; http.client reads in no other way."""
        return current_transfer().receive(self, lambda: super(MeteredSocket, self).recv_into(buffer, nbytes, flags))


class MeteredTLSSocket(ssl.SSLSocket):
    """A TLS socket whose reads are charged to the current transfer."""

    def recv_into(self, buffer: WriteableBuffer, nbytes: int | None = None, flags: int = 0) -> int:
        """Read within the current transfer's allowance; http.client reads in no other way."""
        return current_transfer().receive(self, lambda: super(MeteredTLSSocket, self).recv_into(buffer, nbytes, flags))
