"""What the templates say."""

from __future__ import annotations

from datetime import datetime

import pytest

from webapp.wording import moment, sentence, web_address, with_code


def test_a_time_is_in_utc() -> None:
    assert moment(datetime.fromisoformat("2026-11-24T21:41:00+01:00")) == "24 Nov 2026, 20:41 UTC"


def test_a_message_becomes_a_sentence() -> None:
    assert sentence("k: a number is needed") == "K: a number is needed."


def test_only_the_code_in_a_hint_is_markup() -> None:
    assert with_code("run `clipgres up` <now>") == "run <code>clipgres up</code> &lt;now&gt;"


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x", "JaVaScRiPt:x", "//evil", "", None, "http"])
def test_a_link_leads_to_the_web_or_nowhere(url: str | None) -> None:
    assert web_address(url) is None


def test_a_web_address_stays() -> None:
    assert web_address("https://example.org/a") == "https://example.org/a"
