"""From a request to a `SearchRequest`: the page's short names, the API's JSON, and multipart with a picture."""

from __future__ import annotations

import json
import re
from typing import Any

from flask import Request
from werkzeug.datastructures import MultiDict

from clipgres.collections import DEFAULT
from clipgres.errors import BadRequest
from clipgres.request import SearchRequest, parse_request

PAGE_TOP_K = 24
PAGE_MAX_TOP_K = 500
ADDRESS = re.compile(r"https?://\S+", re.IGNORECASE)


def from_page(request: Request) -> SearchRequest | None:
    """What the search page asks for, or None for its first view.

    The fields are q (a text, or the address of a picture), image, image_url, like, collection, namespace, k, and min
    in percent.

    Raises:
        BadRequest: naming the field that does not fit.
    """
    values = request.values
    text = values.get("q", "").strip()
    address = values.get("image_url", "").strip()
    if not address and ADDRESS.fullmatch(text):
        text, address = "", text
    wanted: dict[str, Any] = {
        "text": text or None,
        "image": _uploaded(request),
        "image_url": address or None,
        "like": [key for key in values.getlist("like") if key],
    }
    if not any(wanted.values()):
        return None
    return parse_request(
        wanted
        | {
            "collection": values.get("collection") or DEFAULT,
            "namespace": values.get("namespace", ""),
            "top_k": _top_k(values.get("k", "")),
            "min_score": _percent(values.get("min", "")),
        }
    )


def from_api(request: Request) -> SearchRequest:
    """What the API is asked for, in the names of the design: JSON, or multipart with `image`.

    Raises:
        BadRequest: naming the field that does not fit.
    """
    if request.mimetype == "multipart/form-data":
        return parse_request(_form_fields(request.form) | {"image": _uploaded(request)})
    fields = json_body(request)
    if not isinstance(fields, dict):
        raise BadRequest('a search is a JSON object, such as {"text": "two dogs"}')
    if "image" in fields:
        raise BadRequest("image: send the picture's bytes as the field `image` of multipart/form-data", "image")
    return parse_request(fields)


def json_body(request: Request) -> Any:
    """The body as JSON.

    Raises:
        BadRequest: it is not, or it says it is something else.
    """
    if not request.is_json:
        raise BadRequest("send JSON, and say so: Content-Type: application/json")
    return _parse_json(request.get_data(), "the body")


def namespace_of(request: Request) -> str:
    """The namespace that a query string names.

    Raises:
        BadRequest: it cannot be one.
    """
    namespace = request.args.get("namespace", "")
    if "\0" in namespace:
        raise BadRequest("namespace: it holds a NUL character", "namespace")
    return namespace


def _form_fields(form: MultiDict[str, str]) -> dict[str, Any]:
    fields: dict[str, Any] = form.to_dict()
    if "like" in form:
        fields["like"] = form.getlist("like")
    if "filter" in form:
        fields["filter"] = _parse_json(form["filter"], "filter")
    return fields


def _parse_json(text: str | bytes, name: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"{name} is not JSON: {error}", None if name == "the body" else name) from error


def _uploaded(request: Request) -> bytes | None:
    upload = request.files.get("image")
    if upload is None or not upload.filename:
        return None
    body: bytes = upload.read()
    if not body:
        raise BadRequest("image: the file is empty", "image")
    return body


def _top_k(text: str) -> int:
    if not text:
        return PAGE_TOP_K
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= PAGE_MAX_TOP_K:
        raise BadRequest(
            f"pictures at most (k): a whole number from 1 to {PAGE_MAX_TOP_K} is needed, not {text[:40]!r}", "k"
        )
    return int(text)


def _percent(text: str) -> float | None:
    if not text:
        return None
    number = text.removesuffix("%").strip()
    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,6})?", number) or float(number) > 100:
        raise BadRequest(f"similarity at least (min): a number from 0 to 100 is needed, not {text[:40]!r}", "min")
    return float(number) / 100
