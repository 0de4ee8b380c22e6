"""Which models a process hands out, and how often it reads their files for that."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from clipgres.encoders import Encoders
from clipgres.errors import ModelError
from clipgres.settings import Settings
from tests.models import write_small_clip


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write_small_clip(tmp_path / "small")


def test_the_space_of_the_settings_is_read_once(small: Path) -> None:
    encoders = Encoders(Settings(model=str(small)))
    space = encoders.default_space()
    small.rename(small.with_name("elsewhere"))
    assert encoders.default_space() == space


def test_a_space_that_this_machine_has_not_is_refused(small: Path) -> None:
    encoders = Encoders(Settings(model=str(small)))
    other = replace(encoders.default_space(), revision="0" * 40)
    with pytest.raises(ModelError, match=r"at 000000000000 .*this machine has small at"):
        encoders.of(other)


def test_a_model_is_loaded_when_it_is_first_used(small: Path) -> None:
    encoders = Encoders(Settings(model=str(small)))
    assert encoders.of(encoders.default_space()) is encoders.of(encoders.default_space())
    assert encoders.loaded() == []
