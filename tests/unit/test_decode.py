"""The decoder against real encodings of small pictures, and against what is cut, bent, huge or no picture at all."""

from __future__ import annotations

import subprocess
import sys
import warnings
from io import BytesIO

import pytest
from PIL import Image

from clipgres.decoding.decode import FORMATS, Decoded, decode, thumbnail
from clipgres.settings import Settings
from tests.pictures import encoded, gradient, png_claiming

SETTINGS = Settings()
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def close_to(color: tuple[int, ...], image: Image.Image, at: tuple[int, int]) -> bool:
    pixel = image.getpixel(at)
    assert isinstance(pixel, tuple)
    return all(abs(a - b) <= 12 for a, b in zip(color, pixel, strict=True))


@pytest.mark.parametrize("form", FORMATS)
def test_every_known_format_is_decoded(form: str) -> None:
    decoded = decode(encoded(gradient(), form), SETTINGS)

    assert (decoded.width, decoded.height) == (64, 48)
    assert (decoded.image.mode, decoded.image.size) == ("RGB", (64, 48))
    assert -(2**63) <= decoded.perceptual_hash < 2**63


def test_a_picture_at_the_limits_is_decoded() -> None:
    limits = Settings(image_max_pixels=64 * 48, image_max_side=64, image_min_side=48, image_max_aspect=64 / 48)
    assert decode(encoded(gradient()), limits).width == 64


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16", "CMYK"])
def test_every_mode_becomes_the_same_rgb(mode: str) -> None:
    form = "JPEG" if mode == "CMYK" else "PNG"
    white = Image.new(mode, (32, 32), 65_535) if mode == "I;16" else Image.new("RGB", (32, 32), WHITE).convert(mode)
    image = decode(encoded(white, form), SETTINGS).image

    assert image.mode == "RGB"
    assert close_to(WHITE, image, (5, 5))


def test_sixteen_bits_of_grey_keep_their_shades() -> None:
    image = decode(encoded(Image.new("I;16", (32, 32), 0x80FF)), SETTINGS).image
    assert image.getpixel((0, 0)) == (0x80, 0x80, 0x80)


def test_what_is_transparent_is_white() -> None:
    see_through = Image.new("RGBA", (32, 32), (255, 0, 0, 0))
    palette = Image.new("P", (32, 32), 0)
    for body in (encoded(see_through), encoded(see_through, "WEBP"), encoded(palette, "GIF", transparency=0)):
        assert decode(body, SETTINGS).image.getpixel((5, 5)) == WHITE


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "AVIF"])
def test_the_first_frame_of_an_animation_is_taken(form: str) -> None:
    first, second = (Image.new("RGB", (32, 32), color) for color in (RED, BLUE))
    body = encoded(first, form, save_all=True, append_images=[second])
    assert close_to(RED, decode(body, SETTINGS).image, (5, 5))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_upright(orientation: int) -> None:
    """The upper left quarter is red however the camera stored it."""
    upright = Image.new("RGB", (128, 64), BLUE)
    upright.paste(RED, (0, 0, 64, 32))
    stored = upright.transpose(UNDO[orientation]) if orientation in UNDO else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode(encoded(stored, "JPEG", exif=exif, quality=95, subsampling=0), SETTINGS)

    assert (decoded.width, decoded.height) == decoded.image.size == (128, 64)
    assert close_to(RED, decoded.image, (20, 10))
    assert close_to(BLUE, decoded.image, (100, 50))


UNDO = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("exif", [b"Exif\x00\x00II*\x00\xff\xff\xff\xff", b"Exif\x00\x00" + bytes(50), b"Exif\x00\x00"])
def test_broken_exif_leaves_the_picture_as_it_is(exif: bytes) -> None:
    with warnings.catch_warnings(record=True):
        assert decode(encoded(gradient(), "JPEG", exif=exif), SETTINGS).image.size == (64, 48)


def test_a_list_of_odd_pictures_does_not_flood_the_log() -> None:
    program = """if True:
        import sys
        from clipgres.decoding.decode import decode
        from clipgres.errors import PermanentImageError
        from clipgres.settings import Settings
        for body in map(bytes.fromhex, sys.stdin.read().split()):
            try:
                decode(body, Settings())
            except PermanentImageError as error:
                print(error.reason)
    """
    odd = [png_claiming(10_000, 10_000 + n) for n in range(3)]
    odd += [encoded(gradient(), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")]
    run = subprocess.run(
        [sys.executable, "-W", "always", "-c", program],
        input=" ".join(map(bytes.hex, odd)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert (run.stdout.split(), run.stderr) == (["too_many_pixels"] * 3, "")


def test_an_unknown_orientation_is_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 99
    assert decode(encoded(gradient(), "JPEG", exif=exif), SETTINGS).image.size == (64, 48)


@pytest.mark.parametrize(
    ("form", "size", "reduced"),
    [
        ("JPEG", (1280, 960), (640, 480)),
        ("JPEG", (640, 480), (640, 480)),
        ("JPEG", (4000, 4000), (500, 500)),
        ("PNG", (1280, 960), (640, 480)),
        ("PNG", (800, 600), (800, 600)),
    ],
)
def test_a_large_picture_is_reduced_but_not_below_what_the_model_needs(
    form: str, size: tuple[int, int], reduced: tuple[int, int]
) -> None:
    decoded = decode(encoded(gradient(*size), form), SETTINGS)
    assert (decoded.width, decoded.height) == size
    assert decoded.image.size == reduced


def test_a_larger_model_gets_a_larger_picture() -> None:
    assert decode(encoded(gradient(1280, 960), "JPEG"), SETTINGS, target=336).image.size == (1280, 960)


def differing_bits(one: Decoded, other: Decoded) -> int:
    return ((one.perceptual_hash ^ other.perceptual_hash) % 2**64).bit_count()


def test_pictures_that_look_alike_have_nearly_the_same_hash() -> None:
    photo = Image.effect_mandelbrot((640, 480), (-2, -1.5, 1, 1.5), 100).convert("RGB")
    original = decode(encoded(photo, "PNG"), SETTINGS)
    copy = decode(encoded(photo.resize((320, 240)), "JPEG", quality=60), SETTINGS)
    mirrored = decode(encoded(photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "PNG"), SETTINGS)

    assert differing_bits(original, copy) <= 6
    assert differing_bits(original, mirrored) > 16


@pytest.mark.parametrize(
    ("size", "expected"), [((640, 480), (341, 256)), ((480, 640), (256, 341)), ((100, 50), (100, 50))]
)
def test_a_thumbnail_has_a_short_side_of_256_and_is_never_enlarged(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    with Image.open(BytesIO(thumbnail(gradient(*size)))) as small:
        assert (small.format, small.size) == ("WEBP", expected)


def test_a_thumbnail_of_the_longest_picture_fits_into_webp() -> None:
    with Image.open(BytesIO(thumbnail(gradient(20_000, 256)))) as small:
        assert max(small.size) == 16_000
