"""Builds CLIP models with random weights, on disk as a downloaded one would lie."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import CLIPConfig, CLIPModel
from transformers.convert_slow_tokenizer import bytes_to_unicode

BOS, EOS = "<|startoftext|>", "<|endoftext|>"
SMALL_TEXT = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
SMALL_VISION = {**SMALL_TEXT, "image_size": 32, "patch_size": 8}

Weights = Literal["safetensors", "bin", "none"]


def write_small_clip(
    directory: Path, *, weights: Weights = "safetensors", seed: int = 0, dimension: int = 32, legacy_eos: bool = False
) -> Path:
    """A CLIP of 0.2 M parameters that sees 32 px; ready in a fraction of a second."""
    return _write(directory, CLIPConfig(**_config(SMALL_TEXT, SMALL_VISION, dimension, legacy_eos)), weights, seed)


def write_full_size_clip(directory: Path, *, seed: int = 0) -> Path:
    """As large and as slow as openai/clip-vit-base-patch32 (600 MB), but it knows nothing."""
    return _write(directory, CLIPConfig(**_config({"vocab_size": 49_408}, {}, 512, False)), "safetensors", seed)


def write_legacy_processor(directory: Path, size: int) -> None:
    """The preprocessor configuration as OpenAI's own files have it: plain numbers, no `do_rescale`."""
    config = {"crop_size": size, "do_center_crop": True, "do_normalize": True, "do_resize": True, "resample": 3}
    (directory / "preprocessor_config.json").write_text(
        json.dumps({**config, "feature_extractor_type": "CLIPFeatureExtractor", "size": size})
    )


def _config(text: dict[str, int], vision: dict[str, int], dimension: int, legacy_eos: bool) -> dict[str, Any]:
    vocabulary = _vocabulary()
    ids = {"bos_token_id": vocabulary[BOS], "eos_token_id": 2 if legacy_eos else vocabulary[EOS], "pad_token_id": 1}
    return {
        "text_config": {"vocab_size": len(vocabulary), "projection_dim": dimension, **ids, **text},
        "vision_config": {"projection_dim": dimension, **vision},
        "projection_dim": dimension,
    }


def _write(directory: Path, config: CLIPConfig, weights: Weights, seed: int) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    _write_tokenizer(directory)
    side = config.vision_config.image_size
    processor = {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": side}}
    (directory / "preprocessor_config.json").write_text(
        json.dumps({**processor, "crop_size": {"height": side, "width": side}})
    )
    torch.manual_seed(seed)
    model = CLIPModel(config)
    _spread(model)
    model.save_pretrained(directory)
    if weights != "safetensors":
        (directory / "model.safetensors").unlink()
    if weights == "bin":
        torch.save(model.state_dict(), directory / "pytorch_model.bin")
    return directory


def _spread(model: CLIPModel) -> None:
    """Random weights give every input nearly the same vector; larger embeddings and no pull to a common one do not."""
    with torch.no_grad():
        for embedding in (model.text_model.embeddings.token_embedding, model.vision_model.embeddings.patch_embedding):
            embedding.weight.mul_(20)
        model.vision_model.embeddings.class_embedding.zero_()


def _vocabulary() -> dict[str, int]:
    letters = list(bytes_to_unicode().values())
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), BOS, EOS]
    return {token: number for number, token in enumerate(tokens)}


def _write_tokenizer(directory: Path) -> None:
    """CLIP's own kind of tokenizer, which has learnt no words: every letter is a token."""
    (directory / "vocab.json").write_text(json.dumps(_vocabulary()))
    (directory / "merges.txt").write_text("#version: 0.2\n")
    special = {"bos_token": BOS, "eos_token": EOS, "unk_token": EOS, "pad_token": EOS}
    (directory / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer", **special}))
