"""What people do on the pages, in a real browser, at the width of a desk and of a phone."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import text

from clipgres.database import transaction
from tests.browser.conftest import WIDTHS, Served

pytestmark = pytest.mark.browser
at_each_width = pytest.mark.parametrize("width", WIDTHS)

Open = Callable[..., Page]
COLOURS = ("red", "green", "blue", "white", "black", "orange", "purple", "gold", "teal", "navy", "pink", "olive")
LONG = "a very long caption that goes on and on about everything there is to see in this picture, " * 5
HOSTILE = '<img src=x onerror="window.hit=1"><script>window.hit=1</script>"\'{{7*7}}' + "w" * 300

FAIL_ONE_SQL = text("""
    UPDATE clipgres.job SET status = 'failed', reason = 'gone'
    WHERE image_id = (SELECT min(image_id) FROM clipgres.job WHERE status = 'pending')
""")

# A file in the hands of the page, as a paste or a drop brings it.
BRING_SCRIPT = """
([kind, body]) => {
  const bytes = Uint8Array.from(atob(body), (letter) => letter.charCodeAt(0));
  const holder = new DataTransfer();
  holder.items.add(new File([bytes], "red.png", { type: "image/png" }));
  const event = kind === "paste"
    ? new ClipboardEvent("paste", { clipboardData: holder, bubbles: true, cancelable: true })
    : new DragEvent("drop", { dataTransfer: holder, bubbles: true, cancelable: true });
  document.body.dispatchEvent(event);
}
"""


@pytest.fixture(autouse=True)
def pictures(served: Served) -> None:
    """A dozen pictures in plain colours."""
    for colour in COLOURS:
        served.site.add(colour, key=colour)


def first_caption(page: Page) -> str:
    return page.locator("#results .caption").first.inner_text()


@at_each_width
def test_a_text_is_searched(open_page: Open, width: int) -> None:
    page = open_page(width=width)
    page.get_by_role("searchbox").fill("green")
    page.get_by_role("searchbox").press("Enter")
    expect(page.locator("#results")).to_be_visible()
    assert first_caption(page) == "a green field"
    assert page.url.endswith("/?q=green")
    assert page.locator("#results img").first.evaluate("image => image.complete && image.naturalWidth > 0")


@at_each_width
def test_a_chosen_picture_is_searched_at_once(open_page: Open, width: int, red_file: Path) -> None:
    page = open_page(width=width)
    with page.expect_file_chooser() as chooser:
        page.locator(".choose").click()
    chooser.value.set_files(red_file)
    expect(page.locator(".asked img")).to_be_visible()
    assert first_caption(page) == "a red field"
    assert page.locator(".asked img").evaluate("image => image.naturalWidth") > 0


@pytest.mark.parametrize("kind", ["paste", "drop"])
def test_a_picture_that_is_brought_is_searched_at_once(open_page: Open, red_file: Path, kind: str) -> None:
    page = open_page()
    page.evaluate(BRING_SCRIPT, [kind, base64.b64encode(red_file.read_bytes()).decode()])
    expect(page.locator(".asked img")).to_be_visible()
    assert first_caption(page) == "a red field"


def test_a_picture_is_searched_under_the_same_options(open_page: Open, red_file: Path) -> None:
    page = open_page("/?q=blue&k=3")
    page.get_by_text("Options", exact=True).click()
    page.get_by_label("Pictures a page").fill("2")
    page.locator("#image").set_input_files(red_file)
    expect(page.locator(".asked img")).to_be_visible()
    assert page.locator("#results .card").count() == 2


@at_each_width
def test_more_like_this_and_back_again(open_page: Open, width: int) -> None:
    page = open_page("/?q=green", width=width)
    page.locator("#results").get_by_role("link", name="More like a green field").click()
    expect(page.get_by_role("heading", name="Pictures like this one")).to_be_visible()
    assert "like=green" in page.url and "a green field" not in page.locator("#results").inner_text()
    page.go_back()
    expect(page.get_by_role("searchbox")).to_have_value("green")
    assert first_caption(page) == "a green field"


def test_back_returns_to_the_answer_to_a_picture(open_page: Open, red_file: Path) -> None:
    page = open_page()
    page.locator("#image").set_input_files(red_file)
    expect(page.locator(".asked img")).to_be_visible()
    page.locator("#results .picture").first.click()
    expect(page.get_by_role("heading", name="a red field")).to_be_visible()
    page.go_back()
    expect(page.locator(".asked img")).to_be_visible()
    assert first_caption(page) == "a red field"


@at_each_width
def test_text_and_picture_are_searched_without_scripts(open_page: Open, width: int, red_file: Path) -> None:
    page = open_page(width=width, scripts=False)
    page.get_by_role("searchbox").fill("green")
    page.get_by_role("button", name="Search", exact=True).click()
    assert first_caption(page) == "a green field"
    assert page.url.endswith("/?q=green")
    page.get_by_role("searchbox").fill("")
    page.locator("#image").set_input_files(red_file)
    page.get_by_role("button", name="Search by picture").click()
    assert first_caption(page) == "a red field"


def test_the_page_can_be_used_by_keyboard_alone(open_page: Open) -> None:
    page = open_page("/?q=green")
    page.keyboard.press("/")
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("blue")
    page.keyboard.press("Enter")
    expect(page.get_by_role("searchbox")).to_have_value("blue")
    page.locator("#results .picture").first.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="a blue field")).to_be_visible()


CHIPS = (
    "like=hostile&unlike=green&by=both&words=a&where=%7B%22" + "w" * 300 + "%22:1%7D&k=3&standing=1&not=" + "w" * 300
)
SEARCHES = ["/", "/?q=green&min=1", "/?like=green", "/?q=x&k=0", f"/?{CHIPS}", "/?q=green&k=3"]
OTHERS = ["/items/default/hostile", "/add", "/batches", "/batches/1", "/failures", "/collections", "/nowhere"]


@at_each_width
def test_nothing_is_wider_than_the_window(open_page: Open, served: Served, width: int) -> None:
    served.site.add("maroon", key="hostile", captions=[HOSTILE, LONG], metadata={"w" * 200: "w" * 500})
    served.site.client.post("/api/images", json=["https://pictures.example/" + "w" * 500, "x" * 500])
    page = open_page(width=width)
    for path in SEARCHES + OTHERS:
        page.goto(served.url + path)
        page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        assert page.evaluate("document.scrollingElement.scrollWidth <= document.scrollingElement.clientWidth"), path


def test_a_hostile_caption_runs_nothing(open_page: Open, served: Served) -> None:
    served.site.add("maroon", key="hostile", captions=[HOSTILE, HOSTILE + "2"])
    page = open_page()
    for path in (
        "/?q=maroon",
        "/items/default/hostile",
        "/?like=hostile",
        "/?q=a&unlike=hostile",
        f"/?q=a&not={quote(HOSTILE)}",
    ):
        page.goto(served.url + path, wait_until="networkidle")
        assert page.evaluate("window.hit") is None
        assert page.locator("img[src=x]").count() == 0


def test_a_batch_is_followed_until_it_is_done(open_page: Open, served: Served) -> None:
    served.site.client.post("/api/images", json=["https://pictures.example/a.png", "https://pictures.example/b.png"])
    page = open_page("/batches/1")
    expect(page.locator(".counts")).to_contain_text("failed\n0", use_inner_text=True)
    for failed in (1, 2):
        with transaction(served.site.engine) as connection:
            connection.execute(FAIL_ONE_SQL)
        expect(page.locator(".counts")).to_contain_text(f"failed\n{failed}", use_inner_text=True)
    expect(page.get_by_role("button", name="Try these again")).to_be_visible()
    expect(page.get_by_text("Done.")).to_be_visible()


def test_a_form_is_sent_and_leads_to_its_batch(open_page: Open) -> None:
    page = open_page("/add")
    page.get_by_label("Address").fill("https://pictures.example/new.png")
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_role("heading", name="Batch 1")).to_be_visible()
    expect(page.get_by_text("1 new address")).to_be_visible()


def test_the_page_follows_the_light_of_the_desk(open_page: Open) -> None:
    script = "getComputedStyle(document.body).backgroundColor + getComputedStyle(document.body).color"
    seen = {scheme: open_page("/?q=green", color_scheme=scheme).evaluate(script) for scheme in ("light", "dark")}
    assert seen["light"] != seen["dark"]
