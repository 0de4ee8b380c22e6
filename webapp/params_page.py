"""The search page's own names, short as they stand in its address: to a `SearchRequest`, and from one."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from flask import Request
from werkzeug.datastructures import MultiDict

from clipgres.collections import DEFAULT
from clipgres.errors import BadRequest
from clipgres.request import DEFAULT_TOP_K, Criterion, Fold, Mode, SearchRequest, parse_request
from clipgres.strict_json import parse_json
from clipgres.wording import read_weights, weights_line
from webapp.params import LISTS, uploaded

Values = MultiDict[str, str]

PAGE_TOP_K = 24
PAGE_MAX_TOP_K = 500
ADDRESS = re.compile(r"https?://\S+", re.IGNORECASE)

# In the order in which they stand in an address.
NAMES = (
    *("saved", "q", "not", "image_url", "like", "unlike", "vector_of", "weights", "by", "words"),
    *("host", "width", "caption", "where", "min", "standing", "k", "mode", "fold", "collection", "namespace", "after"),
)
# What a field holds that asks for nothing, unless it goes before what was saved.
OFF = {
    "by": Criterion.IMAGE.value,
    "mode": Mode.AUTO.value,
    "fold": Fold.NONE.value,
    "min": "0",
    "standing": "0",
    "collection": DEFAULT,
}
# With these alone nothing is asked for yet.
SETTING = {"collection", "namespace", "k", "mode", "fold", "min", "standing", "weights", "by"}


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture to search with; `kept` is it as the form carries it on, if it came that way."""

    body: bytes
    kept: str = ""


def tidied(given: Values) -> Values:
    """What an address or a form asks for, in the order of `NAMES`: without what is empty, off or dropped by a button.

    An address in the box is a picture's.
    """
    dropped = given.get("drop", "")
    pairs = [(name, _cleaned(name, value)) for name in NAMES for value in _of(given, name)]
    pairs = [(name, value) for name, value in pairs if value and not _is_dropped(name, value, dropped)]
    if all(name != "saved" for name, _ in pairs):
        pairs = [(name, value) for name, value in pairs if OFF.get(name) != value]
    values = Values(pairs)
    if ADDRESS.fullmatch(values.get("q", "")):
        values["image_url"] = values.pop("q")
        return tidied(values)
    return values


def picture_of(request: Request) -> Picture | None:
    """The picture to search with: the one that was chosen, else the one that the form keeps of the last search.

    Raises:
        BadRequest: it is not one.
    """
    if body := uploaded(request):
        return Picture(body)
    kept = request.form.get("picture", "") if request.form.get("drop") != "picture" else ""
    try:
        return Picture(b64decode(kept, validate=True), kept) if kept else None
    except ValueError as error:
        raise BadRequest("image: the picture of the last search came back broken; choose it again", "image") from error


def opened(values: Values, load: Callable[[str], SearchRequest]) -> Values:
    """The values with those of the saved search that they name, which the other values go before.

    Raises:
        NotFound: there is no such saved search.
    """
    if "saved" not in values:
        return values
    request = load(values["saved"])
    below = values_of(request)
    if request.vector:
        below["vector_of"] = values["saved"]
    given = {name: each for name, each in values.lists() if name != "saved"}
    return tidied(Values(dict(below.lists()) | given))


def from_page(
    values: Values, picture: Picture | None = None, vector: Sequence[float] | None = None
) -> SearchRequest | None:
    """What tidied and opened values ask for, or None for the first view; `vector` is the one of `vector_of`.

    Raises:
        BadRequest: naming the field that does not fit.
    """
    if not picture and set(values) <= SETTING:
        return None
    fields: dict[str, Any] = {
        "collection": values.get("collection"),
        "text": values.get("q"),
        "image": picture.body if picture else None,
        "image_url": values.get("image_url"),
        "like": values.getlist("like"),
        "not_text": values.get("not"),
        "unlike": values.getlist("unlike"),
        "vector": vector,
        "weights": read_weights(values.get("weights", "")),
        "criterion": values.get("by"),
        "keywords": values.get("words"),
        "filter": _filter(values),
        "namespace": values.get("namespace"),
        "top_k": _top_k(values.get("k", "")),
        "min_score": _percent(values, "min", "similarity at least", divisor=100),
        "min_percentile": _percent(values, "standing", "better match than"),
        "mode": values.get("mode"),
        "fold": values.get("fold"),
        "cursor": values.get("after"),
    }
    if not any(fields[name] for name in ("text", "image", "image_url", "like", "vector", "cursor")):
        raise BadRequest("say what to search for: words, a picture, or more like a picture that is here", "q")
    asked = parse_request({name: value for name, value in fields.items() if value not in (None, [], {})})
    # The cursor knows what was searched, a picture included, which no address holds.
    return parse_request({"cursor": asked.cursor}) if asked.cursor else asked


def values_of(request: SearchRequest) -> Values:
    """The values with which the page asks for this; its picture's bytes and its vector have no place there."""
    top_k = request.top_k if request.top_k not in (DEFAULT_TOP_K, PAGE_TOP_K) else 0
    values: dict[str, Any] = {
        "q": request.text,
        "not": request.not_text,
        "image_url": request.image_url,
        "like": list(request.like),
        "unlike": list(request.unlike),
        "weights": weights_line(request.weights),
        "by": request.criterion.value,
        "words": request.keywords,
        "min": _in_percent(request.min_score, factor=100),
        "standing": _in_percent(request.min_percentile),
        "k": str(top_k) if 0 < top_k <= PAGE_MAX_TOP_K else "",
        "mode": request.mode.value,
        "fold": request.fold.value,
        "collection": request.collection,
        "namespace": request.namespace,
        **_filter_values(request.filter),
    }
    return tidied(Values({name: value for name, value in values.items() if value}))


def _of(given: Values, name: str) -> list[str]:
    return list(dict.fromkeys(given.getlist(name))) if name in LISTS else given.getlist(name)[:1]


def _cleaned(name: str, value: str) -> str:
    if name in LISTS:
        return value  # a key is what it is, spaces and all
    return value.strip().removesuffix("%").strip() if name in ("min", "standing") else value.strip()


def _is_dropped(name: str, value: str, dropped: str) -> bool:
    return dropped in (name, f"{name}:{value}") or (dropped == "threshold" and name in ("min", "standing"))


def _filter(values: Values) -> Any:
    """The filter of its own field and of the simple fields beside it, all of which must hold."""
    simple: dict[str, Any] = {}
    if host := values.get("host"):
        simple["host"] = host
    if width := values.get("width"):
        simple["width"] = {"$gte": _whole(width, "width at least (width)", "width", 0, 1_000_000)}
    if words := values.get("caption"):
        simple["caption"] = {"$match": words}
    if "where" not in values:
        return simple
    where = parse_json(values["where"], "the filter", "filter")
    if not isinstance(where, dict) or not simple:
        return where
    return {"$and": [where, simple]} if where.keys() & simple.keys() else where | simple


def _filter_values(conditions: dict[str, Any]) -> dict[str, str]:
    """A filter as the fields show it: what the simple ones can say, and the rest as JSON."""
    match conditions:
        case {"host": str(host), **rest}:
            return {"host": host} | _filter_values(rest)
        case {"width": {"$gte": int(width), **more}, **rest} if not more:
            return {"width": str(width)} | _filter_values(rest)
        case {"caption": {"$match": str(words), **more}, **rest} if not more:
            return {"caption": words} | _filter_values(rest)
    return {"where": json.dumps(conditions, ensure_ascii=False)} if conditions else {}


def _top_k(text: str) -> int:
    return _whole(text, "pictures a page (k)", "k", 1, PAGE_MAX_TOP_K) if text else PAGE_TOP_K


def _whole(text: str, label: str, field: str, least: int, most: int) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
        raise BadRequest(f"{label}: a whole number from {least} to {most:,} is needed, not {text[:40]!r}", field)
    return int(text)


def _percent(values: Values, name: str, label: str, divisor: int = 1) -> float | None:
    text = values.get(name)
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,6})?", text) or float(text) > 100:
        raise BadRequest(f"{label} ({name}): a number from 0 to 100 is needed, not {text[:40]!r}", name)
    return float(text) / divisor


def _in_percent(number: float | None, factor: int = 1) -> str:
    return f"{round(number * factor, 6):.6g}" if number and number > 0 else ""
