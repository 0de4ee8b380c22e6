"""The space of a model, from its small files alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from clipgres.errors import ModelError
from clipgres.models import describe_model
from tests.models import write_legacy_processor, write_small_clip


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_clip(tmp_path_factory.mktemp("models") / "small")


@pytest.fixture
def copy(small: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small, tmp_path / "small"))


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_reads_dimension_and_preprocessing(small: Path) -> None:
    space = describe_model(str(small))
    assert (space.model, space.dimension) == ("small", 32)
    assert space.preprocessing.startswith("resize32-bicubic-crop32-")


def test_revision_of_a_directory_is_its_content(small: Path, copy: Path) -> None:
    assert describe_model(str(copy)) == describe_model(str(small))
    assert len(describe_model(str(copy)).revision) == 40


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "vocab.json", "preprocessor_config.json"])
def test_revision_changes_with_each_file_that_matters(small: Path, copy: Path, name: str) -> None:
    with (copy / name).open("ab") as file:
        file.write(b" ")
    assert describe_model(str(copy)).revision != describe_model(str(small)).revision


def test_revision_does_not_change_with_other_files(small: Path, copy: Path) -> None:
    (copy / "README.md").write_text("a model")
    assert describe_model(str(copy)) == describe_model(str(small))


def test_a_directory_can_be_held_to_its_revision(small: Path) -> None:
    space = describe_model(str(small))
    assert describe_model(str(small), space.revision) == space
    with pytest.raises(ModelError, match="unset CLIPGRES_MODEL_REVISION"):
        describe_model(str(small), "0" * 40)


def test_reads_the_newer_processor_file(copy: Path) -> None:
    before = describe_model(str(copy)).preprocessing
    nested = json.loads((copy / "preprocessor_config.json").read_text())
    (copy / "preprocessor_config.json").unlink()
    (copy / "processor_config.json").write_text(json.dumps({"image_processor": nested}))
    assert describe_model(str(copy)).preprocessing == before


def test_reads_the_oldest_processor_file(copy: Path) -> None:
    before = describe_model(str(copy)).preprocessing
    write_legacy_processor(copy, 32)
    assert describe_model(str(copy)).preprocessing == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "bert"}, 'is of type "bert", not "clip"'),
        ({"projection_dim": 4_001}, "projection_dim 4001 is not between 1 and 4,000"),
        ({"vision_config": {"image_size": 64}}, "64 pixel squares"),
    ],
)
def test_refuses_a_model_that_does_not_fit(copy: Path, changes: dict[str, object], words: str) -> None:
    edit(copy / "config.json", **changes)
    with pytest.raises(ModelError, match=words):
        describe_model(str(copy))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "vocab.json", "preprocessor_config.json"])
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(ModelError, match=f"the model small has no .*{name}.*: not a complete CLIP model"):
        describe_model(str(copy))


@pytest.mark.parametrize("content", ["{", "[]", '"clip"'])
def test_a_broken_configuration_is_one_line(copy: Path, content: str) -> None:
    (copy / "config.json").write_text(content)
    with pytest.raises(ModelError, match=r"^the model small: config\.json [^\n]*$"):
        describe_model(str(copy))


def test_says_how_two_spaces_differ(small: Path) -> None:
    space = describe_model(str(small))
    assert space.describe() == f"small at {space.revision[:12]} (32-d, {space.preprocessing})"
