"""Where a list goes: what is there is taken with its own model, what is new gets the settings' one."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from clipgres import collections
from clipgres.database import transaction
from clipgres.destination import destination
from clipgres.encoders import Encoders
from clipgres.errors import BadRequest, ModelError
from clipgres.settings import Settings
from tests.fakes import FakeEncoder
from tests.seed import FixedEncoders

NOWHERE = Encoders(Settings(model="/nowhere/clip"))


def test_one_that_is_there_needs_no_model_here(engine: Engine) -> None:
    with transaction(engine) as connection:
        made = collections.create(connection, "pets", FakeEncoder().space)
    assert destination(engine, "pets", NOWHERE) == made


def test_a_new_one_is_made_and_said(engine: Engine) -> None:
    encoder, said = FakeEncoder(), list[collections.Collection]()
    found = destination(engine, "pets", FixedEncoders(encoder), on_made=said.append)
    assert (found.space, said) == (encoder.space, [found])


def test_a_name_that_does_not_fit_is_said_before_any_model_is_asked(engine: Engine) -> None:
    with pytest.raises(BadRequest, match="1 to 45 characters"):
        destination(engine, "No Name", NOWHERE)


def test_a_new_one_without_a_model_is_refused(engine: Engine) -> None:
    with pytest.raises(ModelError, match="/nowhere/clip"):
        destination(engine, "pets", NOWHERE)
