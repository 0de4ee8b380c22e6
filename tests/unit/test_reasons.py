"""What people read beside a reason."""

from __future__ import annotations

import re

import pytest

from clipgres.reasons import Reason
from clipgres.settings import PREFIX, Settings


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_says_what_a_person_can_do(reason: Reason) -> None:
    assert reason.advice.endswith(".") and len(reason.advice) <= 120
    named = re.findall(rf"{PREFIX}(\w+)", reason.advice)
    assert {name.lower() for name in named} <= set(Settings.model_fields)
