"""Models are found in a directory, in the hub's cache or on the hub, and what cannot be had is said in one line."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from huggingface_hub import constants

from clipgres.errors import ModelError
from clipgres.model_files import DEFAULT_REVISION, SHARDS, open_model
from clipgres.models import describe_model
from clipgres.settings import DEFAULT_MODEL
from tests.hub import run_python, serve_hub
from tests.models import write_small_clip

REVISION = "0123456789abcdef0123456789abcdef01234567"
DESCRIBE = f"from clipgres.models import describe_model; print(describe_model('me/clip', '{REVISION}').dimension)"


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub client's own cache, empty, and no network."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_a_model_in_the_hubs_cache_needs_no_network(offline: Path) -> None:
    write_small_clip(offline / "models--me--clip" / "snapshots" / REVISION)
    space = describe_model("me/clip", REVISION)
    assert (space.model, space.revision, space.dimension) == ("me/clip", REVISION, 32)


def test_offline_a_bin_in_the_cache_is_taken_where_no_safetensors_is(offline: Path) -> None:
    write_small_clip(offline / "models--me--clip" / "snapshots" / REVISION, weights="bin")
    assert [path.name for path in open_model("me/clip", REVISION).weights()] == ["pytorch_model.bin"]


def test_no_network_is_one_line_that_says_what_to_do(offline: Path) -> None:
    with pytest.raises(ModelError) as caught:
        describe_model()
    assert str(caught.value) == (
        "the model openai/clip-vit-base-patch32 is not on this machine and the hub cannot be reached: connect once, "
        "or set CLIPGRES_MODEL to a directory, or to tiny-clip to try things"
    )


def test_no_network_is_found_out_at_once(tmp_path: Path) -> None:
    started = time.monotonic()
    result = run_python(DESCRIBE, tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    assert "ModelError: the model me/clip is not on this machine and the hub cannot be reached" in result.stderr
    assert time.monotonic() - started < 30  # most of it is Python's own start on a loaded machine


def test_downloads_what_it_needs_and_nothing_twice(tmp_path: Path) -> None:
    model = write_small_clip(tmp_path / "model")
    with serve_hub(model, "me/clip", REVISION) as hub:
        first = run_python(DESCRIBE, tmp_path / "cache", HF_ENDPOINT=hub.url)
        assert (first.stdout, first.returncode) == ("32\n", 0), first.stderr
        assert set(hub.asked) == {"config.json", "preprocessor_config.json"}
        hub.asked.clear()
        assert run_python(DESCRIBE, tmp_path / "cache", HF_ENDPOINT=hub.url).stdout == "32\n"
        assert hub.asked == []


def test_loads_from_the_hub_the_bin_that_is_all_it_has(tmp_path: Path) -> None:
    model = write_small_clip(tmp_path / "model", weights="bin")
    load = f"load_encoder('me/clip', '{REVISION}', home=Path({str(tmp_path)!r}))"
    code = f"from pathlib import Path; from clipgres.encoder import load_encoder; print({load}.text(['x']).shape)"
    with serve_hub(model, "me/clip", REVISION) as hub:
        result = run_python(code, tmp_path / "cache", HF_ENDPOINT=hub.url)
    assert result.stdout == "(1, 32)\n", result.stderr
    assert "model.safetensors" in hub.asked
    assert (tmp_path / "models" / "me--clip" / REVISION / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("repository", "revision", "words"),
    [
        ("me/other", REVISION, "there is no model me/clip on the hub, or it needs `hf auth login`"),
        ("me/clip", "f" * 40, f"the model me/clip has no revision {REVISION} on the hub"),
    ],
)
def test_what_the_hub_does_not_have_is_said(tmp_path: Path, repository: str, revision: str, words: str) -> None:
    with serve_hub(tmp_path, repository, revision) as hub:
        assert words in run_python(DESCRIBE, tmp_path / "cache", HF_ENDPOINT=hub.url).stderr


def test_what_the_repository_lacks_is_said(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with serve_hub(tmp_path / "model", "me/clip", REVISION) as hub:
        result = run_python(DESCRIBE, tmp_path / "cache", HF_ENDPOINT=hub.url)
    assert "the model me/clip has no preprocessor_config.json or processor_config.json" in result.stderr


def test_the_default_model_is_pinned() -> None:
    assert open_model(DEFAULT_MODEL).revision == DEFAULT_REVISION


@pytest.mark.parametrize("revision", [None, "main", "0123abc", REVISION.upper()])
def test_any_other_hub_model_needs_a_pinned_revision(revision: str | None) -> None:
    with pytest.raises(ModelError, match="set CLIPGRES_MODEL_REVISION to the 40 hex digits of a commit"):
        open_model("me/clip", revision)


@pytest.mark.parametrize("model", ["", "clip", "/no/such/directory", "a/b/c", "../x", "https://example.org/clip"])
def test_what_is_no_model_is_refused_with_the_three_ways(model: str) -> None:
    with pytest.raises(ModelError, match=f'no model "{model}": CLIPGRES_MODEL is tiny-clip, a directory, or a hub id'):
        open_model(model, REVISION)


def test_shards_are_part_of_the_weights(tmp_path: Path) -> None:
    for name in ("a.safetensors", "b.safetensors"):
        (tmp_path / name).touch()
    index = {"weight_map": {"x": "b.safetensors", "y": "a.safetensors", "z": "a.safetensors"}}
    (tmp_path / SHARDS).write_text(json.dumps(index))
    assert [path.name for path in open_model(str(tmp_path)).weights()] == [SHARDS, "a.safetensors", "b.safetensors"]


@pytest.mark.parametrize("shard", ["../b.safetensors", "b.bin"])
def test_an_index_cannot_name_other_files(tmp_path: Path, shard: str) -> None:
    (tmp_path / SHARDS).write_text(json.dumps({"weight_map": {"x": shard}}))
    with pytest.raises(ModelError, match="not a shard beside it"):
        open_model(str(tmp_path)).weights()
