"""Small pictures of every format, and the same with bent bytes: a mutation is made again from its number."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable
from functools import cache
from io import BytesIO

from PIL import Image

PNG = b"\x89PNG\r\n\x1a\n"
# What a length, a size or a count is wrong with.
TELLING = [0, 1, 2, 15, 16, 127, 128, 255, 256, 20_000, 20_001, 32_767, 32_768, 65_535]
TELLING_LONG = [2**31 - 1, 2**31, 2**32 - 1, 50_000_000]


def mutated(seed: int, number: int) -> tuple[str, bytes]:
    """The name of a picture and its bytes, bent in one to four ways."""
    chance = random.Random(f"{seed} {number}")
    originals = pictures()
    name = chance.choice(list(originals))
    body = bytearray(originals[name])
    for _ in range(chance.choice((1, 1, 1, 2, 3, 4))):
        chance.choice(MUTATIONS)(body, chance)
    if body.startswith(PNG) and chance.random() < 0.7:
        mend_checksums(body)  # else hardly anything gets past them
    return name, bytes(body)


@cache
def pictures() -> dict[str, bytes]:
    """What is bent: each format in the ways it is often written, and small, so that much of it is header."""
    picture = Image.effect_mandelbrot((48, 40), (-2, -1.5, 1, 1.5), 50).convert("RGB")
    clear = picture.copy()
    clear.putalpha(Image.linear_gradient("L").resize(picture.size))
    frames = [picture.rotate(90 * turn) for turn in range(3)]
    exif = Image.Exif()
    exif[0x0112] = 6
    moving = {"save_all": True, "append_images": frames}
    return {
        "JPEG": _encoded(picture, "JPEG", exif=exif, icc_profile=bytes(200), comment=b"a comment"),
        "JPEG progressive": _encoded(picture, "JPEG", progressive=True, subsampling=0),
        "JPEG restarting": _encoded(picture, "JPEG", restart_marker_rows=1, optimize=True),
        "JPEG grey": _encoded(picture.convert("L"), "JPEG"),
        "JPEG CMYK": _encoded(picture.convert("CMYK"), "JPEG"),
        "PNG": _encoded(picture, "PNG", exif=exif, icc_profile=bytes(200), dpi=(72, 72)),
        "PNG transparent": _encoded(clear, "PNG"),
        "PNG palette": _encoded(picture.quantize(16), "PNG", transparency=3),
        "PNG of 16 bits": _encoded(picture.convert("I;16"), "PNG"),
        "PNG moving": _encoded(picture, "PNG", **moving),
        "GIF": _encoded(picture, "GIF", transparency=0),
        "GIF moving": _encoded(picture, "GIF", **moving),
        "WebP": _encoded(picture, "WEBP", exif=exif, icc_profile=bytes(200)),
        "WebP lossless": _encoded(clear, "WEBP", lossless=True),
        "WebP transparent": _encoded(clear, "WEBP"),
        "WebP moving": _encoded(picture, "WEBP", **moving),
        "AVIF": _encoded(picture, "AVIF", exif=exif, icc_profile=bytes(200), speed=10),
        "AVIF transparent": _encoded(clear, "AVIF", speed=10),
        "AVIF moving": _encoded(picture, "AVIF", speed=10, **moving),
    }


def mend_checksums(body: bytearray) -> None:
    """Make the checksum of each part of a PNG right again, as far as its lengths lead."""
    place = len(PNG)
    while place + 12 <= len(body):
        end = place + 8 + int.from_bytes(body[place : place + 4], "big")
        if end + 4 > len(body):
            return
        body[end : end + 4] = struct.pack(">I", zlib.crc32(body[place + 4 : end]))
        place = end + 4


def _encoded(image: Image.Image, form: str, **options: object) -> bytes:
    stream = BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def _place(body: bytearray, chance: random.Random) -> int:
    """Anywhere; half of the time near the front, where the headers are."""
    return chance.randrange(min(len(body), 200) if chance.random() < 0.5 else len(body)) if body else 0


def _flip(body: bytearray, chance: random.Random) -> None:
    for _ in range(chance.choice((1, 2, 8)) if body else 0):
        body[_place(body, chance)] ^= 1 << chance.randrange(8)


def _set(body: bytearray, chance: random.Random) -> None:
    for _ in range(chance.choice((1, 4, 16)) if body else 0):
        body[_place(body, chance)] = chance.randrange(256)


def _cut(body: bytearray, chance: random.Random) -> None:
    del body[_place(body, chance) :]


def _remove(body: bytearray, chance: random.Random) -> None:
    place = _place(body, chance)
    del body[place : place + chance.choice((1, 2, 7, 64))]


def _insert(body: bytearray, chance: random.Random) -> None:
    place = _place(body, chance)
    body[place:place] = chance.randbytes(chance.choice((1, 4, 33)))


def _repeat(body: bytearray, chance: random.Random) -> None:
    place = _place(body, chance)
    part = body[place : place + chance.choice((4, 16, 200))]
    body[place:place] = part * chance.choice((1, 3, 50))


def _splice(body: bytearray, chance: random.Random) -> None:
    """Go on as another picture does."""
    other = chance.choice(list(pictures().values()))
    body[_place(body, chance) :] = other[chance.randrange(len(other)) :]


def _number(body: bytearray, chance: random.Random) -> None:
    """Write a telling number where there may be one."""
    order = chance.choice("<>")
    if chance.random() < 0.6:
        written = struct.pack(f"{order}H", chance.choice(TELLING))
    else:
        written = struct.pack(f"{order}I", chance.choice(TELLING + TELLING_LONG))
    place = _place(body, chance)
    body[place : place + len(written)] = written


MUTATIONS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    _flip,
    _set,
    _cut,
    _remove,
    _insert,
    _repeat,
    _splice,
    _number,
    _number,
)
