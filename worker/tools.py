"""What the pipeline works with, made once a process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Engine

from clipgres.decoding.pool import Decoders
from clipgres.fetching import Fetched
from clipgres.settings import Settings
from worker.breaker import Breaker
from worker.network import Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """The collaborators of a pipeline; `fetch` raises ImageErrors alone."""

    engine: Engine
    fetch: Callable[[str], Fetched]
    decoders: Decoders
    network: Network
    breaker: Breaker
    settings: Settings
