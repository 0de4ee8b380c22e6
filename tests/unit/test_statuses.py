"""Retry-After: seconds, dates, and what is no wish at all. Statuses are in the table of hostile replies."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from urllib3 import HTTPResponse

from clipgres.fetching.statuses import RETRY_AFTER_MAX_S, failure_of_status, retry_after_s


@pytest.mark.parametrize(
    ("status", "words"),
    [(404, "the host says it is not there (404)"), (503, "the host failed (5xx): HTTP 503")],
)
def test_a_status_is_said_once(status: int, words: str) -> None:
    assert str(failure_of_status(HTTPResponse(status=status))) == words


@pytest.mark.parametrize(
    ("value", "seconds"), [("7", 7), (" 0 ", 0), ("3600", 3_600), ("315360000", 3_600), ("9" * 5_000, 3_600)]
)
def test_seconds_are_obeyed_up_to_an_hour(value: str, seconds: float) -> None:
    assert retry_after_s(value) == seconds


def test_retry_after_may_be_a_date() -> None:
    now = datetime.now(UTC)
    assert retry_after_s(format_datetime(now + timedelta(seconds=90), usegmt=True)) == pytest.approx(90, abs=2)
    assert retry_after_s(format_datetime(now - timedelta(days=9), usegmt=True)) == 0
    assert retry_after_s("Wed, 01 Jan 2936 00:00:00 GMT") == RETRY_AFTER_MAX_S


@pytest.mark.parametrize(
    "value", [None, "", "-5", "1e9", "²", "soon", "Wed, 01 Jan 2936 00:00:00 +99999999999999999999"]
)
def test_garbage_is_no_wish(value: str | None) -> None:
    assert retry_after_s(value) is None


@given(
    st.text(max_size=60)
    | st.from_regex(r"\w{3}, \d{1,3} \w{3} \d{1,6} \d\d:\d\d:\d\d ([+-]\d{4,9}|GMT)", fullmatch=True)
)
def test_any_text_is_a_wait_or_none(value: str) -> None:
    wait = retry_after_s(value)
    assert wait is None or 0 <= wait <= RETRY_AFTER_MAX_S
