"""JSON from outside, as the standard has it: no NaN and no Infinity, and no deeper than anything of ours is."""

from __future__ import annotations

import json
from typing import Any

from clipgres.errors import BadRequest

MAX_LEVELS = 100


def parse_json(text: str | bytes, name: str, field: str | None = None) -> Any:
    """Parse JSON; `name` is what the message calls it.

    Raises:
        BadRequest: it is not JSON, or it is deeper than `MAX_LEVELS`.
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise _too_deep(name, field) from error
    except ValueError as error:
        raise BadRequest(f"{name} is not JSON: {error}", field) from error
    if _is_deeper(value, MAX_LEVELS):
        raise _too_deep(name, field)
    return value


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"it has no {constant}")


def _too_deep(name: str, field: str | None) -> BadRequest:
    return BadRequest(f"{name} is JSON of more than {MAX_LEVELS} levels", field)


def _is_deeper(value: object, levels: int) -> bool:
    """Look at one level after the other, without recursion."""
    nodes = [value]
    for _ in range(levels):
        nodes = [child for node in nodes if isinstance(node, dict | list) for child in _children(node)]
    return bool(nodes)


def _children(node: dict[str, Any] | list[Any]) -> list[Any]:
    return list(node.values()) if isinstance(node, dict) else node
