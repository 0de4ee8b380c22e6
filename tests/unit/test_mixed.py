"""Mixed queries do what a person expects of them: the default weights are the better ones, on the bundled gallery."""

from __future__ import annotations

import pytest

from bench.mixed import Case, Gallery, measure, projected, read, weighed
from clipgres.request import Weights

TEXT, NOT_TEXT = Weights().text, Weights().not_text


@pytest.fixture(scope="module")
def gallery() -> Gallery:
    """The bundled pictures as the bundled model sees them."""
    return read("tiny-clip")


def some(cases: list[Case]) -> list[Case]:
    """Every fifth, which is enough to tell."""
    return cases[::5]


@pytest.mark.slow
def test_a_picture_and_a_text_find_more_of_what_both_say_than_either(gallery: Gallery) -> None:
    cases = some(list(gallery.other_grounds()))
    both = measure(gallery, cases, weighed(TEXT, 0)).precision
    assert both > 0.4
    for text in (0.25, 4):
        assert both > measure(gallery, cases, weighed(text, 0)).precision + 0.05


@pytest.mark.slow
def test_what_is_not_wanted_goes_and_the_rest_stays(gallery: Gallery) -> None:
    cases = some(list(gallery.less_thing_on_ground()))
    found = measure(gallery, cases, weighed(TEXT, NOT_TEXT))
    before = measure(gallery, cases, weighed(TEXT, 0))
    assert found.precision > before.precision + 0.05
    assert found.wrong < before.wrong / 2
    assert found.precision > measure(gallery, cases, weighed(TEXT, 2)).precision + 0.05
    assert found.wrong < measure(gallery, cases, projected).wrong
