"""Pictures come out as transformers' PIL processor makes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from clipgres.errors import ModelError
from clipgres.preprocess import Preprocessing
from clipgres.processor_config import CLIP_MEAN, CLIP_STD, read_preprocessing

LEGACY = {"size": 224, "crop_size": 224, "resample": 3, "feature_extractor_type": "CLIPFeatureExtractor"}
SQUEEZE = {"size": {"height": 96, "width": 96}, "do_center_crop": False}


def picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """A ramp with some noise, so that resampling, cutting and order of channels all show."""
    y, x = np.mgrid[0:height, 0:width]
    channels = [x * 255 // width, y * 255 // height, (x + y) % 256, (x * y) % 256]
    noise = np.random.default_rng(1).integers(0, 30, (height, width, 4))
    return Image.fromarray((np.stack(channels, -1) * 0.88 + noise).astype(np.uint8), "RGBA").convert(mode)


def reference(image: Image.Image, **options: Any) -> np.ndarray:
    """What transformers makes of it, back in 0 to 255."""
    processor = CLIPImageProcessorPil(**options)
    values = processor(images=image, return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)
    return (values * np.array(CLIP_STD) + np.array(CLIP_MEAN)) * 255


def default() -> Preprocessing:
    return read_preprocessing({}, 224, "test")


@pytest.mark.parametrize(
    "size",
    [(640, 480), (480, 640), (224, 224), (225, 224), (301, 977), (50, 40), (2000, 60), (16, 16), (1023, 767)],
)
def test_is_within_rounding_of_transformers(size: tuple[int, int]) -> None:
    difference = np.abs(default().prepare(picture(*size)) - reference(picture(*size)))
    assert difference.mean() < 0.1
    assert difference.max() <= 8


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1", "CMYK"])
def test_other_modes_become_rgb_as_in_transformers(mode: str) -> None:
    image = picture(300, 200, mode)
    assert np.abs(default().prepare(image) - reference(image)).mean() < 0.1


def test_transparency_lies_on_white() -> None:
    clear = Image.new("RGBA", (64, 64), (10, 20, 30, 0))
    assert (default().prepare(clear) == 255).all()


def test_squeezes_where_the_model_asks_for_it() -> None:
    squeeze = read_preprocessing(SQUEEZE, 96, "test")
    difference = np.abs(squeeze.prepare(picture(400, 200)) - reference(picture(400, 200), **SQUEEZE))
    assert difference.mean() < 0.1


def test_gives_small_bytes() -> None:
    square = default().prepare(picture(640, 480))
    assert (square.shape, square.dtype) == ((224, 224, 3), np.uint8)


def test_plain_numbers_mean_the_same_as_named_sizes() -> None:
    assert read_preprocessing(LEGACY, 224, "test") == default()


def test_fingerprint_is_stable_and_readable() -> None:
    assert default().fingerprint == "resize224-bicubic-crop224-35b45ff3"


@pytest.mark.parametrize(
    "change", [{"resample": 2}, {"image_mean": [0.5, 0.5, 0.5]}, {"image_std": [0.5, 0.5, 0.5]}, {"size": 256}]
)
def test_fingerprint_changes_with_what_changes_pixels(change: dict[str, Any]) -> None:
    assert read_preprocessing(change, 224, "test").fingerprint != default().fingerprint


@pytest.mark.parametrize(
    "config",
    [
        {"do_normalize": False},
        {"do_pad": True},
        {"image_processor_type": "SiglipImageProcessor"},
        {"crop_size": {"height": 224, "width": 200}},
        {"crop_size": 336},
        {"size": 200},
        {"size": {"longest_edge": 224}},
        {"do_center_crop": False},
        {"resample": "cubic"},
    ],
)
def test_refuses_what_it_does_not_do(config: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="my-model: "):
        read_preprocessing(config, 224, "my-model")
