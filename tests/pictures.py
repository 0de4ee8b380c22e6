"""Pictures as bytes: real encodings of small ones, and what is bent, huge, or only looks like one."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

from PIL import Image

PNG = b"\x89PNG\r\n\x1a\n"
AFTER_HEADER = 33
SCAN = b"\xff\xda"


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    """A picture in a format."""
    stream = BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def gradient(width: int = 64, height: int = 48) -> Image.Image:
    """A picture that is the same each time and not in one colour."""
    return Image.radial_gradient("L").resize((width, height)).convert("RGB")


def noise(width: int = 128, height: int = 96) -> Image.Image:
    """A picture that does not compress, so that a part of its bytes is a part of its pixels."""
    return Image.effect_noise((width, height), 90).convert("RGB")


def chunk(kind: bytes, data: bytes) -> bytes:
    """A part of a PNG, with its checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of this size by its header, with no pixels in it."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return PNG + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def png_with(*chunks: bytes) -> bytes:
    """A good PNG with these parts after its header."""
    body = encoded(gradient())
    return body[:AFTER_HEADER] + b"".join(chunks) + body[AFTER_HEADER:]


def png_bent(place: int) -> bytes:
    """A good PNG but for one bit."""
    body = bytearray(encoded(gradient()))
    body[place] ^= 1
    return bytes(body)


def gif_claiming(screen: tuple[int, int], frame: tuple[int, int]) -> bytes:
    """A GIF of this size with one frame of that, and one pixel in it."""
    head = b"GIF89a" + struct.pack("<HH", *screen) + b"\x80\0\0" + bytes(6)
    return head + GIF_FRAME.replace(struct.pack("<HH", 1, 1), struct.pack("<HH", *frame)) + b";"


GIF_FRAME = b"," + struct.pack("<HHHH", 0, 0, 1, 1) + b"\0\2\2\x44\1\0"


def gif_of_frames(count: int) -> bytes:
    """A good GIF that goes on with so many frames of a pixel."""
    return encoded(gradient(), "GIF")[:-1] + GIF_FRAME * count + b";"


def webp_claiming(width: int, height: int) -> bytes:
    """A WebP whose canvas has this size, with nothing on it."""
    canvas = b"\x02\0\0\0" + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", len(canvas)) + canvas + bytes(500)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_of_frames(count: int) -> bytes:
    """An animation of so many frames, no two of them the same."""
    first, *rest = (Image.new("RGB", (32, 32), (number % 256, number // 256, 0)) for number in range(count))
    return encoded(first, "WEBP", save_all=True, append_images=rest, method=0)


def jpeg_with(segment: bytes, times: int) -> bytes:
    """A good JPEG with a segment of this content, marker first, so often after its start."""
    body, marker, data = encoded(noise(), "JPEG"), segment[:2], segment[2:]
    return body[:2] + (marker + struct.pack(">H", len(data) + 2) + data) * times + body[2:]


def jpeg_of_scans(count: int, side: int = 2_000) -> bytes:
    """A JPEG whose last scan comes so often: 14 bytes each, and 3 ms for a decoder."""
    body = encoded(Image.new("L", (side, side), 128), "JPEG", progressive=True)
    last = body.rindex(SCAN)
    return body[:last] + body[last:-2] * count + body[-2:]


def fits() -> bytes:
    """A picture of the astronomers' format, which Pillow reads too."""
    cards = ["SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 2", "NAXIS1  = 64", "NAXIS2  = 48", "END"]
    return "".join(card.ljust(80) for card in cards).ljust(2_880).encode() + bytes(64 * 48)
