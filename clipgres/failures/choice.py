"""Which failures are meant: by collection, reason, host and batch, any of them together, whoever asks."""

from __future__ import annotations

import difflib
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from sqlalchemy import Connection, text

from clipgres import collections
from clipgres.errors import BadRequest, NotFound
from clipgres.reasons import Reason
from clipgres.request import Name, Number
from clipgres.urls import normalise_url

MAX_BATCH = 2**63 - 1
SHOWN_CHARS = 60


class Grouping(StrEnum):
    """What failures are counted by."""

    REASON = "reason"
    HOST = "host"
    BATCH = "batch"


def reason_named(value: object) -> Reason:
    """The reason of this name.

    Raises:
        ValueError: there is none; names the nearest.
    """
    names = [reason.value for reason in Reason]
    if value in names:
        return Reason.stored_as(str(value))
    near = difflib.get_close_matches(str(value), names, n=1)
    suggestion = f"did you mean {near[0]}?" if near else f"there is: {', '.join(names)}"
    raise ValueError(f"there is no reason {str(value)[:SHOWN_CHARS]!r}; {suggestion}")


def _host(value: str) -> str:
    """A host as images have it, from its name, its address, or a URL of it."""
    stripped = value.strip()
    written = f"[{stripped}]" if stripped.count(":") > 1 and not stripped.startswith("[") else stripped
    try:
        return normalise_url(stripped if "://" in stripped else f"http://{written}/").host
    except BadRequest as error:
        raise ValueError(f"{value[:SHOWN_CHARS]!r} is not a host, such as example.org") from error


class FailureFilter(BaseModel):
    """The failed images that are meant: those that are not ignored, or with `ignored` those that are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    collection: Annotated[Name, Field(min_length=1)] | None = None
    reason: Annotated[Reason, BeforeValidator(reason_named)] | None = None
    host: Annotated[str, AfterValidator(_host)] | None = None
    batch: Annotated[int, Number, Field(ge=1, le=MAX_BATCH)] | None = None
    ignored: bool = False

    @property
    def is_narrowed(self) -> bool:
        """Whether it means less than everything."""
        return any((self.collection, self.reason, self.host, self.batch))

    def given(self) -> dict[str, Any]:
        """What was named, as it stands in an address or a JSON document."""
        return self.model_dump(mode="json", exclude_defaults=True)


def parse_filter(fields: dict[str, Any]) -> FailureFilter:
    """Check the fields of a filter.

    Raises:
        BadRequest: naming the first that does not fit.
    """
    try:
        return FailureFilter.model_validate(fields)
    except ValidationError as error:
        problem = error.errors(include_input=False, include_context=False)[0]
    field = str(problem["loc"][0])[:SHOWN_CHARS]
    if problem["type"] == "extra_forbidden":
        raise BadRequest(
            f"{field}: failures have no such field; they have {', '.join(FailureFilter.model_fields)}", field
        )
    message = problem["msg"].removeprefix("Value error, ").replace("Input should", "it should")
    raise BadRequest(f"{field}: {message}", field)


# Only what is given becomes a condition, so that the planner sees joins and not alternatives.
CONDITIONS = {
    "collection": "j.collection_id = :collection",
    "reason": "j.reason = :reason",
    "host": "j.image_id IN (SELECT i.id FROM clipgres.image i WHERE i.host = :host)",
    "batch": """
        (j.collection_id, j.image_id) IN
            (SELECT b.collection_id, b.image_id FROM clipgres.batch_job b WHERE b.batch_id = :batch)""",
}
KNOWN_BATCH_SQL = text("SELECT EXISTS (SELECT FROM clipgres.batch WHERE id = :batch)")


def condition(connection: Connection, chosen: FailureFilter) -> tuple[str, dict[str, Any]]:
    """The filter as SQL over `clipgres.job j`, which status and `ignored` are no part of, with its parameters.

    Raises:
        NotFound: the collection or the batch is not there.
    """
    given = chosen.model_dump(mode="json", include=set(CONDITIONS), exclude_none=True)
    if chosen.collection is not None:
        given["collection"] = collections.find(connection, chosen.collection).id
    if chosen.batch is not None and not connection.execute(KNOWN_BATCH_SQL, given).scalar_one():
        raise NotFound(f"there is no batch {chosen.batch}; `clipgres status` lists the latest")
    return " AND ".join([CONDITIONS[name] for name in given] or ["true"]), given
