"""From an address, a form or a JSON document to the failures that are meant."""

from __future__ import annotations

from flask import Request
from werkzeug.datastructures import MultiDict

from clipgres.errors import BadRequest
from clipgres.failures import FailureFilter, Grouping, parse_filter
from webapp.params import json_body

MAX_LISTED = 1_000
LISTED = 100


def filter_of(values: MultiDict[str, str]) -> FailureFilter:
    """The filter in an address or a form, where an empty field asks for nothing.

    Raises:
        BadRequest: naming the field that does not fit.
    """
    return parse_filter({name: value for name in FailureFilter.model_fields if (value := _once(values, name))})


def filter_of_json(request: Request) -> FailureFilter:
    """The filter in a JSON document.

    Raises:
        BadRequest: naming the field that does not fit.
    """
    fields = json_body(request)
    if not isinstance(fields, dict):
        raise BadRequest('send a JSON object, such as {"reason": "server_error"}')
    return parse_filter(fields)


def grouping_of(values: MultiDict[str, str]) -> Grouping:
    """What to count by: by reason unless it is said.

    Raises:
        BadRequest: failures are not counted by that.
    """
    by = _once(values, "by") or Grouping.REASON
    if by not in list(Grouping):
        raise BadRequest(f"by: count by {', '.join(Grouping)}, not {by[:60]!r}", "by")
    return Grouping(by)


def limit_of(values: MultiDict[str, str]) -> int:
    """How many hosts, batches and pictures to list.

    Raises:
        BadRequest: it is no number, or too large a one.
    """
    limit = _once(values, "limit") or str(LISTED)
    if not (limit.isascii() and limit.isdigit() and len(limit) < 6 and 1 <= int(limit) <= MAX_LISTED):
        raise BadRequest(f"limit: a number from 1 to {MAX_LISTED:,}", "limit")
    return int(limit)


def _once(values: MultiDict[str, str], name: str) -> str:
    given = values.getlist(name)
    if len(given) > 1:
        raise BadRequest(f"{name}: it is given {len(given)} times", name)
    return given[0].strip() if given else ""
