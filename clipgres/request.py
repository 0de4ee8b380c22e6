"""What a search asks for: one model for the page, the JSON API, the command line and Python alike."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from clipgres.errors import BadRequest

MAX_TEXT_CHARS = 10_000
MAX_TOP_K = 10_000
DEFAULT_TOP_K = 20

Key = Annotated[str, Field(min_length=1, max_length=1_024)]


class Mode(StrEnum):
    """Which plan may answer."""

    AUTO = "auto"
    EXACT = "exact"
    INDEX = "index"


class SearchRequest(BaseModel):
    """A query by text, picture, address of a picture or items that are there; several of them are one mixed query."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    collection: str = Field("default", description="name of the collection")
    text: str | None = Field(None, max_length=MAX_TEXT_CHARS, description="what the picture shows")
    image: bytes | None = Field(None, description="a picture's bytes; over HTTP the multipart field `image`")
    image_url: str | None = Field(None, description="address of a picture; fetched as safely as a list's")
    like: tuple[Key, ...] = Field((), max_length=20, description="keys of items; they themselves are left out")
    filter: dict[str, Any] = Field({}, description="conditions on columns, captions and metadata")
    namespace: str = Field("", max_length=512)
    top_k: int = Field(DEFAULT_TOP_K, ge=1, le=MAX_TOP_K, description="how many hits at most")
    min_score: float | None = Field(None, ge=-1, le=1, description="cosine similarity below which hits are hidden")
    mode: Mode = Mode.AUTO

    @model_validator(mode="after")
    def _asks_for_something(self) -> Self:
        if not (self.text and self.text.strip()) and not self.image and not self.image_url and not self.like:
            raise ValueError("say what to search for: text, image, image_url or like")
        if self.text is not None and "\0" in self.text:
            raise ValueError("text holds a NUL character")
        return self


def parse_request(fields: dict[str, Any]) -> SearchRequest:
    """Check the fields of a request.

    Raises:
        BadRequest: naming the first field that does not fit.
    """
    try:
        return SearchRequest.model_validate(fields)
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        raise BadRequest(f"{field}: {message}" if field else message, field or None) from error
