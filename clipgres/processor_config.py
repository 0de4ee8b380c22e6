"""How a model wants its pictures prepared, read from its `preprocessor_config.json`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from clipgres.errors import ModelError
from clipgres.preprocess import Preprocessing, Triple

CLIP_MEAN: Triple = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD: Triple = (0.26862954, 0.26130258, 0.27577711)


def _edge(value: object) -> object:
    return {"shortest_edge": value} if isinstance(value, int) else value


def _square(value: object) -> object:
    return {"height": value, "width": value} if isinstance(value, int) else value


class _Size(BaseModel):
    model_config = ConfigDict(extra="forbid")
    shortest_edge: int | None = Field(None, ge=1)
    height: int | None = Field(None, ge=1)
    width: int | None = Field(None, ge=1)


class _ProcessorConfig(BaseModel):
    """`preprocessor_config.json` with transformers' defaults; what stands here alone is what we do."""

    image_processor_type: Literal[
        "CLIPImageProcessor", "CLIPImageProcessorFast", "CLIPImageProcessorPil", "CLIPFeatureExtractor"
    ] = "CLIPImageProcessor"
    do_resize: Literal[True] = True
    do_center_crop: bool = True
    do_rescale: Literal[True] = True
    do_normalize: Literal[True] = True
    do_pad: Literal[False] = False
    size: Annotated[_Size, BeforeValidator(_edge)] = _Size(shortest_edge=224)
    crop_size: Annotated[_Size, BeforeValidator(_square)] = _Size(height=224, width=224)
    resample: int = Field(3, ge=0, le=5)
    rescale_factor: float = Field(1 / 255, gt=0)
    image_mean: Triple = CLIP_MEAN
    image_std: Triple = CLIP_STD


def read_preprocessing(config: dict[str, Any], image_size: int, source: str) -> Preprocessing:
    """Read the parsed processor configuration of `source`, whose model sees squares of `image_size` pixels.

    Raises:
        ModelError: it asks for something that is not done here, or does not fit the model.
    """
    try:
        known = _ProcessorConfig.model_validate({key: value for key, value in config.items() if value is not None})
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(str(part) for part in problem["loc"])
        raise ModelError(f"{source}: cannot prepare pictures for this model: {field}: {problem['msg']}") from error
    keep_shape = known.size.shortest_edge is not None
    short = known.size.shortest_edge or known.size.height or 0
    side = (known.crop_size.height or 0) if known.do_center_crop else short
    squares = known.crop_size.height == known.crop_size.width and (keep_shape or known.size.height == known.size.width)
    uncut = keep_shape and not known.do_center_crop
    if not squares or uncut or side != image_size or short < side:
        raise ModelError(f"{source}: its pictures do not come out as the {image_size} pixel squares the model sees")
    return Preprocessing(
        short, keep_shape, side, known.resample, known.rescale_factor, known.image_mean, known.image_std
    )
