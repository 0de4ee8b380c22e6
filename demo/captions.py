"""Captions as people write them, and what each one says about its scene."""

import random
import re
import string
from dataclasses import dataclass

from demo.concepts import load_concepts
from demo.scenes import Scene, Thing

NUMBERS = {1: ("one", "a single"), 2: ("two", "a pair of", "2"), 3: ("three", "3")}
IRREGULAR = {"mouse": "mice", "man": "men", "woman": "women", "person": "people", "foot": "feet", "tooth": "teeth"}
COLOUR_WORDS = {
    "red": ("red", "crimson", "scarlet"),
    "green": ("green", "grass green"),
    "blue": ("blue", "azure"),
    "purple": ("purple", "violet"),
    "grey": ("grey", "gray"),
    "brown": ("brown", "tan"),
    "white": ("white", "plain white"),
}
ARTICLES = ("a", "a", "a", "the", "one", "my", "some", "", "", "")
ADJECTIVES = ("", "", "", "", "", "", "", "", "nice", "big", "small", "cute", "lovely", "little", "old", "funny")
JOINS = ("{} and {}", "{} and {}", "{} with {}", "{} next to {}", "{} beside {}", "{} near {}", "{}, {}", "{} {}")
FRAMES = (
    *("{}",) * 9,
    "a picture of {}",
    "photo of {}",
    "an image of {}",
    "a drawing showing {}",
    "there is {}",
    "this is {}",
    "{} in a picture",
    "look, {}",
)
GROUNDS = (
    "{} on a {c} background",
    "{} on a {c} background",
    "{} on {c}",
    "{}, {c} background",
    "{}, {c}",
    "{} {c}",
    "{} against a {c} backdrop",
    "{} in front of a {c} wall",
    "on a {c} background, {}",
    "{c} background with {}",
    "{c}: {}",
    "{c} picture of {}",
    "{} over {c}",
)
EMPTY = ("a {c} background", "{c}", "something on {c}", "a {c} picture", "{c} background")
COUNTED = ("{n} things", "{n} objects", "a picture of {n} things", "{n} things on a {c} background")
FILLERS = tuple(
    "that these those is are was it very really we see can you here has have its in at by from for his her our your "
    "two what who simple colourful bright shown stands sits together just only".split()
)


@dataclass(frozen=True)
class Wording:
    """The parts that sentences are put together from."""

    joins: tuple[str, ...] = JOINS
    frames: tuple[str, ...] = FRAMES
    grounds: tuple[str, ...] = GROUNDS
    articles: tuple[str, ...] = ARTICLES
    adjectives: tuple[str, ...] = ADJECTIVES


TRAINING = Wording()


@dataclass(frozen=True)
class Caption:
    """A sentence, with the concepts, the colour and the number of things it names."""

    text: str
    concepts: frozenset[int]
    colour: str | None
    count: int | None = None


def describe(scene: Scene, rng: random.Random, wording: Wording = TRAINING, coloured: float = 0.75) -> Caption:
    """A caption that names every thing, and mostly the colour too."""
    groups = rng.sample(scene.groups, len(scene.groups))
    told = _relation(scene, rng, wording) if rng.random() < 0.15 else None
    told = told or _join([phrase(concept, count, rng, wording) for concept, count in groups], rng, wording.joins)
    colour = scene.colour if rng.random() < coloured else None
    ground = rng.choice(wording.grounds) if colour else "{}"
    if ground.startswith("{} ") or ground == "{}":
        told = rng.choice(wording.frames).format(told)
    told = ground.format(told, c=shade(scene.colour, rng))
    return Caption(tidy(told), frozenset(scene.concepts), colour)


def hint(scene: Scene, rng: random.Random) -> Caption:
    """A short query that tells part of the scene only, as people type them."""
    kind = rng.random()
    colour = rng.choice((scene.colour, None))
    if kind < 0.08:
        return Caption(tidy(rng.choice(EMPTY).format(c=shade(scene.colour, rng))), frozenset(), scene.colour)
    if kind < 0.16:
        count = len(scene.things)
        words = rng.choice(COUNTED[:3] if colour is None else COUNTED[3:])
        said = words.format(n=rng.choice(NUMBERS[count]), c=shade(scene.colour, rng))
        said = said if count > 1 else re.sub(r"(thing|object)s", r"\1", said)
        return Caption(tidy(said), frozenset(), colour, count)
    concept, count = rng.choice(scene.groups)
    told = phrase(concept, count, rng)
    if colour:
        told = rng.choice(("{} on {c}", "{c} {}", "{}, {c}")).format(told, c=shade(colour, rng))
    return Caption(tidy(told), frozenset({concept}), colour)


def phrase(concept: int, count: int, rng: random.Random, wording: Wording = TRAINING) -> str:
    """A noun phrase for so many of one concept, by any of its names."""
    names = load_concepts()[concept].names
    name = names[0] if rng.random() < 0.4 else rng.choice(names)
    adjective = rng.choice(wording.adjectives)
    if count > 1:
        return f"{rng.choice(NUMBERS[count])} {adjective} {plural(name)}"
    if rng.random() < 0.04:
        return f"{adjective} {plural(name)}"
    words = f"{adjective} {name}".strip()
    article = rng.choice(wording.articles)
    if article in ("a", "one") and looks_plural(name):
        return words
    return f"{article} {words}".strip()


def tidy(text: str) -> str:
    """The text with single spaces, and with "a" or "an" as the next word wants it."""
    text = re.sub(r"\ban? (?=[aeio]|u(?!ni|fo|se|k)|x )", "an ", " ".join(text.split()))
    return re.sub(r"\ban (?![aeio]|u(?!ni|fo|se|k)|x )", "a ", text)


def looks_plural(name: str) -> bool:
    """Whether the name is of many things already, as in "grapes"."""
    last = _head(name)[0].split()[-1]
    return last in IRREGULAR.values() or (last.endswith("s") and not last.endswith(("ss", "us")))


def plural(name: str) -> str:
    """More than one of a thing, by the rules that cover nearly every English noun."""
    head, tail = _head(name)
    first, _, last = head.rpartition(" ")
    if last in IRREGULAR:
        last = IRREGULAR[last]
    elif not looks_plural(last):
        last = re.sub(r"(?<=[^aeiou])y$", "ie", last)
        last += "es" if re.search(r"(s|x|z|ch|sh|hero|ato)$", last) else "s"
    return f"{first} {last}{tail}".strip()


def _head(name: str) -> tuple[str, str]:
    # "slice of pizza" and "person wearing a turban" are counted by their first noun
    head = re.split(r" (?:of|in|on|with|behind|over|wearing|taking|landing|bouncing|playing|raising|getting) ", name)[0]
    return head, name.removeprefix(head)


def shade(colour: str, rng: random.Random) -> str:
    """The colour by its own name mostly, else by another word for it."""
    return colour if rng.random() < 0.6 else rng.choice(COLOUR_WORDS.get(colour, (colour,)))


def scramble(text: str, rng: random.Random) -> str:
    """The same caption with stray words in it, so that words never heard do no harm."""
    words = text.split()
    for _ in range(rng.choice((1, 1, 2, 3))):
        letters = rng.choices(string.ascii_lowercase, k=rng.randint(2, 8))
        stray = rng.choice(FILLERS) if rng.random() < 0.5 else "".join(letters)
        words.insert(rng.randrange(len(words) + 1), stray)
    return " ".join(words)


def _join(parts: list[str], rng: random.Random, joins: tuple[str, ...]) -> str:
    if len(parts) == 3:
        parts = [rng.choice((f"{parts[0]}, {parts[1]}", rng.choice(joins).format(*parts[:2]))), parts[2]]
    return parts[0] if len(parts) == 1 else rng.choice(joins).format(*parts)


def _relation(scene: Scene, rng: random.Random, wording: Wording) -> str | None:
    if len(scene.things) != 2 or len(scene.groups) != 2:
        return None
    first, second = rng.sample(scene.things, 2)
    where = _where(first, second)
    return where and where.format(*(phrase(thing.concept, 1, rng, wording) for thing in (first, second)))


def _where(first: Thing, second: Thing) -> str | None:
    if abs(first.x - second.x) > 0.35:
        return "{} to the left of {}" if first.x < second.x else "{} to the right of {}"
    if abs(first.y - second.y) > 0.35:
        return "{} above {}" if first.y < second.y else "{} below {}"
    return None
