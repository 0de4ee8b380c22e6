"""The real worker with the fake encoder, for `celery -A tests.fake_worker:app worker`."""

from __future__ import annotations

from typing import Any

from clipgres.encoder import Encoder
from clipgres.encoders import Encoders
from clipgres.models import Space
from clipgres.settings import load_settings
from tests.fakes import FakeEncoder
from worker.app import build


class FakeEncoders(Encoders):
    """Hands out the fake encoder, whatever the space."""

    def default_space(self) -> Space:
        """See `Encoders`."""
        return FakeEncoder().space

    def of(self, space: Space) -> Encoder:
        """See `Encoders`."""
        return FakeEncoder(space.dimension)


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(name)
    settings = load_settings()
    globals()["app"] = build(settings, FakeEncoders(settings))
    return globals()["app"]
