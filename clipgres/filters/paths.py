"""Paths into an item's metadata: how a filter writes one, and the JSON path by which PostgreSQL tests what is there."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from clipgres.filters.values import like_one_of, plain_text, refuse

PREFIX = "metadata."
MAX_SEGMENTS = 16
# A number is a key or a place in a list: each doubles the ways to go.
MAX_NUMBERS = 3

SEGMENT = re.compile(r'"((?:[^"\\]|\\.)*)"|([^."][^.]*)', re.DOTALL)
NUMBER = re.compile(r"0|[1-9][0-9]{0,8}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Segment:
    """One step: a key of an object or, unquoted and a number, a place in a list as well."""

    key: str
    is_quoted: bool = False

    @property
    def steps(self) -> tuple[str, ...]:
        """The ways to take it, as a JSON path writes them."""
        by_key = f".{quoted(self.key)}"
        return (by_key,) if self.is_quoted or not NUMBER.fullmatch(self.key) else (by_key, f"[{self.key}]")


def metadata_path(name: str, columns: tuple[str, ...]) -> Sequence[Segment]:
    """The path that a name in a filter stands for; one that is nearly a column's is taken for a slip.

    Raises:
        BadRequest: it is nearly a column's, or as `parse_path`.
    """
    if name.startswith(PREFIX):
        return parse_path(name.removeprefix(PREFIX))
    path = parse_path(name)
    column = like_one_of(name, columns) if len(path) == 1 and not path[0].is_quoted else None
    if column:
        refuse(f'there is no column "{name[:40]}"; did you mean {column}? {PREFIX}{name[:40]} is metadata')
    return path


def parse_path(name: str) -> Sequence[Segment]:
    """The segments of `author.name`, `tags.0` or `"a.b".c`.

    Raises:
        BadRequest: an empty segment, a quote that does not end, or too many segments.
    """
    segments, position = [], 0
    while True:
        match = SEGMENT.match(name, position)
        if match is None:
            refuse(f'"{name[:60]}": a part of the path is empty or its quote does not end; a key with dots is "quoted"')
        segments.append(_segment(name, match))
        position = match.end()
        if position == len(name):
            break
        if name[position] != ".":
            refuse(f'"{name[:60]}": after a quoted part comes a dot or the end')
        position += 1
    if len(segments) > MAX_SEGMENTS or sum(len(segment.steps) > 1 for segment in segments) > MAX_NUMBERS:
        refuse(f'"{name[:60]}": a path has at most {MAX_SEGMENTS} parts, of which {MAX_NUMBERS} are numbers')
    return segments


def _segment(name: str, match: re.Match[str]) -> Segment:
    inside = match.group(1)
    if inside is None:
        return Segment(match.group(2))
    try:
        key = json.loads(f'"{inside}"', strict=False)
    except ValueError:
        refuse(f'"{name[:60]}": what is quoted is written as in JSON: \\" for a quote, \\\\ for a backslash')
    return Segment(plain_text(key, f'"{name[:60]}"'), is_quoted=True)


def json_path(segments: Sequence[Segment], test: str) -> str:
    """The JSON path that finds something where a value at the end of the path passes the test, which calls it `@`.

    Its mode is lax: lists are looked into at every step, and a single value is a list of one.
    """
    ways = ["$" + "".join(steps) for steps in itertools.product(*(segment.steps for segment in segments))]
    if len(ways) == 1:
        return f"{ways[0]} ? ({test})"
    return "$ ? (" + " || ".join(f"exists({way} ? ({test}))" for way in ways) + ")"


def quoted(value: str | float | bool) -> str:
    """A value as a JSON path writes it; texts are escaped as in JSON, and so is all that could end them."""
    return json.dumps(value)
