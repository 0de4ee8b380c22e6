"""The filter language: JSON conditions on columns, captions and metadata, compiled to one SQL condition.

`{"width": {"$gte": 640}, "host": {"$in": ["a.org", "b.org"]}, "caption": {"$match": "dog -cat"}, "author.born": 1957}`

- All entries of an object must hold; `$and`, `$or` take a list of filters, `$not` one. A bare value means `$eq`.
- A name that is no column is a path into the item's metadata, such as `author.name`, `tags.0` or `"a.b".c`; after
  `metadata.` any name is one. A list matches when one of its entries does, and captions when one of them does.
- What is missing (or null, or an empty list) equals nothing and is neither above nor below anything, so `$ne`, `$nin`
  and `$not` hold for it and the others do not; `$exists` asks for it.
- Numbers compare with numbers, texts with texts, times (ISO 8601; UTC unless they say otherwise) with times.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from clipgres.filters.paths import Segment, json_path, metadata_path, quoted
from clipgres.filters.values import (
    Kind,
    column_value,
    is_searchable,
    nearest,
    ordered_value,
    plain_text,
    refuse,
    scalar,
    shown,
)
from clipgres.schema.states import ImageState

MAX_DEPTH = 8
MAX_CONDITIONS = 200
MAX_LIST = 1_000


@dataclass(frozen=True, slots=True)
class Condition:
    """A boolean SQL expression over `i`, a collection's item table, and `im`, clipgres.image joined to it."""

    sql: str = "true"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    joins: bool = False
    """It reads other tables than that of the items: in which order is for the planner to say, by the values."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column that a filter may name."""

    sql: str
    kind: Kind
    values: tuple[str, ...] = ()
    """All that it can hold, where these are few."""


COLUMNS: Mapping[str, Column] = {
    "key": Column("i.key", Kind.TEXT),
    "namespace": Column("i.namespace", Kind.TEXT),
    "url": Column("im.url", Kind.TEXT),
    "host": Column("im.host", Kind.TEXT),
    "width": Column("im.width", Kind.NUMBER),
    "height": Column("im.height", Kind.NUMBER),
    "aspect": Column("im.width / nullif(im.height, 0)::float8", Kind.NUMBER),
    "bytes": Column("im.bytes", Kind.NUMBER),
    "content_type": Column("im.content_type", Kind.TEXT),
    "status": Column("im.state", Kind.TEXT, tuple(ImageState)),
    "created_at": Column("i.created_at", Kind.TIME),
    "first_seen_alive": Column("im.first_seen_alive", Kind.TIME),
    "last_seen_alive": Column("im.last_seen_alive", Kind.TIME),
}

ORDER = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
FIELD_OPERATORS = ("$eq", "$ne", *ORDER, "$in", "$nin", "$exists", "$not")
CAPTION_OPERATORS = ("$match", "$contains", "$exists", "$not")
LOGIC = ("$and", "$or", "$not")

CAPTION = "caption"
CAPTION_EXISTS = "EXISTS (SELECT FROM clipgres.caption c WHERE c.image_id = i.image_id{also})"
CAPTION_MATCHES = " AND c.tsv @@ websearch_to_tsquery('english'::regconfig, :{value})"
CAPTION_CONTAINS = " AND strpos(lower(c.text), lower(:{value})) > 0"

# The GIN index on metadata serves equality alone. IS TRUE keeps the rest from it: a plan for any value would read all
# of it. A JSON path compares like with like only, and looks into lists.
METADATA_LOOKUP = "i.metadata @? CAST(:{path} AS jsonpath)"
METADATA_TEST = f"({METADATA_LOOKUP}) IS TRUE"


def compile_filter(conditions: Mapping[str, Any]) -> Condition:
    """Compile a filter; every value of it becomes a bound parameter.

    Raises:
        BadRequest: an unknown operator (with the nearest), a value of the wrong type, or too much of anything.
    """
    compiler = _Compiler()
    sql = compiler.filter(conditions, depth=1) if conditions else "true"
    return Condition(sql, compiler.parameters, compiler.joins)


class _Compiler:
    """One compilation: the parameters so far, and how many conditions there were."""

    def __init__(self) -> None:
        self.parameters: dict[str, Any] = {}
        self.joins = False
        self._conditions = 0

    def filter(self, node: object, depth: int) -> str:
        if not isinstance(node, Mapping) or not node:
            refuse("a filter is an object of conditions that is not empty")
        self._check_depth(depth)
        return _joined(" AND ", [self._entry(plain_text(name, "a name"), value, depth) for name, value in node.items()])

    def _entry(self, name: str, value: object, depth: int) -> str:
        if name in ("$and", "$or"):
            if not isinstance(value, list | tuple) or not value:
                refuse(f"{name} takes a list of filters that is not empty")
            return _joined(f" {name[1:].upper()} ", [self.filter(part, depth + 1) for part in value])
        if name == "$not":
            return _negated(self.filter(value, depth + 1))
        if name.startswith("$"):
            refuse(f'there is no operator "{name[:40]}" here{nearest(name, LOGIC)}')
        return self._field(name, value, depth)

    def _field(self, name: str, value: object, depth: int) -> str:
        """The conditions on one field, all of which must hold."""
        self._check_depth(depth)
        if not isinstance(value, Mapping):
            value = {"$eq": value}
        if not value:
            refuse(f"{name}: an operator is missing, as in {{{json.dumps(name)}: {{$exists: true}}}}")
        operators = CAPTION_OPERATORS if name == CAPTION else FIELD_OPERATORS
        compile_one = self._leaf_of(name)
        parts = []
        for operator, operand in value.items():
            if operator not in operators:
                refuse(_unknown_operator(name, operator, operators))
            if operator == "$not":
                if not isinstance(operand, Mapping):
                    refuse(f"{name}: $not takes an object of operators")
                parts.append(_negated(self._field(name, operand, depth + 1)))
            else:
                self._count()
                parts.append(compile_one(name, operator, operand))
        return _joined(" AND ", parts)

    def _leaf_of(self, name: str) -> Callable[[str, str, object], str]:
        if name == CAPTION:
            self.joins = True
            return self._caption
        if name in COLUMNS:
            self.joins |= COLUMNS[name].sql.startswith("im.")
            return self._column
        path = metadata_path(name, (*COLUMNS, CAPTION))
        return lambda name, operator, operand: self._metadata(path, f"{name}: {operator}", operator, operand)

    def _column(self, name: str, operator: str, operand: object) -> str:
        column = COLUMNS[name]
        where = f"{name}: {operator}"
        if operator == "$exists":
            return _exists(f"{column.sql} IS NOT NULL", operand, where)
        if operator in ORDER:
            value = self._bind(column_value(operand, column.kind, where))
            return f"{column.sql} {ORDER[operator]} CAST(:{value} AS {column.kind.value})"
        entries = [column_value(entry, column.kind, where) for entry in _entries(operator, operand, where)]
        for entry in entries if column.values else ():
            if entry not in column.values:
                refuse(f"{where} takes one of {', '.join(column.values)}, not {shown(entry)}")
        return _maybe_negated(f"{column.sql} = ANY (CAST(:{self._bind(entries)} AS {column.kind.value}[]))", operator)

    def _metadata(self, path: Sequence[Segment], where: str, operator: str, operand: object) -> str:
        if operator == "$exists":
            return _exists(self._test(METADATA_TEST, path, "@ != null"), operand, where)
        if operator in ORDER:
            test = f"@ {ORDER[operator]} {quoted(ordered_value(operand, where))}"
            return self._test(METADATA_TEST, path, test)
        entries = [scalar(entry, where) for entry in _entries(operator, operand, where)]
        tests = " || ".join(f"@ == {quoted(entry)}" for entry in entries)
        return _maybe_negated(self._test(METADATA_LOOKUP, path, tests) if tests else "false", operator)

    def _test(self, template: str, path: Sequence[Segment], test: str) -> str:
        return template.format(path=self._bind(json_path(path, test)))

    def _caption(self, _name: str, operator: str, operand: object) -> str:
        where = f"caption: {operator}"
        if operator == "$exists":
            return _exists(CAPTION_EXISTS.format(also=""), operand, where)
        value, test = plain_text(operand, where), CAPTION_CONTAINS
        if operator == "$match":
            test = CAPTION_MATCHES
            if not is_searchable(value):
                refuse(f"{where}: more than 20 minus signs in a row")
        return CAPTION_EXISTS.format(also=test.format(value=self._bind(value)))

    def _bind(self, value: object) -> str:
        name = f"filter_{len(self.parameters)}"
        self.parameters[name] = value
        return name

    def _count(self) -> None:
        self._conditions += 1
        if self._conditions > MAX_CONDITIONS:
            refuse(f"more than {MAX_CONDITIONS} conditions; $in takes a list of up to {MAX_LIST:,} values")

    @staticmethod
    def _check_depth(depth: int) -> None:
        if depth > MAX_DEPTH:
            refuse(f"more than {MAX_DEPTH} levels")


def _joined(word: str, parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else "(" + word.join(parts) + ")"


def _negated(sql: str) -> str:
    """Unlike NOT, this holds where the value is missing."""
    return f"({sql}) IS NOT TRUE"


def _maybe_negated(sql: str, operator: str) -> str:
    return _negated(sql) if operator in ("$ne", "$nin") else sql


def _exists(sql: str, wanted: object, where: str) -> str:
    if not isinstance(wanted, bool):
        refuse(f"{where} takes true or false, not {shown(wanted)}")
    return sql if wanted else _negated(sql)


def _entries(operator: str, operand: object, where: str) -> list[object]:
    """The values that an equality may have: one, or those of $in and $nin."""
    if operator not in ("$in", "$nin"):
        return [operand]
    if not isinstance(operand, list | tuple):
        refuse(f"{where} takes a list, not {shown(operand)}")
    if len(operand) > MAX_LIST:
        refuse(f"{where}: more than {MAX_LIST:,} values")
    return list(operand)


def _unknown_operator(name: str, operator: object, operators: tuple[str, ...]) -> str:
    if not isinstance(operator, str) or not operator.startswith("$"):
        hint = f"; a value inside is named {name}.NAME" if isinstance(operator, str) and name not in COLUMNS else ""
        return f"{name}: an operator is expected, not {shown(operator)}; they are {', '.join(operators)}{hint}"
    if name == CAPTION and operator in FIELD_OPERATORS:
        return "caption takes words, as in {$match: dog -cat}, or a part of its text, as in {$contains: a dog}"
    return f'{name}: there is no operator "{operator[:40]}"{nearest(operator, operators)}'
