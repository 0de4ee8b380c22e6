"""What is no good picture, or only looks odd: one row each, with what it comes to behind the boundary."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from os import getpid

import pytest
from PIL import Image

from bench.fuzzing import fuzz
from clipgres.decoding.pool import Decoders
from clipgres.errors import PermanentImageError
from clipgres.reasons import Reason
from clipgres.settings import Settings
from tests.decoding import SQUARE
from tests.pictures import (
    chunk,
    encoded,
    fits,
    gif_claiming,
    gif_of_frames,
    gradient,
    jpeg_with,
    noise,
    png_bent,
    png_claiming,
    png_with,
    webp_claiming,
    webp_of_frames,
)

JPEG, PNG, GIF, WEBP, AVIF = (encoded(noise(), form) for form in ("JPEG", "PNG", "GIF", "WEBP", "AVIF"))
ZIP = b"PK\x03\x04" + bytes(100)
ORIENTED = b"II*\0\x08\0\0\0\xff\xff" + struct.pack("<HHII", 0x0112, 3, 1, 6) * 100_000


def zipped(megabytes: int) -> bytes:
    """A comment or profile that unpacks to so much."""
    return b"C\0\0" + zlib.compress(bytes(megabytes * 1_000_000))


def as_ycck(body: bytes) -> bytes:
    """A CMYK JPEG whose marker says that its first three channels are brightness and colour."""
    place = body.index(b"Adobe") + 11
    assert body[place] == 0
    return body[:place] + b"\2" + body[place + 1 :]


REFUSED: dict[str, tuple[bytes | Callable[[], bytes], Reason]] = {
    "nothing": (b"", Reason.NOT_AN_IMAGE),
    "one byte": (b"x", Reason.NOT_AN_IMAGE),
    "a page": (b"<!DOCTYPE html><title>404</title>", Reason.NOT_AN_IMAGE),
    "an error as JSON": (b'{"error": "gone"}', Reason.NOT_AN_IMAGE),
    "SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', Reason.NOT_AN_IMAGE),
    "PDF": (lambda: encoded(gradient(), "PDF"), Reason.NOT_AN_IMAGE),
    "PostScript": (b"%!PS-Adobe-3.0\nshowpage\n", Reason.NOT_AN_IMAGE),
    "EPS": (lambda: encoded(gradient(), "EPS"), Reason.NOT_AN_IMAGE),
    "ZIP": (ZIP, Reason.NOT_AN_IMAGE),
    "BMP": (lambda: encoded(gradient(), "BMP"), Reason.NOT_AN_IMAGE),
    "TIFF": (lambda: encoded(gradient(), "TIFF"), Reason.NOT_AN_IMAGE),
    "ICO": (lambda: encoded(gradient(), "ICO"), Reason.NOT_AN_IMAGE),
    "PPM": (lambda: encoded(gradient(), "PPM"), Reason.NOT_AN_IMAGE),
    "TGA": (lambda: encoded(gradient(), "TGA"), Reason.NOT_AN_IMAGE),
    "JPEG 2000": (lambda: encoded(gradient(), "JPEG2000"), Reason.NOT_AN_IMAGE),
    "PSD": (b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 48, 64, 8, 3) + bytes(20), Reason.NOT_AN_IMAGE),
    "FITS": (fits, Reason.NOT_AN_IMAGE),
    "HEIC": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100), Reason.NOT_AN_IMAGE),
    "MP4": (b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + bytes(100), Reason.NOT_AN_IMAGE),
    **{
        f"{name} cut at {percent} %": (body[: len(body) * percent // 100], Reason.TRUNCATED)
        for name, body in {"JPEG": JPEG, "PNG": PNG, "WebP": WEBP, "AVIF": AVIF}.items()
        for percent in (50, 90, 99)
        if (name, percent) != ("PNG", 99)  # its pixels are all there
    },
    "JPEG cut at 10 %": (JPEG[: len(JPEG) // 10], Reason.TRUNCATED),
    "JPEG without its end": (JPEG[:-2], Reason.TRUNCATED),
    "the start of a JPEG": (b"\xff\xd8\xff\xe0\x00", Reason.BROKEN_IMAGE),
    "the start of a PNG": (b"\x89PNG\r\n\x1a\n", Reason.BROKEN_IMAGE),
    "the start of a GIF": (b"GIF89a", Reason.BROKEN_IMAGE),
    "PNG with a bent header": (lambda: png_bent(29), Reason.BROKEN_IMAGE),
    "PNG with bent pixels": (lambda: png_bent(45), Reason.BROKEN_IMAGE),
    "PNG of 0 x 0": (png_claiming(0, 0), Reason.BROKEN_IMAGE),
    "PNG of 1 x 1": (png_claiming(1, 1), Reason.TOO_SMALL),
    "PNG of 15 x 600": (png_claiming(15, 600), Reason.TOO_SMALL),
    "PNG of 1 x 60,000": (png_claiming(1, 60_000), Reason.TOO_SMALL),
    "PNG of 16 x 801": (png_claiming(16, 801), Reason.BAD_ASPECT),
    "PNG of 800 x 60,000": (png_claiming(800, 60_000), Reason.TOO_MANY_PIXELS),
    "PNG of 10,000 x 10,000": (png_claiming(10_000, 10_000), Reason.TOO_MANY_PIXELS),
    "PNG of 50,000 x 50,000": (png_claiming(50_000, 50_000), Reason.TOO_MANY_PIXELS),
    "PNG that claims more than is there": (png_claiming(7_000, 7_000), Reason.TRUNCATED),
    "JPEG of 65,500 x 65,500": (
        JPEG.replace(struct.pack(">HH", 96, 128), struct.pack(">HH", 65_500, 65_500)), Reason.TOO_MANY_PIXELS
    ),
    "GIF with a screen of 65,535 x 65,535": (gif_claiming((65_535, 65_535), (1, 1)), Reason.TOO_MANY_PIXELS),
    "GIF with a frame beyond its screen": (gif_claiming((100, 100), (65_535, 65_535)), Reason.TOO_MANY_PIXELS),
    "WebP with a canvas of 16,383 x 16,383": (webp_claiming(16_383, 16_383), Reason.TOO_MANY_PIXELS),
    "WebP with a canvas of 9,000 x 9,000": (webp_claiming(9_000, 9_000), Reason.TOO_MANY_PIXELS),
    "tracking pixel": (lambda: encoded(Image.new("P", (1, 1)), "GIF"), Reason.TOO_SMALL),
    "a comment of 20 MB in 20 kB": (lambda: png_with(chunk(b"zTXt", zipped(20))), Reason.BROKEN_IMAGE),
    "a profile of 20 MB in 20 kB": (lambda: png_with(chunk(b"iCCP", zipped(20))), Reason.BROKEN_IMAGE),
    "a hundred comments of 1 MB": (lambda: png_with(chunk(b"zTXt", zipped(1)) * 100), Reason.BROKEN_IMAGE),
}  # fmt: skip

ACCEPTED: dict[str, tuple[bytes | Callable[[], bytes], tuple[int, int]]] = {
    "PNG without its end": (lambda: encoded(gradient())[:-12], (64, 48)),
    "GIF of 100,000 frames": (lambda: gif_of_frames(100_000), (64, 48)),
    "WebP of 2,000 frames": (lambda: webp_of_frames(2_000), (32, 32)),
    "EXIF of 18 MB": (lambda: png_with(chunk(b"eXIf", ORIENTED + bytes(17_000_000))), (48, 64)),
    "EXIF of 15 segments": (lambda: jpeg_with(b"\xff\xe1Exif\0\0" + bytes(65_500), 15), (128, 96)),
    "profile of 300 segments": (lambda: jpeg_with(b"\xff\xe2ICC_PROFILE\0\1\xff" + bytes(65_500), 300), (128, 96)),
    "broken EXIF": (lambda: encoded(gradient(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"), (64, 48)),
    "JPEG that is a ZIP too": (JPEG + ZIP, (128, 96)),
    "GIF that is a page too": (GIF + b"<script>alert(1)</script>", (128, 96)),
    "all black": (encoded(Image.new("RGB", (64, 48))), (64, 48)),
    "all white": (encoded(Image.new("RGB", (64, 48), "white"), "JPEG"), (64, 48)),
    "CMYK with a profile": (encoded(gradient().convert("CMYK"), "JPEG", icc_profile=b"CMYK" * 64), (64, 48)),
    "YCCK": (as_ycck(encoded(gradient().convert("CMYK"), "JPEG")), (64, 48)),
    "RGB with a profile of greys": (encoded(gradient(), "JPEG", icc_profile=b"GRAY" * 64), (64, 48)),
}


@pytest.fixture(scope="module")
def decoders(clean_environment: None) -> Iterator[Decoders]:
    """One decoder, which has started."""
    with Decoders(Settings(), processes=1) as decoders:
        decoders.picture(PNG, SQUARE)
        yield decoders


@pytest.fixture(autouse=True)
def nothing_crashes(decoders: Decoders) -> Iterator[None]:
    """Whatever is decoded, this process and the decoder stay the same."""
    before = getpid(), decoders.pids()
    yield
    assert (getpid(), decoders.pids()) == before


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_for_its_reason(decoders: Decoders, name: str) -> None:
    made, reason = REFUSED[name]
    with pytest.raises(PermanentImageError) as refused:
        decoders.picture(made if isinstance(made, bytes) else made(), SQUARE, thumbnail=True)
    assert refused.value.reason is reason
    assert str(refused.value).isprintable()


def test_mutated_bytes_give_a_picture_or_a_reason(decoders: Decoders) -> None:
    found = fuzz(decoders, seed=7, images=500)
    assert (found.images, found.trouble) == (500, {})
    assert found.ends["decoded"] > 50


@pytest.mark.parametrize("name", ACCEPTED)
def test_it_is_taken_as_it_is(decoders: Decoders, name: str) -> None:
    made, size = ACCEPTED[name]
    decoded = decoders.picture(made if isinstance(made, bytes) else made(), SQUARE)
    assert (decoded.width, decoded.height) == size
    assert decoded.pixels.shape == (32, 32, 3)
