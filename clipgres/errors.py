"""Every error clipgres raises on purpose, split by what the caller does next.

ClipgresError
├── UserError            one line says what to do; exit code 1, HTTP 4xx
│   ├── BadRequest       the input is wrong; names the field
│   ├── NotFound         a collection, item, batch or thumbnail that is not there
│   └── Conflict         it exists already, or something else is running
├── SetupError           the machine or its settings are wrong; refuse to start
│   ├── ModelError       weights that are missing, unsafe or of another space
│   │   └── DeviceLost   the model's device works again in a new process only
│   ├── SchemaError      a database too old, not migrated, or of another version
│   └── NotPermitted     the database does not let this login do it, or takes no writes
├── Unavailable          a server is away for now; HTTP 503, try again
└── ImageError           one URL or picture failed, for a reason of the closed list
    ├── PermanentImageError   record it, look again rarely
    │   └── HostGivenUp       its host fails again and again: recorded without being tried
    └── TransientImageError   try again later
"""

from __future__ import annotations

from clipgres.reasons import Reason


class ClipgresError(Exception):
    """The root: its text is one line fit to show to a person."""


class UserError(ClipgresError):
    """The person who asked can mend it."""


class BadRequest(UserError):
    """The input is wrong; `field` names the part of it that is."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class NotFound(UserError):
    """What was asked for is not there."""


class Conflict(UserError):
    """It exists already, or something else holds it."""


class SetupError(ClipgresError):
    """The machine or its settings are wrong: nothing starts until they are mended."""


class ModelError(SetupError):
    """A model that is missing, unsafe to load, or of another space than the collection's."""


class DeviceLost(ModelError):
    """The device of a model has failed for good as far as this process goes: a new one can use it again."""


class SchemaError(SetupError):
    """A database that is too old, not migrated, or newer than this program."""


class NotPermitted(SetupError):
    """The database does not let this login do it, or is a replica that takes no writes."""


class Unavailable(ClipgresError):
    """A server is away for now: the same request may succeed later."""


class ImageError(ClipgresError):
    """One URL or picture failed; `reason` is from the closed list, the text says more.

    `took_ms` is how long the fetch took that it ended, once somebody has measured it.
    """

    def __init__(
        self, reason: Reason, detail: str = "", *, http_status: int | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(detail or reason.gloss)
        self.reason = reason
        self.http_status = http_status
        self.retry_after_s = retry_after_s
        self.took_ms: int | None = None


class PermanentImageError(ImageError):
    """It will fail the same way again: recorded, and looked at again only rarely."""


class HostGivenUp(PermanentImageError):
    """Its host failed again and again: it is taken for dead without being asked for."""


class TransientImageError(ImageError):
    """It may succeed later: tried again with back-off."""
