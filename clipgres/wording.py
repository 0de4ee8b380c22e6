"""Numbers and plans as people read them, the same on the page and in a terminal."""

from __future__ import annotations

from clipgres.answer import Answer, Plan, in_percent

METHODS = {
    "exact": "Exact search over",
    "exact on filter": "Exact search over",
    "index": "Index search over",
    "index, then exact": "Index search, finished by an exact one, over",
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


def plan_line(plan: Plan) -> str:
    """How an answer was found: Exact search over 1,034 pictures, 4 ms."""
    about = "" if plan.matched_is_exact else "about "
    over = "the collection" if plan.matched is None else f"{about}{many(plan.matched, 'picture')}"
    line = f"{METHODS.get(plan.method, plan.method)} {over}, {_milliseconds(plan.took_ms)}"
    if plan.method.startswith("index"):
        line += f"; asked for {plan.asked:,}, found {plan.found:,}"
    if plan.capped:
        line += "; a limit ended the scan, so closer pictures may be missing"
    if plan.text_was_cut:
        line += "; the text is longer than the model reads, its end did not count"
    return line


def answer_line(answer: Answer) -> str:
    """The plan, and what the threshold hid."""
    hidden = f"; {many(answer.hidden, 'hit')} below the threshold hidden" if answer.hidden else ""
    return plan_line(answer.plan) + hidden


def printable(text: str) -> str:
    """Text of strangers, with every character replaced that could move a cursor."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


def _milliseconds(took_ms: float) -> str:
    return f"{took_ms:.0f} ms" if took_ms >= 1 else "under 1 ms"
