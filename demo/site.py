"""The gallery as the web would serve it, on loopback only: live pictures, and links as dead as those of real lists.

`python -m demo.site --list demo.tsv` writes a list for the address it serves at, then serves until Ctrl-C.
"""

import random
import socket
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import click

from demo.gallery_files import GALLERY, Picture, read_gallery

DEAD_SHARE = 0.3
MEDIA = {".webp": "image/webp", ".jpg": "image/jpeg", ".png": "image/png"}
PAGE = b"<!doctype html><title>Moved</title><p>This picture has moved, please log in.</p>"
# what dead links do, each with the path of its rows; a refused one goes to a port at which nobody listens
DEAD = {"missing": "gone", "html": "members", "truncated": "cut", "refused": "pictures"}


@dataclass(frozen=True)
class GallerySite:
    """A served gallery: its address, and the address of a port that refuses connections."""

    address: str
    refused: str
    pictures: tuple[Picture, ...]

    def write_list(self, path: Path) -> dict[str, int]:
        """Write caption TAB url, one row per caption and the dead rows among them; how many rows are of which kind."""
        rows = [
            ("alive", caption, self.url("pictures", picture))
            for picture in self.pictures
            for caption in picture.captions
        ]
        rng = random.Random(len(rows))
        kinds = list(DEAD)
        for number in range(round(len(rows) * DEAD_SHARE / (1 - DEAD_SHARE))):
            picture, kind = rng.choice(self.pictures), kinds[number % len(kinds)]
            rows.append((kind, rng.choice(picture.captions), self.url(DEAD[kind], picture, kind, number)))
        rng.shuffle(rows)
        path.write_text("".join(f"{caption}\t{url}\n" for _, caption, url in rows), "utf-8")
        return dict(Counter(kind for kind, _, _ in rows))

    def url(self, folder: str, picture: Picture, kind: str = "alive", number: int | None = None) -> str:
        """Where a picture is, or where it is said to be; a number keeps dead rows apart."""
        base = self.refused if kind == "refused" else self.address
        return f"{base}/{folder}/{picture.path.name}" + ("" if number is None else f"?row={number}")


class Handler(BaseHTTPRequestHandler):
    """Answers for the pictures and for the three ways in which this server disappoints."""

    protocol_version = "HTTP/1.1"
    server_version = "gallery"
    sys_version = ""
    timeout = 30

    def __init__(self, pictures: dict[str, Path], *rest: object) -> None:
        self.pictures = pictures
        super().__init__(*rest)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """Send a picture, half of one, or a page."""
        folder, _, name = self.path.partition("?")[0].strip("/").partition("/")
        path = self.pictures.get(name)
        if path and folder in ("pictures", "cut"):
            content = path.read_bytes()
            self.answer(
                HTTPStatus.OK, MEDIA[path.suffix], content if folder == "pictures" else content[: len(content) // 2]
            )
        elif folder == DEAD["html"]:
            self.answer(HTTPStatus.OK, "image/jpeg", PAGE)
        else:
            self.answer(HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", b"no such picture\n")

    do_HEAD = do_GET  # noqa: N815

    def answer(self, status: HTTPStatus, media: str, content: bytes) -> None:
        """One whole response."""
        self.send_response(status)
        self.send_header("Content-Type", media)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: thousands of lines a minute help nobody."""


class Server(ThreadingHTTPServer):
    """A server that a busy downloader cannot overrun, and that does not wait for idle connections when it stops."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no error of a site's."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


@contextmanager
def gallery_site(port: int = 0, folder: Path = GALLERY) -> Iterator[GallerySite]:
    """Serve the gallery on 127.0.0.1 for as long as the block runs; port 0 takes a free one."""
    pictures = tuple(read_gallery(folder))
    handler = partial(Handler, {picture.path.name: picture.path for picture in pictures})
    # bound and never listening: connections are refused, and no other program can take the port meanwhile
    with socket.socket() as closed, Server(("127.0.0.1", port), handler) as server:
        _bind(closed, port + 1 if port else 0)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="gallery-site", daemon=True)
        thread.start()
        try:
            refused = "http://{}:{}".format(*closed.getsockname())
            yield GallerySite(f"http://127.0.0.1:{server.server_port}", refused, pictures)
        finally:
            server.shutdown()
            thread.join()


def _bind(closed: socket.socket, port: int) -> None:
    # on a host of its own where the machine has more than one, since what is dead says nothing of the living; the same
    # port each time where it is free, so that a list written again names the same addresses
    for address in (("127.0.0.2", port), ("127.0.0.2", 0), ("127.0.0.1", port)):
        with suppress(OSError):
            closed.bind(address)
            return
    closed.bind(("127.0.0.1", 0))


@click.command()
@click.option("--list", "list_path", type=click.Path(path_type=Path), required=True, help="Where to write the list.")
@click.option("--port", type=int, default=0, help="The port on 127.0.0.1; 0 takes a free one.")
def main(list_path: Path, port: int) -> None:
    """Serve the gallery and write a list of its pictures, dead links among them."""
    with gallery_site(port) as site:
        counts = site.write_list(list_path)
        click.echo(f"{site.address} serves {len(site.pictures)} pictures until Ctrl-C")
        click.echo(f"{list_path}: " + ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())))
        try:
            Event().wait()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
