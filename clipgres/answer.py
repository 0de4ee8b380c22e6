"""What a search answers: hits, and the truth about how they were found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import quote


def in_percent(score: float) -> int:
    """A cosine similarity as people see it: 0.31 is 31 %, and nothing is below 0."""
    return max(0, round(score * 100))


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One item found; `score` is the cosine similarity, -1 to 1."""

    key: str
    score: float
    url: str | None
    caption: str | None
    captions: Sequence[str]
    width: int | None
    height: int | None
    host: str | None
    metadata: Mapping[str, Any]
    image_id: int | None
    has_thumbnail: bool
    percentile: float | None = None
    """How much of the collection it surpasses in similarity to this query, in percent; none: too little to tell by."""
    alive: bool | None = None
    """Whether the original was there when it was last looked at; none: an item without one."""
    duplicates: int = 0
    """How many others of its group there are, where the search folds groups into one hit; what a filter leaves out
    counts."""

    @property
    def percent(self) -> int:
        """The similarity as people see it."""
        return in_percent(self.score)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How the hits were found, how many were asked for and found, and what was left undone."""

    method: str
    """`exact`, `exact on filter`, `index`, `index, then exact` when the index came back short, `fused`, or `page`.

    A `page` is a part of a ranking that was made for the second page; `index` is then what that ranking used.
    """
    index: str | None
    asked: int
    found: int
    matched: int | None
    """How many rows the filter (or, without one, the collection) has; none: not counted."""
    matched_is_exact: bool
    ef_search: int | None
    capped: bool
    """A limit ended the scan: there may be closer rows that are not here."""
    took_ms: float
    criterion: str = "image"
    """What the query was compared with: `image`, `text` (the best caption of each picture) or `both`."""
    fused: Sequence[str] = ()
    """The rankings that were fused into one, if several: `pictures`, `captions`, `keywords`."""
    text_was_cut: bool = False
    """The text is longer than the model reads: its end did not count."""
    folded: int = 0
    """How many rows were passed over since one of their group stands before them; on a `page`, in its whole ranking."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The hits, best first; `hidden` were found, but below `min_score` or `min_percentile`."""

    collection: str
    hits: Sequence[Hit]
    plan: Plan
    hidden: int = 0
    namespace: str = ""
    next: str | None = None
    """The cursor of the next page, if there is one."""

    def to_dict(self) -> dict[str, Any]:
        """The answer as JSON has it, the same from every door."""
        return {
            "hits": [hit_to_dict(hit, self.collection, self.namespace) for hit in self.hits],
            "plan": asdict(self.plan),
            "hidden": self.hidden,
            "next": self.next,
        }


def hit_to_dict(hit: Hit, collection: str, namespace: str = "") -> dict[str, Any]:
    """One hit as JSON has it, with the paths of its thumbnail and page."""
    fields = asdict(hit)
    image_id, has_thumbnail = fields.pop("image_id"), fields.pop("has_thumbnail")
    where = f"?namespace={quote(namespace, safe='')}" if namespace else ""
    return fields | {
        "thumbnail": f"/thumbnails/{image_id}" if has_thumbnail else None,
        "page": f"/items/{collection}/{quote(hit.key, safe='')}{where}",
    }
