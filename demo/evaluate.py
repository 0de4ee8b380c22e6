"""Measure the small model on the gallery: `python -m demo.evaluate`.

Every caption must find its own picture among all pictures of the gallery, none of which the training has seen.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clipgres.encoder import load_encoder
from demo.gallery_files import GALLERY, read_gallery


@dataclass(frozen=True)
class Recall:
    """How often the own picture comes first or among the first five, and how far down it is in the middle case."""

    scenes: int
    captions: int
    recall_at_1: float
    recall_at_5: float
    median_rank: float


def ranks(scores: NDArray[np.float32], own: NDArray[np.intp]) -> NDArray[np.intp]:
    """For each row of scores the number of other pictures that score as well as its own, or better."""
    mine = np.take_along_axis(scores, own[:, None], axis=1)
    found: NDArray[np.intp] = (scores >= mine).sum(axis=1) - 1
    return found


def recall(scores: NDArray[np.float32], own: NDArray[np.intp]) -> Recall:
    """The figures for scores of captions (rows) against pictures (columns); a median rank of 1 is the best."""
    found = ranks(scores, own)
    at_1, at_5 = (float((found < k).mean()) for k in (1, 5))
    return Recall(scores.shape[1], len(scores), at_1, at_5, float(np.median(found)) + 1)


def measure(model: str, folder: Path) -> Recall:
    """Encode the gallery with the product's own encoder and measure."""
    encoder = load_encoder(model)
    pictures = read_gallery(folder)
    images = encoder.images([Image.open(picture.path) for picture in pictures])
    texts = encoder.text([caption for picture in pictures for caption in picture.captions])
    own = np.repeat(np.arange(len(pictures)), [len(picture.captions) for picture in pictures])
    return recall(texts @ images.T, own)


@click.command()
@click.option("--model", default="tiny-clip", show_default=True, help="tiny-clip, a directory or a hub id.")
@click.option("--folder", type=click.Path(path_type=Path, exists=True), default=GALLERY, help="The gallery to use.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def main(model: str, folder: Path, as_json: bool) -> None:
    """Print how well captions find their pictures."""
    result = measure(model, folder)
    if as_json:
        click.echo(json.dumps(asdict(result)))
        return
    click.echo(f"R@1 {result.recall_at_1:.3f}   R@5 {result.recall_at_5:.3f}   median rank {result.median_rank:g}")
    click.echo(f"{result.captions} captions against {result.scenes} held-out scenes, {model}")


if __name__ == "__main__":
    main()
