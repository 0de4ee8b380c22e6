"""Batches of rendered scenes and their captions, made in a process beside the training."""

import io
import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import IterableDataset

from demo.captions import Caption, describe, hint, scramble
from demo.concepts import load_concepts
from demo.scenes import COLOUR_NAMES, Pixels, Scene, random_scene, render, sibling
from demo.tokens import MAX_TOKENS, build_tokenizer

EASY, FULL = (0.6, 0.3, 0.1), (0.3, 0.4, 0.3)  # weights of one, two and three things, at first and later
MOST_THINGS = 3


@dataclass(frozen=True)
class Batch:
    """Pictures and captions side by side; `present` and `named` mark concepts, colours and counts."""

    pictures: Tensor
    tokens: Tensor
    present: Tensor
    named: Tensor
    spots: Tensor  # row, patch and concept of every thing


class Batches(IterableDataset[Batch]):
    """Endless batches of training scenes; the same seed gives the same ones."""

    def __init__(self, seed: int, size: int, pixels: int, grid: int, easy_batches: int, done: int = 0) -> None:
        self.seed, self.size, self.pixels, self.grid = seed, size, pixels, grid
        self.easy_batches, self.done = easy_batches, done

    def __iter__(self) -> Iterator[Batch]:
        """Draw for as long as anyone asks."""
        tokenizer = build_tokenizer()
        number = self.done
        while True:
            rng = random.Random(self.seed * 1_000_003 + number)
            scenes = draw_scenes(self.size, EASY if number < self.easy_batches else FULL, rng)
            captions = [write(scene, rng) for scene in scenes]
            tokens = tokenizer(
                [text for text, _ in captions],
                padding=True,
                truncation=True,
                max_length=MAX_TOKENS,
                return_tensors="pt",
            )["input_ids"]
            pictures = np.stack([camera(render(scene, self.pixels), rng) for scene in scenes])
            present = torch.stack([marks(scene.concepts, scene.colour, len(scene.things)) for scene in scenes])
            named = torch.stack([marks(said.concepts, said.colour, said.count) for _, said in captions])
            channels = torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous()
            yield Batch(channels, tokens, present, named, spots(scenes, self.grid))
            number += 1


def draw_scenes(count: int, weights: tuple[float, float, float], rng: random.Random) -> list[Scene]:
    """Training scenes, a third of them nearly the same as the one before."""
    scenes: list[Scene] = []
    while len(scenes) < count:
        near = scenes and rng.random() < 0.35
        scene = sibling(scenes[-1], rng) if near else random_scene(rng, weights)
        if not scene.held_out:
            scenes.append(scene)
    return scenes


def write(scene: Scene, rng: random.Random) -> tuple[str, Caption]:
    """The text for one picture, now and then short, now and then with a stray word."""
    said = hint(scene, rng) if rng.random() < 0.3 else describe(scene, rng)
    return (scramble(said.text, rng) if rng.random() < 0.2 else said.text), said


def camera(pixels: Pixels, rng: random.Random) -> Pixels:
    """The picture as it comes back from a file: sometimes compressed, sometimes blurred by resizing."""
    chance = rng.random()
    if chance < 0.1:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=rng.randint(60, 92))
        return np.asarray(Image.open(file))
    if chance < 0.25:
        side, wide = len(pixels), rng.randint(round(len(pixels) * 0.7), len(pixels) * 2)
        small = Image.fromarray(pixels).resize((wide, wide), Image.Resampling.BICUBIC)
        return np.asarray(small.resize((side, side), Image.Resampling.BICUBIC))
    return pixels


def marks(concepts: frozenset[int] | tuple[int, ...], colour: str | None, count: int | None) -> Tensor:
    """One flag per concept, then per colour, then per number of things."""
    known = len(load_concepts())
    flags = torch.zeros(known + len(COLOUR_NAMES) + MOST_THINGS, dtype=torch.bool)
    flags[list(concepts)] = True
    if colour is not None:
        flags[known + COLOUR_NAMES.index(colour)] = True
    if count is not None:
        flags[known + len(COLOUR_NAMES) + count - 1] = True
    return flags


def spots(scenes: list[Scene], grid: int) -> Tensor:
    """For every thing: the row of its picture, the patch at its centre, and its concept."""
    found = [
        (row, min(int(thing.y * grid), grid - 1) * grid + min(int(thing.x * grid), grid - 1), thing.concept)
        for row, scene in enumerate(scenes)
        for thing in scene.things
    ]
    return torch.tensor(found)
