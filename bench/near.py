"""Near duplicates: which edits of a picture are recognised, and whether unlike pictures are kept apart, by bounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance
from rich.console import Console
from rich.table import Table

from clipgres.decoding.decode import decode
from clipgres.duplicates import Rule
from clipgres.duplicates.hashes import Hashes, differing_bits, has_detail
from clipgres.encoder import Encoder, load_encoder
from clipgres.settings import Settings
from clipgres.text_vectors import Vector
from demo.gallery_files import read_gallery

BITS = (2, 3, 4, 6, 8, 10)
SCORES = (0.90, 0.95, 0.98)
EVERY = 7
BATCH = 64
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}

Edit = Callable[[Image.Image], Image.Image]


def cropped(percent: int) -> Edit:
    """A picture without so much of each side."""

    def crop(image: Image.Image) -> Image.Image:
        width, height = image.size
        x, y = max(1, width * percent // 100), max(1, height * percent // 100)
        return image.crop((x, y, width - x, height - y))

    return crop


def smaller(divisor: int) -> Edit:
    """A picture of a half or a fourth of the side."""
    return lambda image: image.resize((max(16, image.width // divisor), max(16, image.height // divisor)))


def marked(image: Image.Image) -> Image.Image:
    """A picture with its owner's name in a corner."""
    image, (width, height) = image.copy(), image.size
    draw = ImageDraw.Draw(image)
    draw.rectangle((width * 0.7, height * 0.9, width * 0.98, height * 0.97), fill="white")
    draw.text((width * 0.72, height * 0.91), "(c) example.org", fill="black")
    return image


EDITS: dict[str, tuple[Edit, int]] = {
    "JPEG, quality 50": (lambda image: image, 50),
    "JPEG, quality 20": (lambda image: image, 20),
    "half the side": (smaller(2), 85),
    "a fourth of the side": (smaller(4), 85),
    "cropped by 1 %": (cropped(1), 85),
    "cropped by 2 %": (cropped(2), 85),
    "cropped by 5 %": (cropped(5), 85),
    "a name in the corner": (marked, 85),
    "contrast x 1.3": (lambda image: ImageEnhance.Contrast(image).enhance(1.3), 85),
    "grey": (lambda image: image.convert("L").convert("RGB"), 85),
}


@dataclass(frozen=True)
class Seen:
    """Pictures as the search for duplicates sees them."""

    hashes: Hashes
    vectors: Vector

    def __getitem__(self, places: NDArray[np.intp]) -> Seen:
        return Seen(self.hashes[places], self.vectors[places])


def see(encoder: Encoder, bodies: Sequence[bytes]) -> Seen:
    """Decode and encode pictures."""
    decoded = [decode(body, Settings()) for body in bodies]
    images = [each.image for each in decoded]
    vectors = [encoder.images(images[start : start + BATCH]) for start in range(0, len(images), BATCH)]
    return Seen(np.array([each.perceptual_hash for each in decoded], np.int64), np.concatenate(vectors))


def edited(body: bytes, edit: Edit, quality: int) -> bytes:
    """A picture after an edit, as a JPEG."""
    stream = BytesIO()
    edit(decode(body, Settings()).image).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def recognised(name: str, encoder: Encoder, bodies: Sequence[bytes], seen: Seen) -> Table:
    """How many edited pictures are near their originals, by the bits of the hash, the cosine, and both by the rule."""
    rule = Rule()
    chosen = list(range(0, len(bodies), EVERY if len(bodies) > 200 else 1))
    columns = [*(f"{bits} bits" for bits in BITS), *(f">= {score:.0%}" for score in SCORES), "by the rule"]
    table = Table("edit", *columns, title=f"{name}: edits of {len(chosen)} pictures that are recognised")
    for edit_name, (edit, quality) in EDITS.items():
        later, first = see(encoder, [edited(bodies[place], edit, quality) for place in chosen]), seen[np.array(chosen)]
        bits, scores = differing_bits(first.hashes, later.hashes), np.sum(first.vectors * later.vectors, axis=1)
        is_near = (bits <= rule.bits) & (scores >= rule.score)
        is_near &= has_detail(first.hashes, rule.bits) & has_detail(later.hashes, rule.bits)
        shares = [*(np.mean(bits <= most) for most in BITS), *(np.mean(scores >= least) for least in SCORES)]
        table.add_row(edit_name, *(f"{share:.0%}" for share in [*shares, np.mean(is_near)]))
    return table


def kept_apart(kinds: dict[str, Seen]) -> Table:
    """How many pairs of different pictures are within the bounds, and how many pictures say too little."""
    columns = [*(f"{bits} bits" for bits in BITS), *(f">= {score:.0%}" for score in SCORES), "by the rule", "left out"]
    table = Table("pictures", "pairs", *columns, title="Pairs of different pictures that are taken for the same")
    rule = Rule()
    for name, seen in kinds.items():
        left, right = np.triu_indices(len(seen.hashes), 1)
        bits = differing_bits(seen.hashes[left], seen.hashes[right])
        scores = np.sum(seen.vectors[left] * seen.vectors[right], axis=1)
        has = has_detail(seen.hashes, rule.bits)
        is_near = (bits <= rule.bits) & (scores >= rule.score) & has[left] & has[right]
        counts = [*(np.sum(bits <= most) for most in BITS), *(np.sum(scores >= least) for least in SCORES)]
        cells = [f"{count:,}" for count in [*counts, np.sum(is_near)]]
        table.add_row(name, f"{len(left):,}", *cells, f"{np.mean(~has):.1%}")
    return table


def flat_pictures() -> Iterator[bytes]:
    """Pictures with little in them: one colour, gradients, vignettes, a few words on white."""
    chance = np.random.default_rng(0)
    y, x = np.mgrid[0:240, 0:320]
    for number in range(60):
        radius = np.hypot(x - 160 - chance.uniform(-30, 30), y - 120)
        slope = chance.uniform(-0.4, 0.4)
        for cells in (
            np.full_like(radius, chance.uniform(0, 255)),
            128 + slope * (x - 160),
            128 + slope * (y - 120),
            200 - radius / 2,
        ):
            yield _jpeg(Image.fromarray(np.clip(cells, 0, 255).astype(np.uint8)).convert("RGB"))
        words = Image.new("RGB", (320, 240), "white")
        words_at = (int(chance.integers(60, 160)), 110)
        ImageDraw.Draw(words).text(words_at, "No image available"[: 5 + number % 14], fill="grey")
        yield _jpeg(words)


def _jpeg(image: Image.Image) -> bytes:
    stream = BytesIO()
    image.save(stream, "JPEG", quality=80)
    return stream.getvalue()


@click.command()
@click.option("--photos", type=click.Path(exists=True, path_type=Path), multiple=True, help="A folder of photographs.")
@click.option("--model", default="tiny-clip", show_default=True, help="tiny-clip, a directory or a hub id.")
def main(photos: tuple[Path, ...], model: str) -> None:
    """Near duplicates by bits of the hash and cosine, on the gallery, on flat pictures and on photographs of yours."""
    encoder, console = load_encoder(model), Console(width=150)
    kinds = {"the gallery": [picture.path.read_bytes() for picture in read_gallery()]}
    files = sorted(path for folder in photos for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if files:
        kinds["photographs"] = [path.read_bytes() for path in files]
    seen = {name: see(encoder, bodies) for name, bodies in kinds.items()}
    for name, bodies in kinds.items():
        console.print(recognised(name, encoder, bodies, seen[name]))
    console.print(kept_apart(seen | {"flat pictures": see(encoder, list(flat_pictures()))}))
