"""`clipgres search`: a query by text, picture or item, answered as a table, JSON or a grid of pictures."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from clipgres import saved
from clipgres.answer import Answer
from clipgres.cli.output import note, print_json, stdout, table
from clipgres.cli.tools import Tools
from clipgres.errors import BadRequest
from clipgres.hits import Hits
from clipgres.request import DEFAULT_TOP_K, MAX_TOP_K, Criterion, Fold, Mode, parse_request
from clipgres.strict_json import parse_json
from clipgres.wording import answer_line, percent, read_weights, standing

POSITIVE = ("text", "image", "image_url", "like")


class Score(click.ParamType[float]):
    """A similarity: `60%`, or the cosine `0.6`."""

    name = "score"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the cosine."""
        text = str(value).strip()
        with suppress(ValueError):
            score = float(text[:-1]) / 100 if text.endswith("%") else float(text)
            if -1 <= score <= 1:
                return score
        self.fail(f"{value} is not a similarity: write 60% or 0.6", param, ctx)


class Percentile(click.ParamType[float]):
    """A share of the collection in percent: `99%`, or `99`."""

    name = "percentile"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the percentage."""
        with suppress(ValueError):
            share = float(str(value).strip().removesuffix("%"))
            if 0 <= share <= 100:
                return share
        self.fail(f"{value} is not a share of the collection: write 99 or 99.9%", param, ctx)


@click.command(short_help="Search by texts, pictures or items, or a mix.")
@click.argument("text", nargs=-1, metavar="[TEXT]")
@click.option("--not", "not_text", metavar="TEXT", help="What the pictures should not show.")
@click.option("--image", metavar="FILE|URL", help="A picture to search with.")
@click.option("--like", multiple=True, metavar="KEY", help="More like this item; may be given again.")
@click.option("--unlike", multiple=True, metavar="KEY", help="Less like this item; may be given again.")
@click.option("--weights", metavar="NAME=NUMBER,...", help="How much each part counts, e.g. text=2,like=0.5.")
@click.option(
    "--criterion",
    type=click.Choice([criterion.value for criterion in Criterion]),
    show_default="image",
    help="Compare with the pictures, with their captions (text), or with both.",
)
@click.option("--keywords", metavar="WORDS", help="Rank captions with these words higher, e.g. '\"two dogs\" -cat'.")
@click.option(
    "-k",
    "--top-k",
    show_default=str(DEFAULT_TOP_K),
    type=click.IntRange(1, MAX_TOP_K),
    metavar="COUNT",
    help=f"How many hits at most, up to {MAX_TOP_K:,}.",
)
@click.option("--collection", show_default="default", help="Where to search.")
@click.option("--namespace", help="The part of the collection to search.")
@click.option("--where", metavar="JSON", help='A filter, e.g. \'{"width": {"$gte": 640}}\'.')
@click.option("--min-score", type=Score(), metavar="60%", help="Hide hits below this similarity.")
@click.option(
    "--min-percentile", type=Percentile(), metavar="99%", help="Hide hits that surpass less of the collection."
)
@click.option(
    "--mode",
    type=click.Choice([mode.value for mode in Mode]),
    show_default="auto",
    help="How: exact looks at every picture, index at the likely ones, auto chooses.",
)
@click.option(
    "--fold",
    type=click.Choice([fold.value for fold in Fold]),
    show_default="none",
    help="Show one of pictures with the same url or bytes, or of those that look the same (near).",
)
@click.option("--cursor", metavar="CURSOR", help="The next page of an answer, as it says at its end.")
@click.option("--saved", "saved_as", metavar="NAME", help="A saved search; options given beside it go before its own.")
@click.option("--save", "save_as", metavar="NAME", help="Save this search; --saved NAME asks it again.")
@click.option("--replace", is_flag=True, help="With --save: replace the search of that name.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Write the hits as a grid of pictures.")
@click.pass_obj
def search(
    tools: Tools,
    /,
    text: tuple[str, ...],
    plot: Path | None,
    as_json: bool,
    saved_as: str | None,
    save_as: str | None,
    replace: bool,
    **options: Any,
) -> None:
    """Search by a text, a picture, or items; several are one mixed query.

    The match is the cosine similarity in percent; beside it stands how much of the collection a hit surpasses.
    Below the hits stands how they were found.

    \b
    clipgres search "two dogs on a beach"
    clipgres search --image sketch.png -k 5
    clipgres search --image https://example.org/dog.jpg
    clipgres search "on a blue background" --image car.jpg --not "a dog"
    clipgres search --like 42 --unlike 17 --where '{"host": "example.org"}'
    clipgres search "a red car" --like 42 --weights text=2,like=0.5
    clipgres search snow --criterion both --keywords '"polar bear" OR ice'
    clipgres search "a dog" --min-percentile 99% --save dogs
    clipgres search --saved dogs -k 50
    """
    words = " ".join(text)
    asked = _fields(text=words or None, **options)
    if not (saved_as or options["cursor"] or any(asked.get(name) for name in POSITIVE)):
        raise click.UsageError("say what to search for: a TEXT, --image FILE|URL, --like KEY, or --saved NAME")
    request = parse_request(_saved_fields(tools, saved_as) | asked)
    answer = tools.searcher.search(request)
    if save_as:
        saved.save(tools.engine, save_as, request, replace=replace)
        note(f"Saved: `clipgres search --saved {save_as}` asks it again.")
    if plot:
        Hits(answer, tools.engine, request).plot().savefig(plot)
        note(f"Wrote {plot}")
    if as_json:
        print_json(answer.to_dict())
        return
    _show(answer)
    if answer.plan.matched == 0 and not request.filter:
        note("There is nothing to search yet: `clipgres status` says what is on the way.")


def _saved_fields(tools: Tools, name: str | None) -> dict[str, Any]:
    return saved.load(tools.engine, name).model_dump(exclude_defaults=True) if name else {}


def _fields(
    *, text: str | None, image: str | None, where: str | None, weights: str | None, **others: Any
) -> dict[str, Any]:
    """Turn the options into the fields of a request; what was not given is left to the request's own defaults."""
    is_url = image is not None and "://" in image
    fields = {
        "text": text,
        "image_url": image if is_url else None,
        "image": _read(image) if image and not is_url else None,
        "filter": None if where is None else parse_json(where, "--where", "filter"),
        "weights": None if weights is None else read_weights(weights),
        **others,
    }
    return {name: value for name, value in fields.items() if value not in (None, ())}


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BadRequest(f"--image {path}: {reason}", "image") from error


def _show(answer: Answer) -> None:
    is_told = any(hit.percentile is not None for hit in answer.hits)
    is_folded = any(hit.duplicates for hit in answer.hits)
    columns = ["match", *(["stands above"] if is_told else []), *(["alike"] if is_folded else [])]
    columns += ["caption", "key", "url"]
    rows = []
    for hit in answer.hits:
        place = [standing(hit.percentile) if hit.percentile is not None else ""] if is_told else []
        alike = [f"+{hit.duplicates:,}" if hit.duplicates else ""] if is_folded else []
        rows.append([percent(hit.score), *place, *alike, hit.caption or "", hit.key, hit.url or ""])
    if rows:
        stdout().print(table(columns, rows, right=["match", "stands above", "alike"]))
    else:
        click.echo("Nothing found.")
    note(answer_line(answer))
    if answer.next:
        note(f"Next page: clipgres search --cursor {answer.next}")
