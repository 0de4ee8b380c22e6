"""The encoder gives transformers' own vectors, in order, of unit length, whatever the batches."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoTokenizer, CLIPModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from clipgres.encoder import Encoder, LazyEncoder, Vectors, load_encoder, unit, usable
from clipgres.errors import ModelError
from clipgres.settings import Settings
from tests.fakes import FakeEncoder
from tests.hub import run_python
from tests.models import write_full_size_clip, write_small_clip

TEXTS = ["two dogs", "A Red  Car!", "", "x", "a long caption that goes on " * 9, "été à la plage", "1957", "two dogs"]
SIZES = [(64, 48), (48, 64), (32, 32), (20, 15), (300, 40), (33, 97), (640, 480)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_clip(tmp_path_factory.mktemp("models") / "small")


@pytest.fixture(scope="module")
def encoder(model: Path) -> Encoder:
    return load_encoder(str(model), device="cpu", batch=3)


def pictures() -> list[Image.Image]:
    noise = np.random.default_rng(2)
    return [Image.fromarray(noise.integers(0, 255, (5, 5, 3), np.uint8)).resize(size) for size in SIZES]


def reference_texts(model: Path, texts: list[str]) -> Vectors:
    """transformers alone: float32, padded to the limit, with its mask."""
    clip = CLIPModel.from_pretrained(model)
    tokens = AutoTokenizer.from_pretrained(model)(
        texts, padding="max_length", truncation=True, max_length=77, return_tensors="pt"
    )
    with torch.inference_mode():
        return unit(clip.get_text_features(**tokens).pooler_output.numpy())


def reference_images(model: Path, images: list[Image.Image]) -> Vectors:
    """transformers alone: float32, its PIL processor."""
    clip = CLIPModel.from_pretrained(model)
    pixels = CLIPImageProcessorPil.from_pretrained(model)(images=images, return_tensors="pt")
    with torch.inference_mode():
        return unit(clip.get_image_features(**pixels).pooler_output.numpy())


def cosines(ours: Vectors, theirs: Vectors) -> np.ndarray:
    return np.sum(ours.astype(np.float64) * theirs, axis=1)


def test_unpadded_texts_equal_those_padded_to_77(model: Path, encoder: Encoder) -> None:
    assert cosines(encoder.text(TEXTS), reference_texts(model, TEXTS)).min() > 0.99999


def test_old_models_that_pool_at_the_highest_id_are_read_right(tmp_path: Path) -> None:
    old = write_small_clip(tmp_path / "old", legacy_eos=True)
    assert cosines(load_encoder(str(old)).text(TEXTS), reference_texts(old, TEXTS)).min() > 0.99999


def test_pictures_equal_those_of_the_reference_processor(model: Path, encoder: Encoder) -> None:
    assert cosines(encoder.images(pictures()), reference_images(model, pictures())).min() >= 0.9999


def test_these_inputs_would_show_a_mix_up(encoder: Encoder) -> None:
    for vectors in (encoder.text(TEXTS[:-1]), encoder.images(pictures())):
        assert (vectors @ vectors.T - 2 * np.eye(len(vectors))).max() < 0.999


@pytest.mark.parametrize("call", [lambda e, n: e.text(TEXTS[:n]), lambda e, n: e.images(pictures()[:n])])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_shape_type_and_length(encoder: Encoder, call: Callable[[Encoder, int], Vectors], count: int) -> None:
    vectors = call(encoder, count)
    assert (vectors.shape, vectors.dtype) == ((count, 32), np.float32)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert usable(vectors).all()


def test_batches_give_what_singles_give_in_order(encoder: Encoder) -> None:
    singles = np.vstack([encoder.text([text]) for text in TEXTS])
    assert np.allclose(encoder.text(TEXTS), singles, atol=1e-5)
    singles = np.vstack([encoder.images([picture]) for picture in pictures()])
    assert np.allclose(encoder.images(pictures()), singles, atol=1e-5)


def test_prepared_pictures_give_the_same(encoder: Encoder) -> None:
    prepared = [encoder.preprocessing.prepare(picture) for picture in pictures()]
    assert all((square.shape, square.dtype) == ((32, 32, 3), np.uint8) for square in prepared)
    assert np.array_equal(encoder.embed(prepared), encoder.images(pictures()))


def test_says_which_texts_it_cuts(encoder: Encoder) -> None:
    assert encoder.cut(["x" * 75, "x" * 76, ""]) == [False, True, False]
    assert np.allclose(encoder.text(["x" * 76]), encoder.text(["x" * 500]), atol=1e-5)


def test_a_text_that_is_not_unicode_is_still_a_text(encoder: Encoder) -> None:
    assert usable(encoder.text(["\ud800 dog", "\x00", "👩\u200d🚀"])).all()


def test_many_threads_get_their_own_answers(encoder: Encoder) -> None:
    alone = encoder.text(TEXTS)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: encoder.text([TEXTS[number % len(TEXTS)]])[0], range(64)))
    assert all(np.allclose(answer, alone[number % len(TEXTS)], atol=1e-5) for number, answer in enumerate(answers))


def test_usable_finds_what_must_not_be_stored() -> None:
    rows = [[1, 0], [np.nan, 0], [np.inf, 0], [0, 0], [0.6, 0.8], [3, 4]]
    assert usable(np.array(rows, np.float32)).tolist() == [True, False, False, False, True, False]


def test_unit_leaves_a_zero_row_alone() -> None:
    assert np.allclose(unit(np.array([[3, 4], [0, 0]], np.float32)), [[0.6, 0.8], [0, 0]])


def test_a_model_that_gives_nothing_usable_says_so_and_spares_the_others(tmp_path: Path) -> None:
    broken = load_encoder(str(write_small_clip(tmp_path / "broken")))
    weight: Any = broken._model.text_model.embeddings.token_embedding.weight
    weight.data[ord("z") - ord("!")] = torch.nan
    assert usable(broken.text(["a cat", "a zzt cat", "dog"])).tolist() == [True, False, True]


def test_a_device_that_is_not_there_is_said(model: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(ModelError, match="CLIPGRES_DEVICE is cuda, but torch finds no CUDA device here"):
        load_encoder(str(model), device="cuda")


def test_threads_are_set(model: Path) -> None:
    before = torch.get_num_threads()
    load_encoder(str(model), threads=before + 1)
    assert torch.get_num_threads() == before + 1
    torch.set_num_threads(before)


def test_lazy_encoder_knows_its_space_before_it_loads(model: Path, encoder: Encoder, tmp_path: Path) -> None:
    lazy = LazyEncoder(Settings(model=str(model), home=tmp_path, model_batch=3))
    square = lazy.preprocessing.prepare(pictures()[0])
    assert (lazy.space, lazy.is_loaded) == (encoder.space, False)
    assert np.allclose(lazy.embed([square]), encoder.images(pictures()[:1]), atol=1e-5)
    assert lazy.is_loaded


def test_lazy_encoder_loads_once_for_many_threads(model: Path, tmp_path: Path) -> None:
    lazy = LazyEncoder(Settings(model=str(model), home=tmp_path))
    with ThreadPoolExecutor(4) as pool:
        assert len({id(loaded) for loaded in pool.map(lambda _: lazy.load(), range(4))}) == 1


def test_lazy_encoder_refuses_a_model_that_changed_meanwhile(tmp_path: Path) -> None:
    lazy = LazyEncoder(Settings(model=str(write_small_clip(tmp_path / "m")), home=tmp_path))
    write_small_clip(tmp_path / "m", seed=1)
    with pytest.raises(ModelError, match="has changed since this process started"):
        lazy.text(["x"])


def test_asking_for_the_space_imports_no_torch(model: Path, tmp_path: Path) -> None:
    code = f"""
import sys
from clipgres.encoder import LazyEncoder
from clipgres.settings import Settings
LazyEncoder(Settings(model={str(model)!r})).space
print([name for name in ("torch", "transformers") if name in sys.modules])
"""
    assert run_python(code, tmp_path).stdout == "[]\n"


def test_waiting_threads_sleep_unless_told_otherwise(model: Path, tmp_path: Path) -> None:
    code = f"""
import os
from clipgres.encoder import load_encoder
load_encoder({str(model)!r})
print(os.environ["OMP_WAIT_POLICY"])
"""
    assert run_python(code, tmp_path).stdout == "PASSIVE\n"
    assert run_python(code, tmp_path, OMP_WAIT_POLICY="ACTIVE").stdout == "ACTIVE\n"


def test_the_bundled_model_loads_like_any_other(tmp_path: Path) -> None:
    tiny = LazyEncoder(Settings(model="tiny-clip", home=tmp_path))
    assert (tiny.space.model, tiny.space.dimension) == ("tiny-clip", 512)
    vectors = tiny.text(["a red apple", "a red apple", "three blue fish"])
    assert vectors[0] @ vectors[1] > 0.999 > vectors[0] @ vectors[2]
    assert usable(tiny.images(pictures())).all()


def test_the_fake_keeps_the_same_promises() -> None:
    fake: Encoder = FakeEncoder()
    red, blue = Image.new("RGB", (40, 30), "red"), Image.new("RGB", (40, 30), "blue")
    similarity = fake.text(["a red thing", "blue"]) @ fake.images([red, blue]).T
    assert similarity[0, 0] > similarity[0, 1] + 0.2
    assert similarity[1, 1] > similarity[1, 0] + 0.2
    assert fake.text([]).shape == fake.images([]).shape == (0, 512)
    assert usable(fake.text(["", "grey", "x y"])).all()


@pytest.mark.slow
def test_full_size_model_is_proven_equal_in_half_precision(tmp_path: Path) -> None:
    model = write_full_size_clip(tmp_path / "full")
    encoder = load_encoder(str(model))
    assert cosines(encoder.text(TEXTS), reference_texts(model, TEXTS)).min() >= 0.999
    assert cosines(encoder.images(pictures()), reference_images(model, pictures())).min() >= 0.999
