"""What autogenerate and the test of the models compare."""

from __future__ import annotations

import re
from typing import Any

from clipgres.schema import SCHEMA

COLLECTION_TABLE = re.compile(r"^(item|caption)_\d+$")


def belongs_to_us(thing: Any, name: str | None, kind: str, _reflected: bool, _compare_to: Any) -> bool:
    """Whether it is compared: only schema `clipgres`, without the tables of collections, which come and go."""
    if kind == "table":
        return thing.schema == SCHEMA and not COLLECTION_TABLE.match(name or "")
    return True
