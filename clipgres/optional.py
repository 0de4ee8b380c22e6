"""Libraries that only some people need, imported when they are used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from clipgres.errors import SetupError


def optional(name: str, *, extra: str) -> Any:
    """Import a module of an extra.

    Raises:
        SetupError: it is not installed; names the command that installs it.
    """
    try:
        return import_module(name)
    except ImportError as error:
        library = name.partition(".")[0]
        raise SetupError(f'{library} is not installed; it comes with: pip install "clipgres[{extra}]"') from error
