"""The attack table: URLs, names and redirects that lead inside; a canary listens there and must never be reached."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from clipgres.errors import ImageError
from clipgres.fetching import Fetcher
from clipgres.fetching.dial import system_resolver
from clipgres.reasons import Reason
from clipgres.settings import Settings
from tests.hostile import HostileServer, hostile_server, jpeg

BLOCKED = Reason.BLOCKED_ADDRESS
INSIDE, OUTSIDE = "127.0.0.2", "127.0.0.1"

# Whatever does not say where it leads, leads to the canary's port.
LOOPBACK = """
    127.0.0.2 localhost localhost.localdomain 127.2 0 0.0.0.0 127.255.255.254 LOCALHOST 0x7f000002 2130706434
    017700000002 0177.0.0.2 0x7f.2 127.0.0.2. 127.0.0.02 ⓛocalhost 127。0。0。2 ①②⑦.0.0.2
    [::1] [::] [::ffff:127.0.0.2] [::ffff:7f00:2] [0:0:0:0:0:ffff:7f00:2] [0000::1]
""".split()
ELSEWHERE = """
    [::127.0.0.1] [::ffff:0:127.0.0.1] [64:ff9b::7f00:1] [64:ff9b::a9fe:a9fe] [64:ff9b:1::7f00:1] [2002:7f00:1::]
    [2002:a9fe:a9fe::] [2001:0:4136:e378:8000:63bf:3fff:fdd2] [::ffff:169.254.169.254] [fe80::1] [fc00::1]
    10.0.0.1 172.16.0.1 172.31.255.255 192.168.0.1 100.64.0.1 198.18.0.1 224.0.0.1 255.255.255.255
    169.254.169.254 169.254.170.2 [fd00:ec2::254] metadata.google.internal 100.100.100.200 192.0.0.192 168.63.129.16
    2852039166 0xa9fea9fe
""".split()
NAMES = {
    "localhost.localdomain": [INSIDE],
    "metadata.google.internal": ["169.254.169.254"],
    "loopback.test": [INSIDE],
    "public-and-private.test": [OUTSIDE, INSIDE],
    "private-and-public.test": [INSIDE, OUTSIDE],
    "private-aaaa.test": [OUTSIDE, "::1"],
    "mapped-aaaa.test": [OUTSIDE, "::ffff:127.0.0.2"],
    "scoped.test": ["fe80::1%1"],
    "outside.test": [OUTSIDE],
    "outside-too.test": [OUTSIDE],
}
BAD_URLS = [
    "http://[fe80::1%25lo]/",
    "file:///etc/passwd",
    "ftp://127.0.0.2/",
    "gopher://127.0.0.2:{canary}/_FLUSHALL",
    "data:image/png;base64,AAAA",
    "javascript:alert(1)",
    "jar:http://127.0.0.2:{canary}/!/a",
    "unix:/var/run/docker.sock",
    "http+unix://%2Fvar%2Frun%2Fdocker.sock/",
    "//127.0.0.2:{canary}/",
    "http://8.8.8.8:0/",
    "http://8.8.8.8:99999/",
    "http://outside.test\r\n.127.0.0.2:{canary}/",
    "http://outside.test\t:{canary}/",
    "http://outside.test\x00.127.0.0.2:{canary}/",
    "http://outside.test@127.0.0.2:{canary}/",
    "http://outside.test:80@127.0.0.2:{canary}/",
    "http://outside.test\\@127.0.0.2:{canary}/",
    "http://127.0.0.2:{canary}:80/",
    "http://127.0.0.2%00.test:{canary}/",
    "http://127.0.0.2 .test:{canary}/",
]
SECOND_HOP = "redirect%3F302,http://127.0.0.2:{canary}/"
LOCATIONS: dict[str, Reason] = {
    "http://127.0.0.2:{canary}/picture": BLOCKED,
    "//127.0.0.2:{canary}/picture": BLOCKED,
    "/\\127.0.0.2:{canary}/picture": Reason.NOT_FOUND,
    "http://[::ffff:127.0.0.2]:{canary}/picture": BLOCKED,
    "http://0x7f000002:{canary}/picture": BLOCKED,
    "http://loopback.test:{canary}/picture": BLOCKED,
    "http://169.254.169.254/latest/meta-data/": BLOCKED,
    "http://[fd00:ec2::254]/": BLOCKED,
    "file:///etc/passwd": Reason.REDIRECTS,
    "gopher://127.0.0.2:{canary}/": Reason.REDIRECTS,
    "http://a:b@127.0.0.2:{canary}/": Reason.REDIRECTS,
    "http://outside.test:{server}/countdown%3F6": Reason.REDIRECTS,
    f"http://outside.test:{{server}}/redirect?302,http://outside-too.test:{{server}}/{SECOND_HOP}": BLOCKED,
}


@dataclass(slots=True)
class Lookups:
    """A resolver of the names above and of the system's; `rebinding.test` leads inside from its second lookup on."""

    turns: dict[str, Iterator[list[str]]] = field(default_factory=dict)

    def __call__(self, host: str) -> list[str]:
        """Look a name up."""
        if host.startswith("rebinding"):
            return next(self.turns.setdefault(host, iter([[OUTSIDE], [INSIDE], [INSIDE]])))
        return NAMES[host] if host in NAMES else system_resolver(host)


@dataclass(slots=True)
class Scene:
    """What may be fetched, what must not, and how to ask."""

    fetcher: Fetcher
    server: HostileServer
    canary: HostileServer

    def filled(self, url: str) -> str:
        """A URL with its ports."""
        return url.replace("{canary}", str(self.canary.port)).replace("{server}", str(self.server.port))

    def reason(self, url: str) -> Reason:
        """Why a URL fails."""
        with pytest.raises(ImageError) as failed:
            self.fetcher.fetch(self.filled(url))
        return failed.value.reason


@pytest.fixture(scope="module")
def canary() -> Iterator[HostileServer]:
    """It listens on every address of this machine, on one port."""
    with hostile_server("::" if socket.has_dualstack_ipv6() else "0.0.0.0") as running:  # noqa: S104
        yield running


@pytest.fixture(scope="module")
def server() -> Iterator[HostileServer]:
    with hostile_server(OUTSIDE) as running:
        yield running


@pytest.fixture(scope="module")
def scene(canary: HostileServer, server: HostileServer) -> Iterator[Scene]:
    """The canary's port is one that may be fetched from: its address alone must keep it out."""
    settings = Settings(fetch_allow=f"{OUTSIDE}:{server.port},{canary.port}")
    with Fetcher(settings, Lookups()) as fetcher:
        yield Scene(fetcher, server, canary)


@pytest.fixture(autouse=True)
def untouched(canary: HostileServer, request: pytest.FixtureRequest) -> Iterator[None]:
    before = canary.connections
    yield
    # Connections are accepted in their order: once this one is answered, all before it have been counted.
    with socket.create_connection((INSIDE, canary.port)) as last:
        last.sendall(b"GET /404 HTTP/1.1\r\n\r\n")
        assert last.recv(100).startswith(b"HTTP/1.1 404")
    reached = canary.connections - 1 - before
    assert reached > 0 if "control" in request.node.name else reached == 0


@pytest.mark.parametrize("host", LOOPBACK)
def test_no_spelling_of_this_machine_is_reached(scene: Scene, host: str) -> None:
    assert scene.reason(f"http://{host}:{{canary}}/picture") is BLOCKED


@pytest.fixture(scope="module")
def trusting() -> Iterator[Fetcher]:
    with Fetcher(Settings(fetch_allow="127.0.0.0/8,::1,0.0.0.0/8,::"), Lookups()) as fetcher:
        yield fetcher


@pytest.mark.parametrize("host", LOOPBACK)
def test_control_the_canary_counts_what_is_allowed(scene: Scene, trusting: Fetcher, host: str) -> None:
    if "ffff" in host:
        # Mapped addresses cannot be allowed by a setting; they reach the canary by the system's own means.
        socket.create_connection((host.strip("[]"), scene.canary.port)).close()
    else:
        assert trusting.fetch(scene.canary.url("picture", host)).body == jpeg()
        trusting.close()


@pytest.mark.parametrize("host", ELSEWHERE)
@pytest.mark.parametrize("port", ["80", "{canary}"])
def test_no_internal_address_is_connected_to(scene: Scene, host: str, port: str) -> None:
    assert scene.reason(f"http://{host}:{port}/") is BLOCKED


@pytest.mark.parametrize("port", [22, 25, 6379, 5432])
def test_no_port_of_another_service_is_connected_to(scene: Scene, port: int) -> None:
    assert scene.reason(f"http://8.8.8.8:{port}/") is BLOCKED


@pytest.mark.parametrize("host", [name for name in NAMES if INSIDE in NAMES[name] or "aaaa" in name] + ["scoped.test"])
def test_one_internal_answer_refuses_the_whole_name(scene: Scene, host: str) -> None:
    assert scene.reason(f"http://{host}:{{canary}}/picture") is BLOCKED
    assert scene.reason(f"http://{host}:{{server}}/picture") is BLOCKED


@pytest.mark.parametrize("url", BAD_URLS)
def test_what_is_no_http_url_is_refused_as_it_stands(scene: Scene, url: str) -> None:
    assert scene.reason(url) is Reason.BAD_URL


@pytest.mark.parametrize(("location", "reason"), LOCATIONS.items())
def test_no_redirect_leads_inside(scene: Scene, location: str, reason: Reason) -> None:
    assert scene.reason(f"http://outside.test:{{server}}/redirect?302,{location}") is reason


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_every_kind_of_redirect_is_checked(scene: Scene, status: int) -> None:
    assert (
        scene.reason(f"http://outside.test:{{server}}/redirect?{status},{scene.canary.url('picture', INSIDE)}")
        is BLOCKED
    )


@pytest.mark.parametrize("behaviour", ["picture", "cut-short"])
def test_a_name_that_moves_inside_after_its_check_is_not_followed(scene: Scene, behaviour: str) -> None:
    url = f"http://rebinding-{behaviour}.test:{{server}}/{behaviour}"
    if behaviour == "picture":
        assert scene.fetcher.fetch(scene.filled(url)).body == jpeg()
        assert scene.fetcher.fetch(scene.filled(url)).body == jpeg()
    else:
        assert scene.reason(url) is Reason.CUT_SHORT
        assert scene.reason(url) is BLOCKED


def test_what_is_encoded_in_a_path_stays_there(scene: Scene) -> None:
    assert scene.reason("http://outside.test:{server}/%0d%0aX-Injected:%201") is Reason.NOT_FOUND
    assert scene.server.requests[-1].path == "/%0D%0AX-Injected:%201"
    assert "x-injected" not in scene.server.requests[-1].headers


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
def test_no_proxy_of_the_environment_is_used(scene: Scene, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, f"http://{INSIDE}:{scene.canary.port}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with Fetcher(Settings(fetch_allow=f"{OUTSIDE}:{scene.server.port}"), Lookups()) as fetcher:
        assert fetcher.fetch(scene.server.url("picture", "outside.test")).body == jpeg()


def test_no_password_of_the_home_is_sent(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("home")
    netrc = home / ".netrc"
    netrc.write_text("machine outside.test login somebody password secret\ndefault login somebody password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("NETRC", str(netrc))
    with Fetcher(Settings(fetch_allow=f"{OUTSIDE}:{scene.server.port}"), Lookups()) as fetcher:
        fetcher.fetch(scene.server.url("picture", "outside.test"))
    assert set(scene.server.requests[-1].headers) == {"host", "user-agent", "accept", "accept-encoding"}
