"""Cursors: what goes out comes back as it was, and nothing else does."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import URLSafeSerializer

from clipgres.errors import BadRequest
from clipgres.pages.cursors import Cursor, read_cursor, write_cursor

SECRET = b"0123456789abcdef0123456789abcdef"
CURSOR = Cursor("abcdefghijklmnop", 40, 1_234)


@pytest.mark.parametrize("cursor", [CURSOR, Cursor("a"), Cursor("a", 10_000, 99_999_999)])
def test_a_cursor_comes_back_as_it_was(cursor: Cursor) -> None:
    assert read_cursor(write_cursor(cursor, SECRET), SECRET) == cursor


def test_a_cursor_is_short_and_fits_into_an_address() -> None:
    written = write_cursor(CURSOR, SECRET)
    assert len(written) < 100 and quote(written, safe="") == written


@given(place=st.integers(0), letter=st.characters())
def test_a_changed_cursor_is_refused(place: int, letter: str) -> None:
    written = write_cursor(CURSOR, SECRET)
    place %= len(written)
    try:
        # Some bits of the last character say nothing.
        assert read_cursor(written[:place] + letter + written[place + 1 :], SECRET) == CURSOR
    except BadRequest as error:
        assert error.field == "cursor" and "search again" in str(error)


@pytest.mark.parametrize("written", ["", ".", "a", "a.b.c", "\N{SNOWMAN}", "\ud800", "\0", "." * 2_000, "a" * 2_000])
def test_what_is_no_cursor_is_refused(written: str) -> None:
    with pytest.raises(BadRequest):
        read_cursor(written, SECRET)


def test_a_cursor_of_another_installation_is_refused() -> None:
    with pytest.raises(BadRequest):
        read_cursor(write_cursor(CURSOR, SECRET), SECRET[::-1])


def test_what_the_secret_signed_for_another_purpose_is_no_cursor() -> None:
    with pytest.raises(BadRequest):
        read_cursor(str(URLSafeSerializer(SECRET, "something else").dumps(["a", 0, 0])), SECRET)
