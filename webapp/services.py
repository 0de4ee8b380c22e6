"""What the views call: made once by the application factory, the same for every request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from flask import current_app
from redis import Redis
from sqlalchemy import Engine

from clipgres.encoders import Encoders
from clipgres.search import Searcher
from clipgres.settings import Settings

NAME = "clipgres"


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The collaborators of one application."""

    settings: Settings
    engine: Engine
    redis: Redis
    encoders: Encoders
    searcher: Searcher


def services() -> Services:
    """The collaborators of the application that handles this request."""
    return cast(Services, current_app.extensions[NAME])
