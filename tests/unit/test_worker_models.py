"""The models of a worker: one that cannot be had is left alone and says why, one that works says nothing."""

from __future__ import annotations

from clipgres.encoders import Encoders
from clipgres.settings import Settings
from tests.fakes import FakeEncoder
from tests.seed import FixedEncoders
from worker.models import Models


def test_a_model_that_is_not_here_is_a_trouble_in_words() -> None:
    models = Models(Encoders(Settings(model="/nowhere/clip")))
    assert models.encoder(FakeEncoder(model="elsewhere").space) is None
    assert 'there is no model "/nowhere/clip"' in str(models.trouble())


def test_a_model_that_works_is_none() -> None:
    encoder = FakeEncoder()
    models = Models(FixedEncoders(encoder))
    assert models.encoder(encoder.space) is encoder
    assert models.trouble() is None
