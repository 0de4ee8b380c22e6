"""Filters, the threshold, mixed queries, pages and saved searches, in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import WIDTHS, Served
from tests.web import png

pytestmark = pytest.mark.browser
at_each_width = pytest.mark.parametrize("width", WIDTHS)

Open = Callable[..., Page]
COLOURS = ("red", "green", "blue", "white", "black", "orange", "purple", "gold", "teal", "navy")


@pytest.fixture(autouse=True)
def pictures(served: Served) -> None:
    """Pictures in plain colours."""
    for place, colour in enumerate(COLOURS):
        served.site.add(colour, key=colour, metadata={"place": place})


@pytest.fixture
def blue_file(tmp_path: Path) -> Path:
    """A blue picture to choose."""
    path = tmp_path / "blue.png"
    path.write_bytes(png("blue"))
    return path


def results(page: Page) -> list[str]:
    """The captions that are shown, in their order."""
    return page.locator("#results .caption").all_inner_texts()


def options(page: Page) -> None:
    """Open the options, if they are not."""
    if page.locator("#options:not([open])").count():
        page.get_by_text("Options", exact=True).click()


def apply(page: Page) -> None:
    """Search with the options."""
    page.locator(".apply button").click()


@at_each_width
def test_a_filter_is_set_shown_and_taken_away(open_page: Open, width: int) -> None:
    page = open_page("/?q=green", width=width)
    options(page)
    page.get_by_label("Words in a caption").fill("red OR blue")
    page.get_by_label("Filter, as JSON").fill('{"place": {"$lt": 2}}')
    apply(page)
    expect(page.get_by_role("button", name="caption has red OR blue")).to_be_visible()
    assert results(page) == ["a red field"]
    page.get_by_role("button", name="filter: {").click()
    expect(page.locator("#results .card")).to_have_count(2)
    assert sorted(results(page)) == ["a blue field", "a red field"]
    assert page.url.endswith("/?q=green&caption=red+OR+blue")


@at_each_width
def test_a_filter_that_finds_nothing_or_is_wrong_is_said(open_page: Open, width: int) -> None:
    page = open_page("/?q=green&host=nowhere.example", width=width)
    page.get_by_role("link", name="without the filter").click()
    expect(page.locator("#results .card")).to_have_count(len(COLOURS))
    options(page)
    page.get_by_label("Filter, as JSON").fill("{place: 2}")
    apply(page)
    expect(page.get_by_role("alert")).to_contain_text("The filter is not JSON")
    expect(page.get_by_role("alert")).to_be_in_viewport(ratio=1)
    expect(page.get_by_label("Filter, as JSON")).to_have_value("{place: 2}")


@at_each_width
def test_the_slider_pales_then_hides_and_what_is_hidden_can_be_shown(open_page: Open, width: int) -> None:
    page = open_page("/?q=green", width=width)
    options(page)
    slider = page.get_by_label("Similarity at least")
    expect(page.locator("#least")).to_have_text("off")
    slider.fill("97")
    expect(page.locator("#least")).to_have_text("97 %")
    assert page.locator(".card.below").count() == len(COLOURS) - 1
    apply(page)
    expect(page.locator("#hidden")).to_contain_text("9 pictures below 97 % are hidden")
    assert results(page) == ["a green field"]
    page.get_by_role("link", name="Show them").click()
    expect(page.locator("#results .card")).to_have_count(len(COLOURS))
    assert page.url.endswith("/?q=green")


@at_each_width
def test_a_picture_words_and_what_to_leave_out_are_one_search(open_page: Open, blue_file: Path, width: int) -> None:
    page = open_page(width=width)
    page.locator("#image").set_input_files(blue_file)
    expect(page.get_by_role("heading", name="Pictures like this one")).to_be_visible()
    page.get_by_role("searchbox").fill("white")
    options(page)
    page.get_by_label("Without").fill("a dog")
    apply(page)
    expect(page.get_by_role("heading")).to_have_text(["white and this picture, without a dog"])
    assert page.locator(".asked img").evaluate("image => image.naturalWidth") > 0
    assert set(results(page)[:2]) == {"a white field", "a blue field"}
    page.get_by_role("button", name="without “a dog”").click()
    expect(page.get_by_role("heading")).to_have_text(["white and this picture"])
    page.get_by_role("button", name="your picture").click()
    expect(page.get_by_role("heading")).to_have_text(["white"])
    assert page.url.endswith("/?q=white")


def test_less_like_this_takes_a_picture_out_and_a_chip_brings_it_back(open_page: Open) -> None:
    page = open_page("/?q=green")
    page.get_by_role("button", name="Less like a teal field").click()
    chip = page.get_by_role("button", name="less like “a teal field”")
    expect(chip).to_be_visible()
    assert "a teal field" not in results(page)
    assert page.url.endswith("/?q=green&unlike=teal")
    chip.click()
    expect(page.locator("#results .card")).to_have_count(len(COLOURS))
    assert page.url.endswith("/?q=green")


@at_each_width
@pytest.mark.parametrize("scripts", [True, False])
def test_pages_are_turned(open_page: Open, width: int, scripts: bool) -> None:
    page = open_page("/?q=green&k=4", width=width, scripts=scripts)
    seen = results(page)
    for turned in (1, 2):
        page.get_by_role("link", name="Next page").click()
        expect(page.locator("#plan")).to_contain_text("A further page")
        expect(page.locator("#results .card")).to_have_count(4 if turned == 1 else 2)
        seen += results(page)
    assert sorted(seen) == sorted(f"a {colour} field" for colour in COLOURS)
    expect(page.get_by_role("link", name="Next page")).to_have_count(0)
    page.get_by_role("link", name="First page").click()
    expect(page.locator("#plan")).to_contain_text("Exact search")
    assert results(page) == seen[:4]


def test_a_picture_is_kept_while_pages_are_turned(open_page: Open, blue_file: Path) -> None:
    page = open_page("/?q=white&k=4")
    page.locator("#image").set_input_files(blue_file)
    expect(page.locator(".asked img")).to_be_visible()
    page.get_by_role("button", name="Next page").click()
    expect(page.locator("#plan")).to_contain_text("A further page")
    expect(page.locator(".asked img")).to_be_visible()
    page.get_by_role("button", name="First page").click()
    expect(page.locator("#plan")).to_contain_text("Exact search")


@pytest.mark.parametrize("scripts", [True, False])
def test_a_search_is_saved_opened_and_deleted(open_page: Open, scripts: bool) -> None:
    page = open_page("/?q=green&not=red&min=50&k=3", scripts=scripts)
    options(page)
    page.get_by_label("Save this search as").fill("greens")
    if scripts:
        page.keyboard.press("Enter")
    else:
        page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("Saved search “greens”")).to_be_visible()
    assert page.url.endswith("/?saved=greens")
    expect(page.get_by_role("button", name="without “red”")).to_be_visible()
    page.goto(page.url.partition("?")[0])
    options(page)
    page.get_by_role("link", name="greens").click()
    expect(page.get_by_text("Saved search “greens”")).to_be_visible()
    options(page)
    page.get_by_role("button", name="Delete the saved search greens").click()
    expect(page.get_by_role("heading", name="Find pictures")).to_be_visible()
    expect(page.get_by_role("link", name="greens")).to_have_count(0)


def test_a_search_too_long_for_an_address_is_answered(open_page: Open) -> None:
    page = open_page()
    page.get_by_role("searchbox").fill("green " * 3_000)
    page.get_by_role("searchbox").press("Enter")
    expect(page.locator("#plan")).to_contain_text("its end did not count")
    assert results(page)[0] == "a green field"
