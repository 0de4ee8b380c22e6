"""Reading the gallery that lies in the repository: which pictures there are, and what people say of them."""

from dataclasses import dataclass
from pathlib import Path

GALLERY = Path(__file__).parent / "gallery"


@dataclass(frozen=True)
class Picture:
    """One file of the gallery and its captions."""

    path: Path
    captions: tuple[str, ...]


def read_gallery(folder: Path = GALLERY) -> list[Picture]:
    """Every picture of the gallery, in the order of its list."""
    captions: dict[str, list[str]] = {}
    for line in (folder / "captions.tsv").read_text("utf-8").splitlines():
        name, _, caption = line.partition("\t")
        captions.setdefault(name, []).append(caption)
    return [Picture(folder / name, tuple(texts)) for name, texts in captions.items()]
