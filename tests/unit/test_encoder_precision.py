"""Half precision is used where it pays and is proven equal, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CLIPVisionConfig
from transformers.activations import QuickGELUActivation
from transformers.models.clip.modeling_clip import CLIPMLP

from clipgres.encoder import load_encoder
from clipgres.encoder.clip import ClipEncoder, probe_pictures
from clipgres.encoder.precision import bf16_is_fast, cpu_flags, fuse_quick_gelu, use_bf16
from tests.models import write_small_clip


@pytest.fixture
def encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ClipEncoder:
    """A model small enough for a test, taken for one large enough to gain."""
    loaded = load_encoder(str(write_small_clip(tmp_path / "small")), device="cpu")
    assert isinstance(loaded, ClipEncoder)
    monkeypatch.setattr("clipgres.encoder.precision.VISION_FROM", 0)
    monkeypatch.setattr("clipgres.encoder.precision.TEXT_FROM", 0)
    return loaded


def turn(encoder: ClipEncoder) -> None:
    pictures = probe_pictures(32)
    use_bf16(encoder._model, lambda: encoder.embed(pictures), lambda: encoder.text(["two dogs", "red"]))


def types(encoder: ClipEncoder) -> tuple[torch.dtype, torch.dtype]:
    return encoder._model.vision_model.dtype, encoder._model.text_model.dtype


def test_both_towers_turn_and_keep_their_vectors(encoder: ClipEncoder) -> None:
    before = encoder.text(["a red car"])
    turn(encoder)
    assert types(encoder) == (torch.bfloat16, torch.bfloat16)
    assert 0.999 < float(before[0] @ encoder.text(["a red car"])[0]) < 1 - 1e-7


def test_the_fused_activation_computes_what_clips_own_does() -> None:
    layer = CLIPMLP(CLIPVisionConfig(hidden_size=64, intermediate_size=128, num_attention_heads=2))
    values = 3 * torch.randn(50, 64)
    with torch.inference_mode():
        expected = layer(values)
        fuse_quick_gelu(layer)
        assert not isinstance(layer.activation_fn, QuickGELUActivation)
        assert torch.allclose(layer(values), expected, atol=1e-6)


def test_a_tower_whose_vectors_change_stays_exact(encoder: ClipEncoder, caplog: pytest.LogCaptureFixture) -> None:
    # A weight that bf16 cannot hold beside the others: 1 + 1/512 rounds to 1, and the difference is what counts.
    norm = encoder._model.vision_model.post_layernorm
    norm.weight.data.fill_(1e-3)
    norm.bias.data = 1 + torch.arange(64) % 2 / 512
    encoder._model.visual_projection.weight.data -= encoder._model.visual_projection.weight.data.mean(1, keepdim=True)
    before = encoder.embed(probe_pictures(32))
    turn(encoder)
    assert types(encoder) == (torch.float32, torch.bfloat16)
    assert np.array_equal(encoder.embed(probe_pictures(32)), before)
    assert "vision_model stays in float32" in caplog.text


def test_a_tower_that_gives_nan_stays_exact(encoder: ClipEncoder) -> None:
    encoder._model.text_model.final_layer_norm.weight.data.fill_(torch.nan)
    turn(encoder)
    assert types(encoder) == (torch.bfloat16, torch.float32)


def test_a_model_too_small_to_gain_is_left_alone(tmp_path: Path) -> None:
    loaded = load_encoder(str(write_small_clip(tmp_path / "small")), device="cpu")
    assert isinstance(loaded, ClipEncoder)
    assert types(loaded) == (torch.float32, torch.float32)


@pytest.mark.parametrize(
    ("flags", "fast"), [("fpu amx_bf16 amx_tile", True), ("avx512f avx512_bf16", True), ("avx2 avx512f", False)]
)
def test_the_cpu_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, fast: bool) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t: none\n\nprocessor\t: 1\n")
    found = cpu_flags(tmp_path / "cpuinfo")
    monkeypatch.setattr("clipgres.encoder.precision.cpu_flags", lambda: found)
    assert bf16_is_fast(torch.device("cpu")) is fast


def test_an_unknown_cpu_is_not_fast(tmp_path: Path) -> None:
    assert cpu_flags(tmp_path / "none") == set()


def test_probe_pictures_are_unlike_each_other() -> None:
    pictures = [picture.astype(float).ravel() for picture in probe_pictures(32)]
    assert all(np.abs(a - b).mean() > 20 for number, a in enumerate(pictures) for b in pictures[:number])
