"""From a request to a `SearchRequest` as programs send it: JSON, or multipart with a picture."""

from __future__ import annotations

from typing import Any

from flask import Request
from werkzeug.datastructures import MultiDict

from clipgres.errors import BadRequest
from clipgres.request import SearchRequest, parse_request
from clipgres.strict_json import parse_json

LISTS = ("like", "unlike")
JSON_FIELDS = ("filter", "weights", "vector")


def from_api(request: Request) -> SearchRequest:
    """What the API is asked for, in the names of the design: JSON, or multipart with `image`.

    Raises:
        BadRequest: naming the field that does not fit.
    """
    if request.mimetype == "multipart/form-data":
        return parse_request(_form_fields(request.form) | {"image": uploaded(request)})
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
    return parse_json(request.get_data(), "the body")


def namespace_of(request: Request) -> str:
    """The namespace that a query string names.

    Raises:
        BadRequest: it cannot be one.
    """
    namespace = request.args.get("namespace", "")
    if "\0" in namespace:
        raise BadRequest("namespace: it holds a NUL character", "namespace")
    return namespace


def uploaded(request: Request) -> bytes | None:
    """The picture's bytes, if one came with the form.

    Raises:
        BadRequest: its file is empty, or there are several.
    """
    uploads = [upload for upload in request.files.getlist("image") if upload.filename]
    if not uploads:
        return None
    if len(uploads) > 1:
        raise BadRequest("image: one picture at a time; others can be named by `image_url` or `like`", "image")
    body: bytes = uploads[0].read()
    if not body:
        raise BadRequest("image: the file is empty", "image")
    return body


def _form_fields(form: MultiDict[str, str]) -> dict[str, Any]:
    fields: dict[str, Any] = {name: form.getlist(name) for name in LISTS if name in form}
    for name, values in form.lists():
        if name in LISTS:
            continue
        if len(values) > 1:
            raise BadRequest(f"{name[:60]}: it is given {len(values)} times", name)
        fields[name] = parse_json(values[0], name, name) if name in JSON_FIELDS else values[0]
    return fields
