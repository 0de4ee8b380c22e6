"""Scenes: one to three things on a coloured background, described by a value and drawn at any size."""

import random
import zlib
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

from demo.concepts import load_concepts

FONT_FILE = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
FONT_SIZE = 109  # the one size of the bitmaps inside the font
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 60, 58),
    "orange": (245, 148, 44),
    "yellow": (250, 216, 72),
    "green": (74, 164, 88),
    "blue": (62, 122, 214),
    "purple": (136, 82, 188),
    "pink": (246, 158, 192),
    "brown": (134, 92, 62),
    "grey": (142, 146, 152),
    "white": (246, 246, 243),
}
COLOUR_NAMES = tuple(COLOURS)
STYLES = 48  # different backgrounds of each colour
UNIT = 24  # things are sized in 24ths of the picture
ANGLES = (-10, 0, 10)
SIZES = {1: range(14, 20, 2), 2: range(11, 13), 3: range(9, 11)}
HELD_OUT_SHARE = 20  # one combination in so many is never trained on

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Thing:
    """One drawn thing; the position is that of its centre, in parts of the picture."""

    concept: int
    picture: int
    x: float
    y: float
    size: int
    angle: int
    mirrored: bool


@dataclass(frozen=True)
class Scene:
    """Things on a background; equal scenes are drawn equal."""

    things: tuple[Thing, ...]
    colour: str
    style: int

    @property
    def concepts(self) -> tuple[int, ...]:
        """The concepts seen, in rising order, one entry per thing."""
        return tuple(sorted(thing.concept for thing in self.things))

    @property
    def groups(self) -> tuple[tuple[int, int], ...]:
        """Each concept with how often it is seen."""
        return tuple((concept, len(list(same))) for concept, same in groupby(self.concepts))

    @property
    def held_out(self) -> bool:
        """Whether this combination of concepts and colour is kept from training."""
        key = f"{self.concepts} {self.colour}".encode()
        return zlib.crc32(key) % HELD_OUT_SHARE == 0


def arrange(concepts: tuple[int, ...], colour: str, rng: random.Random) -> Scene:
    """Lay the concepts out at random so that all of them can be recognised."""
    known = load_concepts()
    spots = _spots(len(concepts), rng)
    things = []
    for concept, spot in zip(rng.sample(concepts, len(concepts)), spots, strict=True):
        size = rng.choice(SIZES[len(concepts)])
        room = 0.5 - size / UNIT / 2
        x, y = (min(max(at, 0.5 - room), 0.5 + room) for at in spot)
        picture = rng.randrange(len(known[concept].emoji))
        things.append(Thing(concept, picture, x, y, size, rng.choice(ANGLES), rng.random() < 0.5))
    return Scene(tuple(things), colour, rng.randrange(STYLES))


def _spots(count: int, rng: random.Random) -> list[tuple[float, float]]:
    def near(x: float, y: float, by: float) -> tuple[float, float]:
        return x + rng.uniform(-by, by), y + rng.uniform(-by, by)

    if count == 1:
        return [near(0.5, 0.5, 0.14)]
    if count == 2:
        lean = rng.uniform(-0.2, 0.2)
        pair = [near(0.27, 0.5 + lean, 0.03), near(0.73, 0.5 - lean, 0.03)]
        return pair if rng.random() < 0.7 else [(y, x) for x, y in pair]
    middle = rng.uniform(0.4, 0.6)
    trio = [near(0.26, 0.29, 0.04), near(0.74, 0.29, 0.04), near(middle, 0.73, 0.04)]
    return trio if rng.random() < 0.6 else [(x, 1 - y) for x, y in trio]


def random_scene(rng: random.Random, counts: tuple[float, float, float] = (1, 1, 1)) -> Scene:
    """Any scene, training or held out; `counts` weighs one, two and three things."""
    count = rng.choices((1, 2, 3), counts)[0]
    known = range(len(load_concepts()))
    same = count > 1 and rng.random() < 0.12
    concepts = (rng.choice(known),) * count if same else tuple(rng.sample(known, count))
    return arrange(concepts, rng.choice(COLOUR_NAMES), rng)


def sibling(scene: Scene, rng: random.Random) -> Scene:
    """A scene that differs in its colour or in one thing only, as a hard wrong answer."""
    if rng.random() < 0.4:
        return arrange(scene.concepts, rng.choice(COLOUR_NAMES), rng)
    concepts = list(scene.concepts)
    concepts[rng.randrange(len(concepts))] = rng.randrange(len(load_concepts()))
    return arrange(tuple(concepts), scene.colour, rng)


def render(scene: Scene, pixels: int) -> Pixels:
    """Draw the scene as a square picture of so many pixels a side."""
    canvas = background(scene.colour, scene.style, pixels).copy()
    for thing in scene.things:
        side = round(thing.size * pixels / UNIT)
        symbol = load_concepts()[thing.concept].emoji[thing.picture]
        colour, keep = sprite(symbol, side, thing.angle, thing.mirrored)
        _paste(canvas, colour, keep, round(thing.x * pixels), round(thing.y * pixels))
    return canvas


def _paste(canvas: Pixels, colour: Pixels, keep: NDArray[np.uint16], x: int, y: int) -> None:
    height, width = colour.shape[:2]
    top, left = y - height // 2, x - width // 2
    up, down = max(0, -top), min(height, canvas.shape[0] - top)
    lefty, right = max(0, -left), min(width, canvas.shape[1] - left)
    spot = canvas[top + up : top + down, left + lefty : left + right]
    behind = (spot * keep[up:down, lefty:right]) >> 8
    spot[:] = colour[up:down, lefty:right] + behind.astype(np.uint8)


@cache
def background(colour: str, style: int, pixels: int) -> Pixels:
    """A soft gradient of the colour, with a little light and grain that belong to the style."""
    rng = np.random.default_rng(style * len(COLOUR_NAMES) + COLOUR_NAMES.index(colour))
    base = np.array(COLOURS[colour]) + rng.normal(0, 5, 3)
    axis = np.linspace(-1, 1, pixels)
    turn = rng.uniform(0, 2 * np.pi)
    slope = (np.cos(turn) * axis[None, :] + np.sin(turn) * axis[:, None]) * rng.uniform(4, 20)
    x, y = rng.uniform(-0.6, 0.6, 2)
    glow = np.exp(-((axis[None, :] - x) ** 2 + (axis[:, None] - y) ** 2) * 1.5) * rng.uniform(0, 26)
    grain = rng.normal(0, 1.5, (pixels, pixels))
    light = slope + glow + grain
    drawn: Pixels = np.clip(base + light[:, :, None], 0, 255).astype(np.uint8)
    return drawn


@cache
def sprite(symbol: str, side: int, angle: int, mirrored: bool) -> tuple[Pixels, NDArray[np.uint16]]:
    """One emoji as a sticker: its colour, already multiplied, and how much of the background shows (0 to 256)."""
    picture = sticker(symbol)
    if mirrored:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    picture = picture.rotate(angle, Image.Resampling.BICUBIC).resize((side, side), Image.Resampling.LANCZOS)
    pixels = np.asarray(picture).astype(np.uint16)
    alpha = pixels[:, :, 3:]
    colour = (pixels[:, :, :3] * alpha // 255).astype(np.uint8)
    keep = 256 - (alpha * 256 + 254) // 255
    return colour, keep.astype(np.uint16)


@cache
def sticker(symbol: str) -> Image.Image:
    """The emoji at full size in a square of its own, with a white rim and a soft shadow."""
    font = ImageFont.truetype(str(FONT_FILE), FONT_SIZE)
    drawn = Image.new("RGBA", (200, 200))
    ImageDraw.Draw(drawn).text((30, 30), symbol, font=font, embedded_color=True)
    cut = drawn.crop(drawn.getbbox())
    side = max(cut.size)
    margin = round(side * 0.07)
    square = Image.new("RGBA", (side + 2 * margin, side + 2 * margin))
    square.paste(cut, (margin + (side - cut.width) // 2, margin + (side - cut.height) // 2))
    alpha = square.getchannel("A")
    rim = alpha.filter(ImageFilter.MaxFilter(7)).filter(ImageFilter.GaussianBlur(1.2))
    shadow = ImageChops.offset(rim, 0, 3).filter(ImageFilter.GaussianBlur(3)).point(lambda a: a * 0.3)
    result = Image.new("RGBA", square.size, (40, 40, 50, 0))
    result.putalpha(shadow)
    white = Image.new("RGBA", square.size, (255, 255, 255, 0))
    white.putalpha(rim)
    return Image.alpha_composite(Image.alpha_composite(result, white), square)
