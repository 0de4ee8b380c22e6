"""`clipgres search`: a query by text, picture or item, answered as a table, JSON or a grid of pictures."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from clipgres.answer import Answer
from clipgres.cli.output import note, print_json, stdout, table
from clipgres.cli.tools import Tools
from clipgres.errors import BadRequest
from clipgres.hits import Hits
from clipgres.request import DEFAULT_TOP_K, MAX_TOP_K, Mode, parse_request
from clipgres.wording import answer_line, percent


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


@click.command()
@click.argument("text", nargs=-1, metavar="[TEXT]")
@click.option("--image", metavar="FILE|URL", help="A picture to search with.")
@click.option("--like", multiple=True, metavar="KEY", help="More like this item; may be given again.")
@click.option(
    "-k",
    "--top-k",
    default=DEFAULT_TOP_K,
    show_default=True,
    type=click.IntRange(1, MAX_TOP_K),
    metavar="COUNT",
    help="How many hits at most.",
)
@click.option("--collection", default="default", show_default=True, help="Where to search.")
@click.option("--where", metavar="JSON", help='A filter, e.g. \'{"width": {"$gte": 640}}\'.')
@click.option("--min-score", type=Score(), metavar="60%", help="Hide hits below this similarity.")
@click.option(
    "--mode",
    type=click.Choice([mode.value for mode in Mode]),
    default="auto",
    show_default=True,
    help="How: exact looks at every picture, index at the likely ones, auto chooses.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Write the hits as a grid of pictures.")
@click.pass_obj
def search(tools: Tools, /, text: tuple[str, ...], plot: Path | None, as_json: bool, **options: Any) -> None:
    """Search by a text, a picture, or items.

    The match is the cosine similarity in percent. Below the hits stands how they were found.

    \b
    clipgres search "two dogs on a beach"
    clipgres search --image sketch.png -k 5
    clipgres search --image https://example.org/dog.jpg
    clipgres search --like 42 --where '{"host": "example.org"}'
    clipgres search "a red car" --image car.jpg          both at once: one mixed query
    """
    words = " ".join(text)
    if not (words.strip() or options["image"] or options["like"]):
        raise click.UsageError("say what to search for: a TEXT, --image FILE|URL, or --like KEY")
    answer = tools.searcher.search(parse_request(_fields(text=words or None, **options)))
    if plot:
        Hits(answer, tools.engine).plot(title=words).savefig(plot)
        note(f"Wrote {plot}")
    if as_json:
        print_json(answer.to_dict())
        return
    _show(answer)
    if answer.plan.matched == 0 and not options["where"]:
        note("There is nothing to search yet: `clipgres status` says what is on the way.")


def _fields(
    *, text: str | None, image: str | None, where: str | None, like: tuple[str, ...], **others: Any
) -> dict[str, Any]:
    """Turn the options into the fields of a request; what was not given is left to the request's own defaults."""
    is_url = image is not None and "://" in image
    fields = {
        "text": text,
        "image_url": image if is_url else None,
        "image": _read(image) if image and not is_url else None,
        "filter": _parsed(where) if where else None,
        "like": list(like) or None,
        **others,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise BadRequest(f"--image {path}: {error.strerror}", "image") from error


def _parsed(where: str) -> Any:
    try:
        return json.loads(where)
    except ValueError as error:
        raise BadRequest(f"--where is not JSON: {error}", "filter") from error


def _show(answer: Answer) -> None:
    rows = [(percent(hit.score), hit.caption or "", hit.key, hit.url or "") for hit in answer.hits]
    if rows:
        stdout().print(table(["match", "caption", "key", "url"], rows, right=["match"]))
    else:
        click.echo("Nothing found.")
    note(answer_line(answer))
