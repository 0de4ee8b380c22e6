"""Mixed queries: whether pictures plus and minus texts and pictures find what a person would expect, by weights."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

from clipgres.encoder import load_encoder
from clipgres.query import Part, centre, combine
from clipgres.text_vectors import Vector
from demo.concepts import load_concepts
from demo.gallery_files import read_gallery
from demo.make_gallery import SCENES, SEED, draw_scenes
from demo.scenes import COLOUR_NAMES

Mask = NDArray[np.bool_]
FIRST = 10
TEXT_WEIGHTS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)
UNWANTED_WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Case:
    """A mixed query, the pictures that answer it, and those that show what it does not want."""

    pictures: Sequence[Vector]
    right: Mask
    left_out: Sequence[int]
    text: Vector | None = None
    unwanted: Vector | None = None
    wrong: Mask | None = None


@dataclass(frozen=True)
class Gallery:
    """The vectors of the gallery, what each picture shows and on which colour, and the vectors of their names."""

    vectors: Vector
    shows: Mask
    colours: NDArray[np.intp]
    things: Vector
    grounds: Vector

    def other_grounds(self) -> Iterator[Case]:
        """A picture + "on a blue background": its things on that colour."""
        for n in range(len(self.vectors)):
            for colour, ground in enumerate(self.grounds):
                right = self._alike(n) & (self.colours == colour)
                if right.any() and colour != self.colours[n]:
                    yield Case([self.vectors[n]], right, [n], ground)

    def more_things(self) -> Iterator[Case]:
        """A picture + "a dog": one of its things together with a dog."""
        for n in range(len(self.vectors)):
            alike = self._alike(n)
            for thing in np.flatnonzero(np.any(self.shows[alike], axis=0) & ~self.shows[n]):
                yield Case([self.vectors[n]], alike & self.shows[:, thing], [n], self.things[thing])

    def two_on_ground(self) -> Iterator[Case]:
        """Two pictures of a thing + "on a blue background": the thing on that colour."""
        for thing in range(len(self.things)):
            for pair in combinations(map(int, np.flatnonzero(self.shows[:, thing])), 2):
                for colour, ground in enumerate(self.grounds):
                    right = self.shows[:, thing] & (self.colours == colour)
                    if right.any() and colour not in self.colours[list(pair)]:
                        yield Case([self.vectors[n] for n in pair], right, pair, ground)

    def less_thing(self) -> Iterator[Case]:
        """A picture of two or three things - "a dog", one of them: its other things without it."""
        for n, thing, right, wrong in self._without_one():
            yield Case([self.vectors[n]], right, [n], unwanted=self.things[thing], wrong=wrong)

    def less_picture(self) -> Iterator[Case]:
        """A picture of two or three things - another picture of one of them: its other things without it."""
        for n, _, right, wrong in self._without_one():
            for other in map(int, np.flatnonzero(wrong)):
                rest = wrong.copy()
                rest[other] = False
                if rest.any():
                    yield Case([self.vectors[n]], right, [n, other], unwanted=self.vectors[other], wrong=rest)

    def less_thing_on_ground(self) -> Iterator[Case]:
        """A picture + "on a blue background" - "a dog": its other things on that colour."""
        for n, thing, right, wrong in self._without_one():
            for colour, ground in enumerate(self.grounds):
                on_it = self.colours == colour
                if (right & on_it).any() and (wrong & on_it).any() and colour != self.colours[n]:
                    there, gone = right & on_it, wrong & on_it
                    yield Case([self.vectors[n]], there, [n], ground, self.things[thing], gone)

    def less_ground(self) -> Iterator[Case]:
        """A text - "on a blue background": the thing on any other colour."""
        for thing, vector in enumerate(self.things):
            for colour, ground in enumerate(self.grounds):
                shown, on_it = self.shows[:, thing], self.colours == colour
                if (shown & ~on_it).any() and (shown & on_it).any():
                    yield Case([vector], shown & ~on_it, [], unwanted=ground, wrong=shown & on_it)

    def _alike(self, n: int) -> Mask:
        alike: Mask = np.any(self.shows[:, self.shows[n]], axis=1)
        alike[n] = False
        return alike

    def _without_one(self) -> Iterator[tuple[int, int, Mask, Mask]]:
        for n in range(len(self.vectors)):
            for thing in np.flatnonzero(self.shows[n]):
                others = self.shows[n].copy()
                others[thing] = False
                with_others, with_it = np.any(self.shows[:, others], axis=1), self.shows[:, thing].copy()
                with_it[n] = False
                right, wrong = with_others & ~self.shows[:, thing], with_it & ~with_others
                if right.any() and wrong.any():
                    yield n, int(thing), right, wrong


Combine = Callable[[Case], Vector]


def weighed(text: float, unwanted: float) -> Combine:
    """The product's way, with these weights."""

    def query(case: Case) -> Vector:
        parts = [Part(1, centre(case.pictures))]
        parts += [] if case.text is None else [Part(text, case.text)]
        parts += [] if case.unwanted is None else [Part(-unwanted, case.unwanted)]
        return combine(parts)

    return query


def each_a_part(case: Case) -> Vector:
    """Every picture as a part of its own."""
    parts = [Part(1, picture) for picture in case.pictures]
    return combine(parts if case.text is None else [*parts, Part(1, case.text)])


def projected(case: Case) -> Vector:
    """What is looked for less what it has of the direction of the unwanted."""
    looked_for = weighed(1, 0)(case)
    assert case.unwanted is not None
    return combine([Part(1, looked_for), Part(-float(looked_for @ case.unwanted), case.unwanted)])


@dataclass(frozen=True)
class Result:
    """The mean precision at the right pictures, and the share of the wrong ones that stand among the first ten."""

    precision: float
    wrong: float

    def __str__(self) -> str:
        return f"{self.precision:.3f}" if np.isnan(self.wrong) else f"{self.precision:.3f} ({self.wrong:.0%})"


def measure(gallery: Gallery, cases: Sequence[Case], query: Combine) -> Result:
    """Rank the gallery for each case."""
    precisions, wrongs = [], []
    for case in cases:
        scores = gallery.vectors @ query(case)
        scores[list(case.left_out)] = -np.inf
        order = np.argsort(-scores, kind="stable")
        places = np.flatnonzero(case.right[order])
        precisions.append(np.mean(np.arange(1, len(places) + 1) / (places + 1)))
        if case.wrong is not None:
            wrongs.append(case.wrong[order[:FIRST]].sum() / min(FIRST, case.wrong.sum()))
    return Result(float(np.mean(precisions)), float(np.mean(wrongs)) if wrongs else float("nan"))


def read(model: str) -> Gallery:
    """Encode the gallery; what its pictures show is known from the seed that they were drawn with."""
    encoder = load_encoder(model)
    pictures = sorted(read_gallery(), key=lambda picture: picture.path.name)
    scenes = draw_scenes(SCENES, random.Random(SEED))
    assert [int(picture.path.stem) for picture in pictures] == list(range(1, SCENES + 1))
    shows = np.zeros((SCENES, len(load_concepts())), np.bool_)
    for n, scene in enumerate(scenes):
        shows[n, list(scene.concepts)] = True
    return Gallery(
        vectors=encoder.images([Image.open(picture.path) for picture in pictures]),
        shows=shows,
        colours=np.array([COLOUR_NAMES.index(scene.colour) for scene in scenes]),
        things=encoder.text([f"a {concept.name}" for concept in load_concepts()]),
        grounds=encoder.text([f"on a {colour} background" for colour in COLOUR_NAMES]),
    )


def tabulate(gallery: Gallery, title: str, kinds: dict[str, list[Case]], ways: dict[str, Combine]) -> Table:
    """A row a kind of query, a column a way to make it."""
    table = Table("", "cases", *ways, title=title)
    for name, cases in kinds.items():
        results = [measure(gallery, cases, way) for way in ways.values()]
        table.add_row(name, f"{len(cases):,}", *map(str, results))
    return table


@click.command()
@click.option("--model", default="tiny-clip", show_default=True, help="tiny-clip, a directory or a hub id.")
def main(model: str) -> None:
    """Mixed queries on the gallery: mean precision (and unwanted pictures in the first ten), by weights."""
    gallery, console = read(model), Console(width=160)
    plus = {
        "picture + ground": list(gallery.other_grounds()),
        "picture + thing": list(gallery.more_things()),
        "two pictures + ground": list(gallery.two_on_ground()),
    }
    minus = {
        "picture - thing": list(gallery.less_thing()),
        "picture - picture": list(gallery.less_picture()),
        "picture + ground - thing": list(gallery.less_thing_on_ground()),
        "text - ground": list(gallery.less_ground()),
    }
    by_text = {f"text {weight:g}": weighed(weight, 0) for weight in TEXT_WEIGHTS}
    console.print(tabulate(gallery, "What is looked for", plus, by_text | {"each a part": each_a_part}))
    by_unwanted = {f"unwanted {weight:g}": weighed(1, weight) for weight in UNWANTED_WEIGHTS}
    console.print(tabulate(gallery, "What is not wanted", minus, by_unwanted | {"projected": projected}))
