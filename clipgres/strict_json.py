"""JSON from outside: no NaN, no Infinity, no name twice in one object, and no deeper than anything of ours is."""

from __future__ import annotations

import json
from typing import Any

from clipgres.errors import BadRequest

MAX_LEVELS = 100


class _Twice(Exception):
    """A name stands twice in one object."""


def parse_json(text: str | bytes, name: str, field: str | None = None) -> Any:
    """Parse JSON; `name` is what the message calls it.

    Raises:
        BadRequest: it is not JSON, it is deeper than `MAX_LEVELS`, or an object has a name twice.
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_object)
    except RecursionError as error:
        raise _too_deep(name, field) from error
    except _Twice as error:
        raise BadRequest(f"{name} has {error} twice in one object; only the last would count", field) from error
    except ValueError as error:
        raise BadRequest(f"{name} is not JSON: {error}", field) from error
    if _is_deeper(value, MAX_LEVELS):
        raise _too_deep(name, field)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _Twice(json.dumps(name[:60]))
        found[name] = value
    return found


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
