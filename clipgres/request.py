"""What a search asks for: one model for the page, the JSON API, the command line and Python alike."""

from __future__ import annotations

import difflib
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from clipgres.errors import BadRequest
from clipgres.filters.values import is_searchable, is_storable

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


def _searchable(value: str) -> str:
    if not is_searchable(value):
        raise ValueError("it has more than 20 minus signs in a row")
    return value


def _number(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("it should be a number, not true or false")
    return value


Number = BeforeValidator(_number)
Text = Annotated[str, Field(max_length=MAX_TEXT_CHARS), Storable]
Url = Annotated[str, Field(max_length=MAX_URL_CHARS), Storable]
Name = Annotated[str, Field(max_length=NAME_MAX_CHARS), Storable]
Keywords = Annotated[str, Field(min_length=1, max_length=1_000), Storable, AfterValidator(_searchable)]
Cursor = Annotated[str, Field(min_length=1, max_length=2_000), Storable]
Finite = Annotated[float, Field(allow_inf_nan=False), Number]
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


class Fold(StrEnum):
    """Of which duplicates one is shown for all: those of a kind of `DuplicateKind`, or none."""

    NONE = "none"
    URL = "url"
    BYTES = "bytes"
    NEAR = "near"


Weight = Annotated[float, Field(ge=0, le=10, allow_inf_nan=False), Number]


class Weights(BaseModel):
    """How much each part of a mixed query counts, beside the others; what is taken away counts half.

    `combine` in `clipgres/query.py` has the figures.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: Weight = 1
    not_text: Weight = 0.5
    image: Weight = 1
    like: Weight = 1
    unlike: Weight = 0.5
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
    vector: tuple[Finite, ...] | None = Field(
        None, min_length=1, max_length=4_000, description="a vector of the collection's space"
    )
    weights: Weights = Weights()
    criterion: Criterion = Field(Criterion.IMAGE, description="compare with pictures, with captions, or with both")
    keywords: Keywords | None = Field(None, description="words of captions; quotes for a phrase, -word, OR")
    filter: dict[str, Any] = Field({}, description="conditions on columns, captions and metadata")
    namespace: Name = Field("", description="the part of the collection to search")
    top_k: Annotated[int, Number] = Field(DEFAULT_TOP_K, ge=1, le=MAX_TOP_K, description="how many hits at most")
    min_score: Annotated[float | None, Number] = Field(
        None, ge=-1, le=1, description="cosine similarity below which hits are hidden"
    )
    min_percentile: Annotated[float | None, Number] = Field(
        None, ge=0, le=100, description="hide hits that stand out less, in percent of the collection they surpass"
    )
    mode: Mode = Mode.AUTO
    fold: Fold = Field(Fold.NONE, description="show one of pictures with the same URL or bytes, or that look the same")
    cursor: Cursor | None = Field(None, description="`next` of an answer: its next page; nothing else is needed then")

    @field_validator("unlike")
    @classmethod
    def _is_on_one_side(cls, keys: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        both = set(keys) & set(info.data.get("like", ()))
        if both:
            raise ValueError(f'item "{min(both)[:60]}" is in like as well; it can be on one side only')
        return keys

    @model_validator(mode="after")
    def _asks_for_something(self) -> Self:
        if self.has_text or self.image or self.image_url or self.like or self.vector or self.cursor:
            return self
        if self.has_not_text or self.unlike:
            raise ValueError("not_text and unlike only take away: add something to look for, such as text or like")
        if self.keywords:
            raise ValueError("keywords only help to rank: add something to look for, such as the same words as text")
        raise ValueError("say what to search for: text, image, image_url, like or vector")

    @property
    def has_text(self) -> bool:
        """Whether there is a text to look for: one of spaces alone is none."""
        return bool(self.text and self.text.strip())

    @property
    def has_not_text(self) -> bool:
        """Whether there is a text to get away from."""
        return bool(self.not_text and self.not_text.strip())


WORDS = {
    "dict_type": 'it should be an object, such as {"width": {"$gte": 640}}',
    "model_type": "it should be an object with names of fields",
    "tuple_type": "it should be a list",
    "string_unicode": "it holds half of a surrogate pair",
}
SUBJECTS = ("Input", "String", "Tuple", "Data")


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
        message = _message(problem)
        raise BadRequest(f"{field[:60]}: {message}" if field else message, field or None) from error


def _message(problem: ErrorDetails) -> str:
    if problem["type"] == "extra_forbidden":
        *within, name = problem["loc"]
        owner = f"{within[0]}" if within else "a search"
        known = Weights.model_fields if within else SearchRequest.model_fields
        near = difflib.get_close_matches(str(name), known, n=1)
        suggestion = f"did you mean {near[0]}?" if near else f"it has {', '.join(known)}"
        return f"{owner} has no such field; {suggestion}"
    message = WORDS.get(problem["type"]) or problem["msg"].removeprefix("Value error, ")
    message = message.replace(" after validation", "")
    subject, _, rest = message.partition(" should ")
    return f"it should {rest}" if subject in SUBJECTS else message
