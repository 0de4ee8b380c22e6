"""Make the gallery of held-out scenes: `python -m demo.make_gallery`.

No picture in it shows a combination of things and colour that the training ever drew.
"""

import io
import random
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import click
from PIL import Image

from demo.captions import FRAMES, GROUNDS, JOINS, Wording, describe
from demo.concepts import load_concepts
from demo.gallery_files import GALLERY
from demo.scenes import COLOUR_NAMES, Scene, arrange, render

PIXELS = 256
SCENES = 1000
SEED = 2026
COUNTS = (0.35, 0.4, 0.25)  # shares of one, two and three things
# sentences that training never builds, in words that it does not always know
UNSEEN = Wording(
    joins=("{} and {}", "{} plus {}", "{} together with {}", "{} along with {}", "{} as well as {}", "{} & {}"),
    frames=("{}", "{}", "{}", "{}", "we see {}", "{} shown here", "can you spot {}", "sticker of {}"),
    grounds=(
        "{} on a background of {c}",
        "on {c} there is {}",
        "{}, all on {c}",
        "{c} behind {}",
        "{c} card: {}",
        "behind {} it is {c}",
        "{} in front of something {c}",
    ),
    articles=("a", "a", "a", "the", ""),
    adjectives=("",),
)
SEEN = Wording(
    joins=JOINS[:-1],
    frames=FRAMES[5:-1],
    grounds=GROUNDS[:5] + GROUNDS[6:],
    articles=("a", "a", "a", "the", ""),
    adjectives=("",),
)
# what a first visitor is likely to type; drawn in whichever colours the training left out
WANTED = (
    "dog,cat;cat,guitar;dog,pizza;dog,bicycle;dog,football;cat,fish;cat,pizza;pizza,beer;car,bicycle;car,dog;"
    "car,house;car,traffic light;car,tree;hamburger,french fries;coffee,doughnut;coffee,cake;coffee,book;guitar,drum;"
    "guitar,violin;apple,banana;robot,cat;robot,guitar;robot,dog;astronaut,rocket;astronaut,dog;ghost,pumpkin;unicorn,rainbow;"
    "dog,dog;cat,cat;car,car;pizza,pizza;penguin,snowman;elephant,mouse;lion,zebra;tree,house;sun,beach;"
    "bee,flower;cow,tractor;pirate flag,treasure chest;rocket,earth;santa claus,gift;teddy bear,balloon;wizard,dragon;"
    "dog,ball of wool"
)
UNWANTED = ("middle finger",)
WANTED_COLOURS = "pizza/blue;car/red;dog/green;cat/yellow;robot/pink;guitar/red;penguin/blue;rocket/purple"


def draw_scenes(count: int, rng: random.Random) -> list[Scene]:
    """Held-out scenes, no two of the same things; a shuffled deck deals the concepts, so that most are shown."""
    found = {scene.concepts: scene for scene in _wanted(rng)}
    deck = _deck(rng)
    while len(found) < count:
        things = rng.choices((1, 2, 3), COUNTS)[0]
        first = next(deck)
        same = things > 1 and rng.random() < 0.08
        concepts = (first,) * things if same else (first, *(next(deck) for _ in range(things - 1)))
        if len(set(concepts)) not in (1, things) or tuple(sorted(concepts)) in found:
            continue
        # one in twenty combinations is held out, so many are drawn in vain
        tries = (arrange(concepts, colour, rng) for colour in rng.sample(COLOUR_NAMES, len(COLOUR_NAMES)))
        if scene := next((scene for scene in tries if scene.held_out), None):
            found[scene.concepts] = scene
    scenes = list(found.values())
    rng.shuffle(scenes)
    return scenes


def _deck(rng: random.Random) -> Iterator[int]:
    numbers = [number for number, concept in enumerate(load_concepts()) if concept.name not in UNWANTED]
    while True:
        rng.shuffle(numbers)
        yield from numbers


def _wanted(rng: random.Random) -> Iterator[Scene]:
    numbers = {name: number for number, concept in enumerate(load_concepts()) for name in concept.names}
    for names in WANTED.split(";"):
        yield _held_out(tuple(numbers[name] for name in names.split(",")), COLOUR_NAMES, rng)
    for wish in WANTED_COLOURS.split(";"):
        name, _, colour = wish.partition("/")
        yield _held_out((numbers[name],), (colour,), rng)


def _held_out(concepts: tuple[int, ...], colours: tuple[str, ...], rng: random.Random) -> Scene:
    # where training may have drawn these things in every colour, one thing more makes a scene it has not drawn
    wider = ((*concepts, other) for other in _deck(rng) if other not in concepts)
    tries = (
        arrange(chosen, colour, rng)
        for chosen in chain([concepts], wider)
        for colour in rng.sample(colours, len(colours))
    )
    return next(scene for scene in tries if scene.held_out)


def write_captions(scene: Scene, rng: random.Random) -> list[str]:
    """One to three captions that differ, half of them built as the training never does."""
    wanted = rng.choices((1, 2, 3), (0.62, 0.28, 0.1))[0]
    texts: list[str] = []
    while len(texts) < wanted:
        wording = UNSEEN if rng.random() < 0.5 else SEEN
        text = describe(scene, rng, wording).text
        text = text[0].upper() + text[1:] if rng.random() < 0.4 else text
        if text.lower() not in (known.lower() for known in texts):
            texts.append(text)
    return texts


def encode(picture: Image.Image, rng: random.Random) -> tuple[str, bytes]:
    """A file as the web has them: WebP mostly, JPEG often, PNG now and then."""
    file = io.BytesIO()
    kind = rng.choices(("webp", "jpg", "png"), (0.74, 0.23, 0.03))[0]
    if kind == "webp":
        picture.save(file, "WEBP", quality=76, method=6)
    elif kind == "jpg":
        picture.save(file, "JPEG", quality=76, optimize=True, progressive=True)
    else:
        picture.quantize(64, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return kind, file.getvalue()


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), default=GALLERY, help="Where the pictures go.")
@click.option("--scenes", type=int, default=SCENES, show_default=True)
@click.option("--seed", type=int, default=SEED, show_default=True)
def main(folder: Path, scenes: int, seed: int) -> None:
    """Draw the pictures and write their captions."""
    rng = random.Random(seed)
    drawn = draw_scenes(scenes, rng)
    if any(not scene.held_out for scene in drawn):
        raise SystemExit("a scene of the gallery could have been trained on")
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("[0-9]*.*"):
        old.unlink()
    rows, size = [], 0
    for number, scene in enumerate(drawn, 1):
        kind, content = encode(Image.fromarray(render(scene, PIXELS)), rng)
        name = f"{number:04}.{kind}"
        (folder / name).write_bytes(content)
        size += len(content)
        rows += [f"{name}\t{text}\n" for text in write_captions(scene, rng)]
    (folder / "captions.tsv").write_text("".join(rows), "utf-8")
    print(f"{len(drawn)} pictures, {len(rows)} captions, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
