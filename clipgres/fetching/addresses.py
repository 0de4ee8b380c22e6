"""Which addresses and ports may be connected to: the public ones, and what `CLIPGRES_FETCH_ALLOW` names."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Self

from ssrfguard import DEFAULT_DENIED, AddressTable, Block, Policy, Reach

from clipgres.errors import SetupError

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

PUBLIC_PORTS = frozenset({80, 443})

# What IANA's registries leave open, or mark as globally reachable, and no picture is ever fetched from.
_ALSO_DENIED = (
    Block(ip_network("168.63.129.16/32"), "Azure host services", "no RFC", Reach.DENIED),
    Block(ip_network("::ffff:0:0:0/96"), "IPv4-translated", "RFC2765", Reach.DENIED),
    Block(ip_network("2001:20::/28"), "ORCHIDv2", "RFC7343", Reach.DENIED),
    Block(ip_network("2001:30::/28"), "Drone Remote ID", "RFC9374", Reach.DENIED),
    Block(ip_network("::/3"), "Unassigned", "RFC4291", Reach.DENIED),
    Block(ip_network("4000::/2"), "Unassigned", "RFC4291", Reach.DENIED),
    Block(ip_network("8000::/1"), "Unassigned", "RFC4291", Reach.DENIED),
)
_ENTRY = re.compile(r"(?:\[(?P<bracketed>[^\]]+)\]|(?P<plain>[^:\[\]]+))(?::(?P<port>[0-9]{1,5}))?")


def _address_table() -> AddressTable:
    ours = {block.network for block in _ALSO_DENIED}
    return AddressTable((*(b for b in DEFAULT_DENIED.blocks if b.network not in ours), *_ALSO_DENIED))


@dataclass(frozen=True, slots=True)
class AllowedNetwork:
    """A network that may be fetched from although it is not public; without a port, on every port."""

    network: IPNetwork
    port: int | None = None

    def covers(self, address: IPAddress, port: int) -> bool:
        """Whether this entry names the address and the port."""
        return address in self.network and self.port in (None, port)


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """Public addresses on the public ports, and the networks that are allowed on top."""

    allowed: tuple[AllowedNetwork, ...] = ()
    public_ports: frozenset[int] = PUBLIC_PORTS
    table: AddressTable = field(default_factory=_address_table)

    @classmethod
    def from_setting(cls, text: str) -> Self:
        """Read `CLIPGRES_FETCH_ALLOW`, a comma-separated list of any of these:

        `127.0.0.0/8` (a network, every port), `10.1.2.3:8080` or `127.0.0.0/8:9000` (one port of it),
        `fd00::/8`, `[::1]:9000` (IPv6 with a port), `8080` (that port on every public address).

        Raises:
            SetupError: an entry that is none of these; the text names it.
        """
        entries = [entry.strip() for entry in text.split(",") if entry.strip()]
        ports = frozenset(_port(entry, entry) for entry in entries if entry.isdecimal())
        policy = cls(tuple(_network(entry) for entry in entries if not entry.isdecimal()), PUBLIC_PORTS | ports)
        try:
            Policy(denied_networks=policy.table, allowed_networks=tuple(each.network for each in policy.allowed))
        except ValueError as error:
            raise _bad(text, "it carries IPv4 addresses inside IPv6 ones; allow the IPv4 network instead") from error
        return policy

    def refusal(self, address: IPAddress, port: int) -> str | None:
        """Say why the address must not be connected to on this port; None: it may be."""
        if any(entry.covers(address, port) for entry in self.allowed):
            return None
        verdict = self.table.classify(address)
        if verdict.blocked:
            return f"{address}: {verdict.reason}"
        if port not in self.public_ports:
            return f"port {port} is not one that pictures are fetched from"
        return None


def _bad(entry: str, cause: str) -> SetupError:
    return SetupError(f"setting CLIPGRES_FETCH_ALLOW: {entry!r}: {cause}")


def _network(entry: str) -> AllowedNetwork:
    match = _ENTRY.fullmatch(entry)
    text = (match["bracketed"] or match["plain"]) if match else entry
    port = _port(match["port"], entry) if match and match["port"] else None
    try:
        return AllowedNetwork(ip_network(text), port)
    except ValueError as error:
        raise _bad(entry, "write a network such as 10.0.0.0/8, 10.1.2.3:8080 or [::1]:9000, or a port") from error


def _port(digits: str, entry: str) -> int:
    if len(digits) > 5 or not 1 <= int(digits) <= 65_535:
        raise _bad(entry, "a port is a number from 1 to 65535")
    return int(digits)
