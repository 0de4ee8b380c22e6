"""Scenes are values, and what is held out can never be trained on."""

from __future__ import annotations

import random

import pytest

from demo.batches import draw_scenes, marks
from demo.captions import describe, plural, tidy
from demo.concepts import load_concepts
from demo.scenes import COLOUR_NAMES, random_scene
from demo.tokens import MAX_TOKENS, SPECIAL, build_tokenizer


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("dog", "dogs"),
        ("fox", "foxes"),
        ("cherry", "cherries"),
        ("monkey", "monkeys"),
        ("mouse", "mice"),
        ("glasses", "glasses"),
        ("tomato", "tomatoes"),
        ("slice of pizza", "slices of pizza"),
        ("person in bed", "people in bed"),
    ],
)
def test_plurals(one: str, many: str) -> None:
    assert plural(one) == many


def test_articles_agree_with_the_next_word() -> None:
    assert tidy("a  orange and an unicorn near a umbrella") == "an orange and a unicorn near an umbrella"


def test_the_same_seed_gives_the_same_scene_and_caption() -> None:
    first, second = random.Random(3), random.Random(3)
    scenes = random_scene(first), random_scene(second)
    assert scenes[0] == scenes[1]
    assert describe(scenes[0], first) == describe(scenes[1], second)


def test_no_training_scene_is_held_out() -> None:
    scenes = draw_scenes(400, (0.4, 0.3, 0.3), random.Random(5))
    assert not any(scene.held_out for scene in scenes)


def test_some_of_all_scenes_are_held_out_whatever_their_layout() -> None:
    rng = random.Random(7)
    scenes = [random_scene(rng) for _ in range(2000)]
    assert 50 < sum(scene.held_out for scene in scenes) < 150


def test_marks_flag_concepts_colour_and_count() -> None:
    known = len(load_concepts())
    flags = marks((2, 5), COLOUR_NAMES[1], 2).nonzero().flatten().tolist()
    assert flags == [2, 5, known + 1, known + len(COLOUR_NAMES) + 1]


def test_a_name_belongs_to_one_concept() -> None:
    names = [name for concept in load_concepts() for name in concept.names]
    assert len(names) == len(set(names))


def test_the_tokenizer_reads_plurals_and_words_it_has_never_seen() -> None:
    tokenizer = build_tokenizer()
    assert tokenizer.tokenize("Two DOGS") == ["two", "dog", "##s"]
    ids = tokenizer("a zxqy café", truncation=True)["input_ids"]
    assert tokenizer.unk_token_id not in ids
    assert (ids[0], ids[-1]) == (SPECIAL.index("[START]"), SPECIAL.index("[END]"))
    assert len(tokenizer("dog " * 100, truncation=True)["input_ids"]) == MAX_TOKENS
