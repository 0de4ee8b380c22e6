"""The address policy against the corpus of addresses that other guards let through."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from clipgres.errors import SetupError
from clipgres.fetching.addresses import AddressPolicy

NOT_PUBLIC = """
    127.0.0.1 127.255.255.254 0.0.0.0 0.1.2.3 10.0.0.1 172.16.0.1 172.31.255.255 192.168.0.1
    169.254.169.254 169.254.170.2 100.64.0.1 100.100.100.200 192.0.0.8 192.0.0.170 192.0.0.192 192.0.2.1 198.18.0.1
    198.51.100.1 203.0.113.1 224.0.0.1 240.0.0.1 255.255.255.255 168.63.129.16
    :: ::1 ::127.0.0.1 ::169.254.169.254 ::ffff:127.0.0.1 ::ffff:169.254.169.254 ::ffff:0:127.0.0.1
    ::ffff:0:169.254.169.254 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::7f00:1 2002:7f00:1:: 2002:a9fe:a9fe::
    2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:db8::1 2001:20::1 3fff::1 5f00::1 100::1 fc00::1 fd00:ec2::254 fe80::1
    fec0::1 ff02::1 200::1 4000::1 fe00::1
""".split()
PUBLIC = "8.8.8.8 1.1.1.1 2606:4700::1111 192.0.0.9".split()


def allows(setting: str, address: str, port: int) -> bool:
    return AddressPolicy.from_setting(setting).refusal(ip_address(address), port) is None


def test_the_corpus_is_whole() -> None:
    assert len(set(NOT_PUBLIC)) == 50


@pytest.mark.parametrize("address", NOT_PUBLIC)
@pytest.mark.parametrize("port", [80, 443])
def test_no_address_that_is_not_public_is_allowed(address: str, port: int) -> None:
    assert not allows("", address, port)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_allowed_on_the_public_ports_alone(address: str) -> None:
    assert allows("", address, 80)
    assert allows("", address, 443)
    assert not any(allows("", address, port) for port in (22, 25, 5432, 6379, 8080))


def test_the_refusal_names_the_address_and_the_block() -> None:
    policy = AddressPolicy()
    assert policy.refusal(ip_address("10.0.0.1"), 80) == "10.0.0.1: 10.0.0.0/8 is Private-Use (RFC1918)"
    assert "127.0.0.1" in (policy.refusal(ip_address("64:ff9b::7f00:1"), 80) or "")
    assert policy.refusal(ip_address("8.8.8.8"), 22) == "port 22 is not one that pictures are fetched from"


@pytest.mark.parametrize(
    ("setting", "address", "port", "allowed"),
    [
        ("127.0.0.0/8", "127.1.2.3", 9000, True),
        ("127.0.0.0/8", "10.0.0.1", 80, False),
        ("127.0.0.0/8", "::ffff:127.0.0.1", 80, False),
        ("127.0.0.0/8:9000", "127.0.0.1", 9000, True),
        ("127.0.0.0/8:9000", "127.0.0.1", 80, False),
        ("10.1.2.3:8080", "10.1.2.3", 8080, True),
        ("10.1.2.3:8080", "10.1.2.4", 8080, False),
        ("10.1.2.3", "10.1.2.3", 1, True),
        ("[::1]:9000", "::1", 9000, True),
        ("[::1]:9000", "::1", 80, False),
        ("::1", "::1", 80, True),
        ("fd00::/8", "fd12::1", 80, True),
        (" 127.0.0.1:81 , ,8080", "127.0.0.1", 81, True),
        ("127.0.0.1:81,8080", "8.8.8.8", 8080, True),
        ("127.0.0.1:81,8080", "127.0.0.1", 8080, False),
    ],
)
def test_the_setting_allows_what_it_names(setting: str, address: str, port: int, allowed: bool) -> None:
    assert allows(setting, address, port) is allowed


@pytest.mark.parametrize(
    "entry",
    ["localhost", "localhost:80", "10.0.0.1/8", "0", "65536", "10.0.0.1:0", "999999999", "[::1", "64:ff9b::/96"],
)
def test_a_setting_that_cannot_be_read_stops_the_start(entry: str) -> None:
    with pytest.raises(SetupError, match="CLIPGRES_FETCH_ALLOW"):
        AddressPolicy.from_setting(f"127.0.0.1,{entry}")
