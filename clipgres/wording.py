"""Numbers and plans as people read them, the same on the page and in a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from clipgres.answer import Answer, Plan, in_percent
from clipgres.errors import BadRequest
from clipgres.reasons import Reason
from clipgres.request import Criterion, Weights

METHODS = {
    "exact": "Exact search over",
    "exact on filter": "Exact search over",
    "index": "Index search over",
    "index, then exact": "Index search, finished by an exact one, over",
    "fused": "Several rankings in one over",
    "page": "A further page of the search over",
}


def count(number: int) -> str:
    """15833 as 15,833."""
    return f"{number:,}"


def many(number: int, noun: str) -> str:
    """A number with its noun: 1 picture, 15,833 pictures, 3 batches."""
    if number == 1:
        return f"1 {noun}"
    return f"{number:,} {noun}{'es' if noun.endswith(('ch', 's')) else 's'}"


def size(number: float) -> str:
    """Bytes as 4.2 MB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1_000:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1_000
    return f"{number:.1f} TB"


def duration(seconds: float) -> str:
    """Seconds as 8 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3_600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3_600} h {whole % 3_600 // 60} min"


def percent(score: float) -> str:
    """A cosine similarity of 0.314 as 31 %; nothing is below 0."""
    return f"{in_percent(score)} %"


def standing(percentile: float) -> str:
    """The share of the collection that a hit surpasses, rounded down, finer where it matters: 47 %, 98.6 %, 99.97 %."""
    digits = sum(percentile >= bound for bound in (90, 99.9))
    return f"{math.floor(min(percentile, 99.99) * 10**digits + 1e-9) / 10**digits:g} %"


def weights_line(weights: Weights) -> str:
    """The weights that were given: text=2, like=0.5."""
    return ", ".join(f"{name}={weight:g}" for name, weight in weights.model_dump(exclude_defaults=True).items())


def read_weights(line: str) -> dict[str, str]:
    """The weights that a person wrote as text=2, like=0.5; whether they fit is for the request to say.

    Raises:
        BadRequest: it is not written like that.
    """
    pairs = [part.partition("=") for part in line.split(",") if part.strip()]
    names = [name.strip() for name, _, _ in pairs]
    if not all(sign and name.strip() and number.strip() for name, sign, number in pairs):
        raise BadRequest(f"weights: write them as text=2,like=0.5, not {line[:60]!r}", "weights")
    if twice := [name for name in names if names.count(name) > 1]:
        raise BadRequest(f"weights: {twice[0][:60]} is given twice", "weights")
    return {name: number.strip() for name, (_, _, number) in zip(names, pairs, strict=True)}


def plan_line(plan: Plan) -> str:
    """How hits were found, and how many of what."""
    about = "" if plan.matched_is_exact else "about "
    over = "the collection" if plan.matched is None else f"{about}{many(plan.matched, 'picture')}"
    if plan.criterion == Criterion.TEXT:
        over = f"the captions of {over}"
    how = f"Ranked by {listed(plan.fused)} over" if plan.fused else METHODS.get(plan.method, plan.method)
    line = f"{how} {over}, {_milliseconds(plan.took_ms)}"
    if plan.method.startswith("index"):
        line += f"; asked for {plan.asked:,}, found {plan.found:,}"
    if plan.folded:
        line += f"; {many(plan.folded, 'duplicate')} folded"
    if plan.capped:
        line += "; a limit ended the scan, so closer pictures may be missing"
    if plan.text_was_cut:
        line += "; the text is longer than the model reads, its end did not count"
    return line


def answer_line(answer: Answer) -> str:
    """The plan, and what the threshold hid."""
    hidden = f"; {many(answer.hidden, 'hit')} below the threshold hidden" if answer.hidden else ""
    return plan_line(answer.plan) + hidden


def reasons_line(reasons: Mapping[Reason, int]) -> str:
    """How many pictures failed for which reason: 4 not_found, 1 gone."""
    return ", ".join(f"{count(images)} {reason}" for reason, images in reasons.items())


def listed(names: Sequence[str]) -> str:
    """Names in a sentence: pictures, captions and keywords."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _milliseconds(took_ms: float) -> str:
    return f"{took_ms:.0f} ms" if took_ms >= 1 else "under 1 ms"
