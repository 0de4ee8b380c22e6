"""Weights are read without running them, converted once, and never half loaded."""

from __future__ import annotations

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPModel

from clipgres.encoder import load_encoder, weights
from clipgres.errors import ModelError
from clipgres.models import describe_model
from tests.models import write_small_clip


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_small_clip(tmp_path / "small")


@pytest.fixture
def pickled(tmp_path: Path) -> Path:
    return write_small_clip(tmp_path / "pickled", weights="bin")


def converted_file(model: Path, home: Path) -> Path:
    return home / "models" / model.name / describe_model(str(model)).revision / "model.safetensors"


class Bomb:
    """Unpickling it makes a directory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_bin_gives_the_vectors_of_its_safetensors(model: Path, pickled: Path, tmp_path: Path, zipped: bool) -> None:
    tensors = torch.load(pickled / "pytorch_model.bin", weights_only=True)
    torch.save(tensors, pickled / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    ours = load_encoder(str(pickled), home=tmp_path / "home").text(["two dogs"])
    assert np.allclose(ours, load_encoder(str(model)).text(["two dogs"]), atol=1e-6)


def test_a_bin_is_converted_once_and_kept(pickled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_encoder(str(pickled), home=tmp_path / "home")
    assert converted_file(pickled, tmp_path / "home").is_file()
    assert (pickled / "pytorch_model.bin").is_file()
    monkeypatch.delattr(torch, "load")
    load_encoder(str(pickled), home=tmp_path / "home")


def test_another_bin_is_converted_anew(pickled: Path, tmp_path: Path) -> None:
    before = load_encoder(str(pickled), home=tmp_path / "home").text(["two dogs"])
    write_small_clip(pickled, weights="bin", seed=1)
    after = load_encoder(str(pickled), home=tmp_path / "home").text(["two dogs"])
    assert not np.allclose(before, after, atol=1e-2)


def test_safetensors_win_over_a_bin_beside_them(model: Path, tmp_path: Path) -> None:
    (model / "pytorch_model.bin").write_bytes(b"not a model")
    load_encoder(str(model), home=tmp_path / "home")
    assert not (tmp_path / "home").exists()


def test_a_bin_that_holds_code_is_refused_and_not_run(pickled: Path, tmp_path: Path) -> None:
    torch.save({"weight": Bomb(tmp_path / "boom")}, pickled / "pytorch_model.bin")
    with pytest.raises(ModelError, match="holds more than weights and was not opened"):
        load_encoder(str(pickled), home=tmp_path / "home")
    assert not (tmp_path / "boom").exists()
    assert not converted_file(pickled, tmp_path / "home").exists()


def test_an_old_torch_reads_no_bin(pickled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "2.9.1+cpu")
    with pytest.raises(ModelError, match=r"install torch 2\.10 or later"):
        load_encoder(str(pickled), home=tmp_path / "home")


@pytest.mark.parametrize("content", [b"", b"not a pickle", b"PK\x03\x04 broken"])
def test_a_broken_bin_is_one_line(pickled: Path, tmp_path: Path, content: bytes) -> None:
    (pickled / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(ModelError, match=r"^[^\n]*pytorch_model\.bin [^\n]+$"):
        load_encoder(str(pickled), home=tmp_path / "home")


@pytest.mark.parametrize("content", [torch.zeros(3), {"a": 1}])
def test_a_bin_without_the_tensors_of_a_model_is_refused(pickled: Path, tmp_path: Path, content: object) -> None:
    torch.save(content, pickled / "pytorch_model.bin")
    with pytest.raises(ModelError, match="does not hold the tensors of a model"):
        load_encoder(str(pickled), home=tmp_path / "home")


def test_nowhere_to_keep_the_conversion_is_said(pickled: Path, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    with pytest.raises(ModelError, match="set CLIPGRES_HOME"):
        load_encoder(str(pickled), home=tmp_path / "home")


def test_cut_off_safetensors_are_refused(model: Path) -> None:
    content = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match=r"^the model small cannot be loaded: [^\n]+$"):
        load_encoder(str(model))


def test_shards_are_put_together(model: Path, tmp_path: Path) -> None:
    whole = load_encoder(str(model)).text(["two dogs"])
    shutil.copytree(model, tmp_path / "shards", ignore=shutil.ignore_patterns("*.safetensors"))
    CLIPModel.from_pretrained(model).save_pretrained(tmp_path / "shards", max_shard_size="100KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    assert np.allclose(load_encoder(str(tmp_path / "shards")).text(["two dogs"]), whole, atol=1e-6)


@pytest.mark.parametrize("change", [{"text_config": {"hidden_size": "wide"}}, {"text_config": 7}])
def test_a_configuration_that_cannot_be_built_is_one_line(model: Path, change: dict[str, object]) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(ModelError, match=r"^the model small cannot be loaded: [^\n]+$"):
        load_encoder(str(model))


def test_weights_that_leave_a_gap_are_refused_rather_than_filled_at_random(model: Path) -> None:
    tensors = load_file(model / "model.safetensors")
    del tensors["visual_projection.weight"]
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lack 1 tensors, the first is visual_projection\.weight"):
        load_encoder(str(model))


def test_weights_of_another_shape_are_refused(model: Path) -> None:
    wider = write_small_clip(model.parent / "wider", dimension=48)
    shutil.copy(wider / "model.safetensors", model)
    with pytest.raises(ModelError, match="the model small cannot be loaded"):
        load_encoder(str(model))


def test_several_converting_at_once_leave_one_whole_file(pickled: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: weights.converted(pickled / "pytorch_model.bin", tmp_path / "target"), range(4)))
    assert [path.name for path in (tmp_path / "target").iterdir()] == ["model.safetensors"]


def test_a_tokenizer_of_another_model_is_refused(model: Path) -> None:
    text = (model / "vocab.json").read_text()
    (model / "vocab.json").write_text(text.replace('"<|endoftext|>": 513', '"<|endoftext|>": 600'))
    with pytest.raises(ModelError, match="the tokenizer of small does not belong to its model"):
        load_encoder(str(model))


def test_a_broken_tokenizer_is_one_line(model: Path) -> None:
    (model / "vocab.json").write_text("{")
    with pytest.raises(ModelError, match=r"^the tokenizer of small cannot be loaded: [^\n]+$"):
        load_encoder(str(model))
