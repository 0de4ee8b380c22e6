"""The cells of a data frame as vectors: given as lists of numbers, or made from pictures and captions by a model."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

from clipgres.decoding.decode import decode
from clipgres.encoder import Encoder, Vectors, usable
from clipgres.errors import BadRequest, ImageError
from clipgres.preprocess import Pixels
from clipgres.settings import Settings, load_settings

BATCH = 64


def is_missing(cell: object) -> bool:
    """Whether a cell is empty, in any of pandas' ways: None, NaN, NA, NaT."""
    return cell is None or type(cell).__name__ in {"NAType", "NaTType"} or (isinstance(cell, float) and isnan(cell))


def matrix(cells: Sequence[Any], column: str) -> Vectors:
    """Cells of vectors as float32 [n, dimension]; a missing one is a zero row.

    Raises:
        BadRequest: a cell is not a vector, or of another dimension than those before, or there is none.
    """
    rows = [None if is_missing(cell) else _numbers(cell, column, place) for place, cell in enumerate(cells)]
    dimension = next((len(row) for row in rows if row is not None), 0)
    if not dimension:
        raise BadRequest(f"{column}: no row has a vector", column)
    made = np.zeros((len(rows), dimension), np.float32)
    for place, row in enumerate(rows):
        if row is None:
            continue
        if len(row) != dimension:
            said = f"row {place:,} has {len(row):,} dimensions, those before it {dimension:,}"
            raise BadRequest(f"{column}: {said}", column)
        made[place] = row
    return made


def _numbers(cell: Any, column: str, place: int) -> Vectors:
    try:
        row = np.asarray(cell.to_numpy() if hasattr(cell, "to_numpy") else cell, np.float32)
    except (TypeError, ValueError) as error:
        raise BadRequest(f"{column}: row {place:,} is not a list of numbers", column) from error
    if row.ndim != 1:
        raise BadRequest(f"{column}: row {place:,} is not a list of numbers", column)
    return row


def caption_vectors(cells: Sequence[Any], encoder: Encoder) -> Vectors:
    """The vectors of captions; an empty one gives a zero row, and a warning counts those that are too long."""
    texts = ["" if is_missing(cell) else str(cell).strip() for cell in cells]

    def encode(batch: Sequence[str]) -> Vectors:
        return encoder.text(batch)

    made = _in_batches(texts, [bool(text) for text in texts], encode, encoder, "captions")
    cut = sum(encoder.cut([text for text in texts if text]))
    if cut:
        _warn(f"{cut:,} captions are longer than the model reads: their ends do not count")
    return made


def image_vectors(cells: Sequence[Any], encoder: Encoder) -> Vectors:
    """The vectors of pictures; one that is missing or cannot be read gives a zero row, and a warning counts those."""
    settings, failures = load_settings(), Counter[str]()

    def encode(batch: Sequence[Any]) -> Vectors:
        pictures: list[Pixels | None] = []
        for cell in batch:
            try:
                pictures.append(encoder.preprocessing.prepare(picture(cell, settings)))
            except BadRequest as error:
                failures[str(error)] += 1
                pictures.append(None)
        vectors = np.zeros((len(batch), encoder.space.dimension), np.float32)
        places = [place for place, one in enumerate(pictures) if one is not None]
        if places:
            vectors[places] = encoder.embed([one for one in pictures if one is not None])
        return vectors

    made = _in_batches(cells, [not is_missing(cell) for cell in cells], encode, encoder, "pictures")
    if failures:
        first = next(iter(failures))
        _warn(f"{failures.total():,} of {len(cells):,} pictures cannot be read; the first: {first}")
    return made


def picture(cell: Any, settings: Settings) -> Image.Image:
    """A picture given as path, bytes or PIL image.

    Raises:
        BadRequest: it is none of these, or cannot be read.
    """
    if isinstance(cell, Image.Image):
        return cell
    if isinstance(cell, str) and "://" in cell:
        raise BadRequest(f"image: {cell[:80]} is an address: download it first, or add it to a collection", "image")
    if not isinstance(cell, str | Path | bytes):
        raise BadRequest(f"image: it should be a path, bytes or a PIL image, not {type(cell).__name__}", "image")
    try:
        body = cell if isinstance(cell, bytes) else Path(cell).read_bytes()
        return decode(body, settings).image
    except OSError as error:
        raise BadRequest(f"image: {cell!s:.200}: {error.strerror}", "image") from error
    except ImageError as error:
        raise BadRequest(f"image: {error}", "image") from error


def _in_batches(
    cells: Sequence[Any], is_there: Sequence[bool], encode: Callable[[Any], Vectors], encoder: Encoder, what: str
) -> Vectors:
    """Encode the cells that are there, with a bar on stderr when it takes more than one batch."""
    made = np.zeros((len(cells), encoder.space.dimension), np.float32)
    places = np.flatnonzero(is_there)
    starts = range(0, len(places), BATCH)
    console = Console(stderr=True)
    is_seen = len(starts) > 1 and (console.is_terminal or console.is_jupyter)
    for start in track(starts, f"Encoding {what}", console=console, transient=True, disable=not is_seen):
        batch = places[start : start + BATCH]
        vectors = encode([cells[place] for place in batch])
        made[batch] = np.where(usable(vectors)[:, np.newaxis], vectors, 0)
    return made


def _warn(message: str) -> None:
    """Warn the person who called the public function, four calls above."""
    warnings.warn(message, stacklevel=5)
