"""Connect to a host: look its name up once, refuse unless every answer is allowed, connect to one that was checked."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from ipaddress import ip_address
from threading import Thread

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from clipgres.fetching.addresses import AddressPolicy, IPAddress
from clipgres.fetching.errors import failure, failure_of
from clipgres.fetching.transfer import MeteredSocket, current_transfer
from clipgres.reasons import Reason

MAX_ADDRESSES_TRIED = 4

Resolver = Callable[[str], Sequence[str]]
Dial = Callable[[str, int], socket.socket]


def system_resolver(host: str) -> list[str]:
    """Ask the operating system for the addresses of a host, in the order it prefers."""
    return [str(row[4][0]) for row in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]


@dataclass(frozen=True, slots=True)
class Dialer:
    """Opens sockets to hosts whose addresses the policy allows, within the current transfer's time."""

    policy: AddressPolicy
    resolver: Resolver
    connect_timeout_s: float

    def __call__(self, host: str, port: int) -> socket.socket:
        """Connect to the first of the host's checked addresses that answers.

        Raises:
            PermanentImageError: an address that is not allowed.
            TransientImageError: the name or the host cannot be reached in time.
        """
        first_error: OSError | None = None
        for address in self._checked_addresses(host, port)[:MAX_ADDRESSES_TRIED]:
            try:
                return self._connect(address, port)
            except OSError as error:
                first_error = first_error or error
        assert first_error is not None  # noqa: S101 - there is at least one address
        raise failure_of(first_error) from first_error

    def _checked_addresses(self, host: str, port: int) -> list[IPAddress]:
        addresses = [ip_address(text) for text in self._lookup(host)]
        if not addresses:
            raise failure(Reason.DNS_FAILED, f"{host} has no address")
        for address in addresses:
            if refusal := self.policy.refusal(address, port):
                raise failure(Reason.BLOCKED_ADDRESS, refusal if host == str(address) else f"{host}: {refusal}")
        return addresses

    def _lookup(self, host: str) -> Sequence[str]:
        """Resolve in a thread of its own, since the system's resolver takes no deadline; one that hangs is left."""
        if _is_address(host):
            return [host]
        wait_s = current_transfer().wait_s(float("inf"))
        answer: Future[Sequence[str]] = Future()
        Thread(target=_answer, args=(answer, self.resolver, host), name=f"lookup of {host}", daemon=True).start()
        try:
            return answer.result(wait_s)
        except TimeoutError as error:
            raise failure(Reason.DNS_FAILED, f"{host}: no answer in {wait_s:.0f} s") from error
        except (OSError, UnicodeError) as error:
            raise failure(Reason.DNS_FAILED, f"{host}: {error}") from error

    def _connect(self, address: IPAddress, port: int) -> MeteredSocket:
        transfer = current_transfer()
        sock = MeteredSocket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(transfer.wait_s(self.connect_timeout_s))
            sock.connect((str(address), port))
            sock.settimeout(transfer.wait_s(transfer.read_timeout_s))
        except BaseException:
            sock.close()
            raise
        return sock


def pinned_pools(dial: Dial) -> dict[str, type[HTTPConnectionPool]]:
    """Build connection pools whose sockets come from `dial`; Host header, SNI and certificate keep the host's name."""

    class PinnedHTTPConnection(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return dial(self.host, self.port)

    class PinnedHTTPSConnection(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return dial(self.host, self.port)

    class PinnedHTTPPool(HTTPConnectionPool):
        ConnectionCls = PinnedHTTPConnection

    class PinnedHTTPSPool(HTTPSConnectionPool):
        ConnectionCls = PinnedHTTPSConnection

    return {"http": PinnedHTTPPool, "https": PinnedHTTPSPool}


def _answer(answer: Future[Sequence[str]], resolver: Resolver, host: str) -> None:
    try:
        answer.set_result(resolver(host))
    except Exception as error:
        answer.set_exception(error)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
