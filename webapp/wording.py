"""The filters of the templates: what `clipgres.wording` says, and what only a page needs."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import Flask
from markupsafe import Markup, escape

from clipgres.index import IndexState
from clipgres.wording import count, duration, many, percent, plan_line, size, standing


def add_filters(app: Flask) -> None:
    """Let the templates use them."""
    for function in (
        count,
        duration,
        index_line,
        many,
        percent,
        plan_line,
        size,
        standing,
        moment,
        sentence,
        web_address,
        with_code,
    ):
        app.add_template_filter(function)


def index_line(index: IndexState) -> str:
    """How an index stands: HNSW, 4.2 MB."""
    if index.is_building:
        return "being built"
    if not index.is_there:
        return "none; searched exactly"
    return f"HNSW, {size(index.bytes)}" if index.is_valid else "broken; searched exactly"


def moment(time: datetime) -> str:
    """A time in words: 24 Nov 2026, 20:41 UTC."""
    return f"{time.astimezone(UTC):%-d %b %Y, %H:%M} UTC"


def sentence(text: str) -> str:
    """A message of ours as a sentence: a capital first, but not of a file's name, and a full stop last."""
    begun = text if text.startswith("robots.txt") else text[:1].upper() + text[1:]
    return begun + ("" if text.endswith((".", "!", "?", ":")) else ".")


def web_address(url: str | None) -> str | None:
    """The URL when a link may lead there: http and https alone."""
    return url if url and url.lower().startswith(("http://", "https://")) else None


def with_code(text: str) -> Markup:
    """Text in which `this` is code."""
    code = Markup("<code>{}</code>")
    parts = text.split("`")
    return Markup("").join(code.format(part) if place % 2 else escape(part) for place, part in enumerate(parts))
