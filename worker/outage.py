"""One log line when a server goes away and one when it is back, however often it is asked in between."""

from __future__ import annotations

from dataclasses import dataclass
from logging import Logger


@dataclass(slots=True)
class Outage:
    """Whether `what` is away just now, as far as the log was told."""

    log: Logger
    what: str
    is_on: bool = False

    def begin(self, cause: object) -> None:
        """Note that it does not answer."""
        if not self.is_on:
            self.log.warning("%s is away: %s", self.what, cause)
        self.is_on = True

    def end(self) -> None:
        """Note that it answers."""
        if self.is_on:
            self.log.warning("%s is back", self.what)
        self.is_on = False
