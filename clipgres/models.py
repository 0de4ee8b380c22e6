"""Which space a model's vectors lie in, read from its configuration files alone: no weights, no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clipgres.errors import ModelError
from clipgres.model_files import CONFIG, PROCESSORS, ModelFiles, open_model
from clipgres.preprocess import Preprocessing
from clipgres.processor_config import read_preprocessing
from clipgres.settings import DEFAULT_MODEL

# pgvector indexes a halfvec of at most 4,000 dimensions.
MAX_DIMENSION = 4_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """What makes two vectors comparable; stored with a collection. `revision` is 40 hex digits."""

    model: str
    revision: str
    preprocessing: str
    dimension: int

    def describe(self) -> str:
        """One phrase for people that tells two spaces apart."""
        return f"{self.model} at {self.revision[:12]} ({self.dimension:,}-d, {self.preprocessing})"


def describe_model(model: str = DEFAULT_MODEL, revision: str | None = None) -> Space:
    """The space of a model.

    Raises:
        ModelError: no such model, not a CLIP model, or no network and not here yet.
    """
    return read_space(open_model(model, revision))


def read_space(files: ModelFiles) -> Space:
    """The space of the model that these files make."""
    return Space(
        model=files.name,
        revision=files.revision,
        preprocessing=preprocessing_of(files).fingerprint,
        dimension=_dimension(files),
    )


def preprocessing_of(files: ModelFiles) -> Preprocessing:
    """How this model's pictures are prepared."""
    config = files.read(PROCESSORS)
    nested = config.get("image_processor", config)
    return read_preprocessing(nested, _image_size(files), files.name)


def _dimension(files: ModelFiles) -> int:
    value = _clip_config(files).get("projection_dim", 512)
    if not isinstance(value, int) or not 1 <= value <= MAX_DIMENSION:
        raise ModelError(f"the model {files.name}: projection_dim {value} is not between 1 and {MAX_DIMENSION:,}")
    return value


def _image_size(files: ModelFiles) -> int:
    config = _clip_config(files)
    # The second name is how OpenAI's own files say it; transformers lets it win.
    vision = {**(config.get("vision_config") or {}), **(config.get("vision_config_dict") or {})}
    value = vision.get("image_size", 224)
    if not isinstance(value, int):
        raise ModelError(f"the model {files.name}: image_size {value} is not one number of pixels")
    return value


def _clip_config(files: ModelFiles) -> dict[str, Any]:
    config = files.read(CONFIG)
    if config.get("model_type") != "clip":
        raise ModelError(
            f'the model {files.name} is of type "{config.get("model_type")}", not "clip": '
            "set CLIPGRES_MODEL to a CLIP model, whose texts and pictures share one space"
        )
    return config
