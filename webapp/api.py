"""JSON for programs, in the names of the design."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from http import HTTPStatus
from typing import Any, BinaryIO, cast

from flask import Blueprint, Request, request, url_for
from werkzeug.exceptions import UnsupportedMediaType

from clipgres import attempts, batches, failures, saved
from clipgres.batches import BatchProgress
from clipgres.collections import DEFAULT
from clipgres.database import transaction
from clipgres.errors import BadRequest
from clipgres.failures import FailureFilter
from clipgres.items import find_item
from clipgres.lists import OpenedList, open_rows, open_stream
from clipgres.statistics import all_statistics
from webapp.intake import take
from webapp.params import from_api, json_body, namespace_of
from webapp.params_failures import filter_of, filter_of_json, grouping_of, limit_of
from webapp.routing import MAX_ID
from webapp.security import admin_only
from webapp.services import services

api = Blueprint("api", __name__, url_prefix="/api")

# None of them is a type that a form of another site can send.
FORMATS = {
    "text/tab-separated-values": "tsv",
    "text/csv": "csv",
    "application/jsonl": "jsonl",
    "application/x-ndjson": "jsonl",
    "application/gzip": "auto",
    "application/zstd": "auto",
    "application/vnd.apache.parquet": "auto",
}
LISTED_BATCHES = 100


@api.post("/search")
def search() -> dict[str, Any]:
    """Find pictures by text, picture, address or item."""
    return services().searcher.search(from_api(request)).to_dict()


@api.get("/searches")
def saved_searches() -> dict[str, Any]:
    """The saved searches, in order of name."""
    return {"searches": [asdict(each) for each in saved.list_saved(services().engine)]}


@api.get("/searches/<name>")
def saved_search(name: str) -> dict[str, Any]:
    """One saved search: the fields that `POST /api/search` takes."""
    found = saved.load(services().engine, name)
    return {"name": name, "request": found.model_dump(mode="json", exclude_defaults=True)}


@api.put("/searches/<name>")
@admin_only
def save_search(name: str) -> dict[str, Any]:
    """Keep a search, sent as to `POST /api/search`, under a name; one that is there is replaced."""
    saved.save(services().engine, name, from_api(request), replace=True)
    return saved_search(name)


@api.delete("/searches/<name>")
@admin_only
def delete_search(name: str) -> tuple[str, HTTPStatus]:
    """Forget a saved search."""
    saved.delete_saved(services().engine, name)
    return "", HTTPStatus.NO_CONTENT


@api.get("/items/<collection:collection>/<key:key>")
def item(collection: str, key: str) -> dict[str, Any]:
    """One item with all that is known of it."""
    with transaction(services().engine) as connection:
        found = find_item(connection, collection, key, namespace_of(request))
        history = attempts.of_image(connection, found.image_id) if found.image_id else []
    picture = url_for("thumbnails.show", image_id=found.image_id) if found.has_thumbnail else None
    more = {"caption": found.caption, "thumbnail": picture, "history": [asdict(one) for one in history]}
    fields = asdict(found) | more
    return {name: value for name, value in fields.items() if name not in {"image_id", "has_thumbnail"}}


@api.post("/images")
@admin_only
def add_images() -> tuple[dict[str, Any], HTTPStatus, dict[str, str]]:
    """Take a list into a collection (`?collection=`): a JSON list, or a body of TSV, CSV or JSONL, read as it comes."""
    added, refused = take(services(), request.args.get("collection") or DEFAULT, _opened(request))
    answer = {
        "batch": added.batch,
        "accepted": added.accepted,
        "merged": added.merged,
        "refused": [asdict(refusal) for refusal in refused],
    }
    return answer, HTTPStatus.ACCEPTED, {"Location": url_for(".batch", batch_id=added.batch)}


@api.get("/batches")
def listing() -> dict[str, Any]:
    """The latest imports."""
    with transaction(services().engine) as connection:
        return {"batches": [_told(each) for each in batches.recent(connection, LISTED_BATCHES)]}


@api.get(f"/batches/<int(max={MAX_ID}):batch_id>")
def batch(batch_id: int) -> dict[str, Any]:
    """How far one import is, and what failed why."""
    with transaction(services().engine) as connection:
        return _told(batches.progress(connection, batch_id))


@api.post(f"/batches/<int(max={MAX_ID}):batch_id>/retry")
@admin_only
def retry(batch_id: int) -> dict[str, int]:
    """Try again what failed."""
    with transaction(services().engine) as connection:
        return {"retried": failures.retry(connection, FailureFilter(batch=batch_id))}


@api.get("/failures")
def failed() -> dict[str, Any]:
    """What failed: counted by reason, host or batch (`?by=`), and the latest pictures with their words."""
    chosen, by, limit = filter_of(request.args), grouping_of(request.args), limit_of(request.args)
    with transaction(services().engine) as connection:
        return {
            **asdict(failures.totals(connection, chosen)),
            "groups": [asdict(each) for each in failures.grouped(connection, chosen, by, limit=limit)],
            "pictures": [asdict(each) for each in failures.samples(connection, chosen, limit=limit)],
        }


@api.post("/failures/retry")
@admin_only
def retry_failures() -> dict[str, int]:
    """Try again what a filter means."""
    chosen = filter_of_json(request)
    with transaction(services().engine) as connection:
        return {"retried": failures.retry(connection, chosen)}


@api.post("/failures/ignore")
@admin_only
def ignore_failures() -> dict[str, int]:
    """Ignore what a filter means."""
    chosen = filter_of_json(request)
    with transaction(services().engine) as connection:
        return {"ignored": failures.ignore(connection, chosen)}


@api.get("/collections")
def collections() -> dict[str, Any]:
    """Every collection in numbers."""
    with transaction(services().engine) as connection:
        return {"collections": [asdict(each) for each in all_statistics(connection)]}


def _told(progress: BatchProgress) -> dict[str, Any]:
    more = {"left": progress.left, "is_done": progress.is_done, "is_held": progress.is_held, "eta_s": progress.eta_s}
    return asdict(progress) | more


def _opened(request: Request) -> OpenedList:
    limit = services().settings.caption_max_chars
    if request.is_json:
        return open_rows(_rows(json_body(request)), "a JSON list", caption_max_chars=limit)
    if request.mimetype not in FORMATS:
        raise UnsupportedMediaType(f"send a list as application/json, {', '.join(FORMATS)}")
    stream = cast(BinaryIO, request.stream)
    return open_stream(stream, "an upload", FORMATS[request.mimetype], caption_max_chars=limit)


def _rows(body: Any) -> list[Mapping[str, Any]]:
    """The rows of a JSON list; an address alone is one too."""
    if not isinstance(body, list):
        raise BadRequest('send a list, such as [{"url": "https://example.org/dog.jpg", "caption": "a dog"}]')
    rows = [{"url": entry} if isinstance(entry, str) else entry for entry in body]
    for place, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise BadRequest(f"entry {place} is neither an object nor an address")
    return rows
