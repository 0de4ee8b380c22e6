"""Photo-like pictures and a web that serves them from loopback, as far away and as dead as a real one."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from multiprocessing import get_context
from multiprocessing.connection import Connection

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from PIL.Image import Resampling

LATENCY_S = 0.05
DEAD_SHARE = 0.3
# As many hosts as keep all download threads busy at two downloads each; all of 127.0.0.0/8 is this machine.
HOSTS = [f"127.0.0.{number}" for number in range(2, 22)]
DISTINCT = 64
SMALL, LARGE = (640, 480), (1280, 960)
PAGE = b"<!doctype html><title>Moved</title><p>This picture has moved, please log in.</p>"

# What became of each kind of row at the end.
ENDS = {
    "picture": "ok",
    "missing": "failed not_found",
    "page": "failed not_an_image",
    "cut": "failed truncated",
}


@dataclass(frozen=True, slots=True)
class PictureSite:
    """A web that runs: where its hosts listen."""

    addresses: tuple[str, ...]

    def rows(self, run: str, pictures: int) -> dict[str, str]:
        """So many pictures by URL, three rows in ten dead among them, each with its kind; no two runs share a URL."""
        dead = list(ENDS)[1:]
        kinds = ["picture"] * pictures
        kinds += [dead[number % len(dead)] for number in range(round(pictures * DEAD_SHARE / (1 - DEAD_SHARE)))]
        random.Random(pictures).shuffle(kinds)
        rows = {}
        for row, kind in enumerate(kinds):
            address = self.addresses[row % len(self.addresses)]
            rows[f"{address}/{kind}/{row % DISTINCT}.jpg?run={run}&row={row}"] = kind
        return rows


@contextmanager
def picture_site(latency_s: float = LATENCY_S) -> Iterator[PictureSite]:
    """Serve the pictures in a process of their own for as long as the block runs, each after so many seconds."""
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, latency_s), name="pictures", daemon=True)
    process.start()
    there.close()
    try:
        yield PictureSite(tuple(here.recv()))
    finally:
        process.terminate()
        process.join()


def photo(number: int) -> bytes:
    """A JPEG with a photograph's detail: shapes with edges, and noise at every scale. Every fourth is a large one."""
    noise = np.random.default_rng(number)
    shapes = random.Random(number)
    width, height = LARGE if number % 4 == 3 else SMALL
    picture = Image.new("RGB", (width, height), _colour(shapes))
    draw = ImageDraw.Draw(picture)
    for _ in range(30):
        xs, ys = (sorted(shapes.sample(range(-50, side + 50), 2)) for side in (width, height))
        draw.ellipse((xs[0], ys[0], xs[1], ys[1]), fill=_colour(shapes))
    pixels = np.asarray(picture, np.float32)
    for cell in (1, 2, 4, 8, 16, 64):
        pixels = pixels + _octave(noise, width, height, cell)[..., None]
    stream = BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(stream, "JPEG", quality=90 if width == 640 else 75)
    return stream.getvalue()


def _colour(shapes: random.Random) -> tuple[int, int, int]:
    return shapes.randrange(256), shapes.randrange(256), shapes.randrange(256)


def _octave(noise: np.random.Generator, width: int, height: int, cell: int) -> NDArray[np.float32]:
    """Noise in cells of so many pixels, the stronger the larger they are, as in what cameras see."""
    cells = noise.normal(0, 4 * cell**0.5, (-(-height // cell), -(-width // cell))).astype(np.float32)
    return np.asarray(Image.fromarray(cells).resize((width, height), Resampling.BICUBIC))


def _serve(ready: Connection, latency_s: float) -> None:
    """Runs in the process of the web."""
    photos = [photo(number) for number in range(DISTINCT)]
    replies = {b"/missing": _reply("404 Not Found", "text/plain", b"no such picture\n")}
    for number, body in enumerate(photos):
        replies[f"/picture/{number}.jpg".encode()] = _reply("200 OK", "image/jpeg", body)
        replies[f"/cut/{number}.jpg".encode()] = _reply("200 OK", "image/jpeg", body[: len(body) // 2])
        replies[f"/page/{number}.jpg".encode()] = _reply("200 OK", "image/jpeg", PAGE)
    with suppress(KeyboardInterrupt):
        asyncio.run(_listen(replies, ready, latency_s))


async def _listen(replies: dict[bytes, bytes], ready: Connection, latency_s: float) -> None:
    server = await asyncio.start_server(partial(_answer, replies, latency_s), HOSTS, 0, backlog=1024)
    ready.send(["http://{}:{}".format(*sock.getsockname()) for sock in server.sockets])
    await server.serve_forever()


async def _answer(
    replies: dict[bytes, bytes], latency_s: float, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            request = await reader.readuntil(b"\r\n\r\n")
            path = request.split(b" ", 2)[1].partition(b"?")[0]
            await asyncio.sleep(latency_s)
            writer.write(replies.get(path) or replies[b"/missing"])
            await writer.drain()
    writer.close()


def _reply(status: str, media: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {media}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body
