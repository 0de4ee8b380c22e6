"""The pictures that the drills add: each URL says in its path how it will end, and no two pictures are alike."""

from __future__ import annotations

import io
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from threading import Lock, Thread

from PIL import Image

from clipgres.reasons import Reason
from demo.site import Server

HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
SLOW_S = 1.5
PAGE = b"<!doctype html><title>Moved</title>"
# What a kind of URL must come to; None: a picture.
ENDS: dict[str, Reason | None] = {
    "picture": None,
    "slow": None,
    "flaky": None,
    "missing": Reason.NOT_FOUND,
    "gone": Reason.GONE,
    "forbidden": Reason.FORBIDDEN,
    "page": Reason.NOT_AN_IMAGE,
    "cut": Reason.TRUNCATED,
    "poison": Reason.STUCK,
}
STATUS = {"missing": HTTPStatus.NOT_FOUND, "gone": HTTPStatus.GONE, "forbidden": HTTPStatus.FORBIDDEN}
# Of a hundred URLs so many are of each kind.
SHARES = {"picture": 78, "slow": 2, "flaky": 2, "missing": 6, "gone": 3, "forbidden": 3, "page": 3, "cut": 3}


@dataclass
class PictureSite:
    """Served pictures: on which port of the hosts, how often each path was asked for, and who is told of a poison."""

    port: int
    asked: Counter[str] = field(default_factory=Counter)
    on_poison: Callable[[int], None] = lambda _port: None
    lock: Lock = field(default_factory=Lock)

    def urls(self, rng: random.Random, name: str, count: int) -> dict[str, Reason | None]:
        """So many new URLs, and how each must end."""
        kinds = rng.choices(list(SHARES), list(SHARES.values()), k=count)
        return {self.url(rng.choice(HOSTS), kind, name, number): ENDS[kind] for number, kind in enumerate(kinds)}

    def url(self, host: str, kind: str, name: str, number: int) -> str:
        """The address of one picture."""
        return f"http://{host}:{self.port}/{kind}/{name}/{number}.jpg"

    def note(self, path: str) -> int:
        """Count a request; returns how many there were of this path."""
        with self.lock:
            self.asked[path] += 1
            return self.asked[path]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30

    def __init__(self, site: PictureSite, *rest: object) -> None:
        self.site = site
        super().__init__(*rest)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """Answer as the path says."""
        kind = self.path.split("/")[1]
        times = self.site.note(self.path)
        rng = random.Random(self.path)
        time.sleep(SLOW_S if kind == "slow" else rng.uniform(0.02, 0.2))
        if kind == "poison":
            self.site.on_poison(self.client_address[1])
        if kind in STATUS or kind not in ENDS:
            self._answer(STATUS.get(kind, HTTPStatus.NOT_FOUND), b"no")
        elif kind == "flaky" and times == 1:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, b"later")
        else:
            body = PAGE if kind == "page" else picture(rng)
            self._answer(HTTPStatus.OK, body[: len(body) // 2] if kind == "cut" else body)

    def _answer(self, status: HTTPStatus, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "image/jpeg")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def picture(rng: random.Random) -> bytes:
    """A small JPEG of random colours."""
    colours = Image.frombytes("RGB", (6, 6), rng.randbytes(108))
    stream = io.BytesIO()
    colours.resize((120, 120), Image.Resampling.BICUBIC).save(stream, "JPEG")
    return stream.getvalue()


@contextmanager
def picture_site() -> Iterator[PictureSite]:
    """Serve on one port of several loopback addresses for as long as the block runs."""
    site = PictureSite(0)
    with ExitStack() as servers:
        for host in HOSTS:
            server = servers.enter_context(Server((host, site.port), partial(_Handler, site)))
            site.port = server.server_port
            Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
            servers.callback(server.shutdown)
        yield site
