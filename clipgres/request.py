"""What a search asks for: one model for the page, the JSON API, the command line and Python alike."""

from __future__ import annotations

import difflib
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from clipgres.errors import BadRequest
from clipgres.filter_values import is_storable

# More than a model ever reads: what is longer is cut, and the answer says so.
MAX_TEXT_CHARS = 200_000
MAX_URL_CHARS = 8_192
KEY_MAX_CHARS = 1_024
NAME_MAX_CHARS = 512
MAX_TOP_K = 10_000
DEFAULT_TOP_K = 20


def _storable(value: str) -> str:
    if not is_storable(value):
        raise ValueError("it holds a NUL character or half of a surrogate pair")
    return value


Storable = AfterValidator(_storable)
Text = Annotated[str, Field(max_length=MAX_TEXT_CHARS), Storable]
Url = Annotated[str, Field(max_length=MAX_URL_CHARS), Storable]
Name = Annotated[str, Field(max_length=NAME_MAX_CHARS), Storable]
Keywords = Annotated[str, Field(min_length=1, max_length=1_000), Storable]
Cursor = Annotated[str, Field(min_length=1, max_length=2_000)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Key = Annotated[str, Field(min_length=1, max_length=KEY_MAX_CHARS), Storable]


class Mode(StrEnum):
    """Which plan may answer."""

    AUTO = "auto"
    EXACT = "exact"
    INDEX = "index"


class Criterion(StrEnum):
    """What the query is compared with."""

    IMAGE = "image"
    TEXT = "text"
    BOTH = "both"


Weight = Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)]


class Weights(BaseModel):
    """How much each part of a mixed query counts, beside the others."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: Weight = 1
    not_text: Weight = 1
    image: Weight = 1
    like: Weight = 1
    unlike: Weight = 1
    vector: Weight = 1
    pictures: Weight = Field(1, description="the ranking by pictures, where several rankings are fused")
    captions: Weight = Field(1, description="the ranking by captions, where several rankings are fused")
    keywords: Weight = Field(1, description="the ranking by keywords, where several rankings are fused")


class SearchRequest(BaseModel):
    """A query by text, picture, address of a picture, items that are there or a vector; several are one mixed query."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    collection: Name = Field("default", description="name of the collection")
    text: Text | None = Field(None, description="what the picture shows")
    image: bytes | None = Field(None, description="a picture's bytes; over HTTP the multipart field `image`")
    image_url: Url | None = Field(None, description="address of a picture; fetched as safely as a list's")
    like: tuple[Key, ...] = Field((), max_length=20, description="keys of items; they themselves are left out")
    not_text: Text | None = Field(None, description="what the picture does not show")
    unlike: tuple[Key, ...] = Field((), max_length=20, description="keys of items to get away from; left out as well")
    vector: tuple[Finite, ...] | None = Field(None, max_length=4_000, description="a vector of the collection's space")
    weights: Weights = Weights()
    criterion: Criterion = Field(Criterion.IMAGE, description="compare with pictures, with captions, or with both")
    keywords: Keywords | None = Field(None, description="words of captions; quotes for a phrase, -word, OR")
    filter: dict[str, Any] = Field({}, description="conditions on columns, captions and metadata")
    namespace: Name = Field("", description="the part of the collection to search")
    top_k: int = Field(DEFAULT_TOP_K, ge=1, le=MAX_TOP_K, description="how many hits at most")
    min_score: float | None = Field(None, ge=-1, le=1, description="cosine similarity below which hits are hidden")
    min_percentile: float | None = Field(
        None, ge=0, le=100, description="hide hits that stand out less, in percent of the collection they surpass"
    )
    mode: Mode = Mode.AUTO
    cursor: Cursor | None = Field(None, description="`next` of an answer: its next page; nothing else is needed then")

    @model_validator(mode="after")
    def _asks_for_something(self) -> Self:
        words = self.text and self.text.strip()
        if not (words or self.image or self.image_url or self.like or self.vector or self.cursor):
            raise ValueError("say what to search for: text, image, image_url, like or vector")
        return self


WORDS = {
    "dict_type": 'it should be an object, such as {"width": {"$gte": 640}}',
    "tuple_type": "it should be a list",
    "string_unicode": "it holds half of a surrogate pair",
}


def parse_request(fields: dict[str, Any]) -> SearchRequest:
    """Check the fields of a request.

    Raises:
        BadRequest: naming the first field that does not fit.
    """
    try:
        return SearchRequest.model_validate(fields)
    except ValidationError as error:
        problem = error.errors(include_input=False, include_context=False)[0]
        field = ".".join(str(part) for part in problem["loc"])
        message = WORDS.get(problem["type"]) or problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = f"a search has no such field{_suggestion(field)}"
        message = message.replace("Input should be", "it should be")
        raise BadRequest(f"{field[:60]}: {message}" if field else message, field or None) from error


def _suggestion(field: str) -> str:
    near = difflib.get_close_matches(field, SearchRequest.model_fields, n=1)
    return f"; did you mean {near[0]}?" if near else f"; it has {', '.join(SearchRequest.model_fields)}"
