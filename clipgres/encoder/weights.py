"""Weights into memory without running anything they hold: safetensors, or a pickle converted to it once."""

from __future__ import annotations

import os
import pickle
import tempfile
from pathlib import Path
from typing import Any

import torch
from packaging.version import Version
from safetensors.torch import save_file
from transformers import CLIPModel
from transformers.utils import logging as transformers_logging

from clipgres.errors import ModelError
from clipgres.model_files import CONFIG, PICKLE, SAFETENSORS, ModelFiles

# CVE-2026-24747: before it, even `weights_only=True` ran code that a file held.
SAFE_TORCH = Version("2.10")


def load_weights(files: ModelFiles, home: Path) -> CLIPModel:
    """The model in float32 on the CPU, ready to be asked.

    Raises:
        ModelError: weights that are unsafe, broken, or do not fill the model.
    """
    path = files.weights()[0]
    directory = path.parent
    if path.name == PICKLE:
        directory = converted(path, home / "models" / files.name.replace("/", "--") / files.revision)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        loaded: Any = CLIPModel.from_pretrained(
            directory,
            config=files.first(CONFIG),
            dtype=torch.float32,
            attn_implementation="sdpa",
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    except Exception as error:
        # As broad as this because a configuration or file from outside makes almost anything fail inside.
        raise ModelError(f"the model {files.name} cannot be loaded: {_first_line(error)}") from error
    model: CLIPModel
    model, report = loaded
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise ModelError(f"the weights of {files.name} lack {len(missing):,} tensors, the first is {missing[0]}")
    return model


def converted(source: Path, target: Path) -> Path:
    """The directory `target` with the tensors of a `.bin` as safetensors, written whole or not at all.

    Raises:
        ModelError: a torch too old to read it safely, a file that is more than tensors, or nowhere to write.
    """
    if (target / SAFETENSORS).is_file():
        return target
    tensors = _read_pickle(source)
    try:
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target) as scratch:
            save_file(tensors, Path(scratch) / SAFETENSORS, metadata={"format": "pt"})
            os.replace(Path(scratch) / SAFETENSORS, target / SAFETENSORS)
    except OSError as error:
        raise ModelError(f"converted weights cannot be kept in {target}: {error}; set CLIPGRES_HOME") from error
    return target


def _read_pickle(source: Path) -> dict[str, torch.Tensor]:
    if Version(torch.__version__) < SAFE_TORCH:
        raise ModelError(f"torch {torch.__version__} cannot read {source.name} safely: install torch 2.10 or later")
    try:
        content = torch.load(source, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{source} holds more than weights and was not opened: get the model's safetensors instead"
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise ModelError(f"{source} cannot be read: {_first_line(error)}") from error
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise ModelError(f"{source} does not hold the tensors of a model")
    # Copies, since safetensors refuses tensors that share memory.
    return {str(name): tensor.clone().contiguous() for name, tensor in content.items()}


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
