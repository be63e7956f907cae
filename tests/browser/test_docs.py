"""The documents in a browser: they fit every window, run nothing of others, and the reference speaks to the server."""

from __future__ import annotations

import pytest

from browser.steps import sideways
from browser.test_accessibility import AXE, complaints

PAGES = ("", "api", "models", "normalization", "prices", "architecture", "decisions", "nothing-here")
LIST = "#operations-Models-list_models"
EDIT = "#operations-Images-edit_image"


@pytest.mark.parametrize("width", [360, 1280, 2560])
def test_they_fit_the_window(open_page, server, width):
    """No page is wider than its window, and each shows its heading."""
    page = open_page("/docs/", viewport={"width": width, "height": 800})
    for place in PAGES:
        page.goto(f"{server.url}/docs/{place}")
        assert sideways(page) <= 0, place
        assert page.locator("h1").is_visible()


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed: npm install in web/")
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_everybody_can_read_them(open_page, server, theme, width):
    """axe-core finds nothing in the pages."""
    page = open_page("/docs/", color_scheme=theme, viewport={"width": width, "height": 800})
    for place in PAGES:
        page.goto(f"{server.url}/docs/{place}")
        assert complaints(page) == [], place


def test_the_keyboard_is_enough(open_page):
    """The first stop leads past the list of pages; on a phone the list opens by the keyboard."""
    page = open_page("/docs/api", viewport={"width": 360, "height": 800})
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the text"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.locator(".pages summary").focus()
    page.keyboard.press("Enter")
    page.locator(".pages a", has_text="Prices").click()
    page.wait_for_url("**/docs/prices")


def test_the_reference_asks_the_server(open_page, server, photo):
    """An operation is opened, filled in and executed; the answer is shown, and the policy holds meanwhile."""
    page = open_page("/docs/reference")
    page.click(f"{LIST} .opblock-summary-control")
    page.click(f"{LIST} .try-out__btn")
    page.click(f"{LIST} .execute")
    page.locator(f"{LIST} .live-responses-table", has_text="flux-vision-upscaler").wait_for()
    page.click(f"{EDIT} .opblock-summary-control")
    page.click(f"{EDIT} .try-out__btn")
    page.locator(f"{EDIT} input[type=file]").first.set_input_files(photo)
    page.locator(f"{EDIT} .parameters select").first.select_option("true")
    for box in page.locator(f"{EDIT} input[type=checkbox]:checked").all():
        box.uncheck()
    with page.expect_response(f"{server.url}/v1/images/edits*") as asked:
        page.click(f"{EDIT} .execute")
    assert asked.value.url.endswith("?dryRun=true")
    assert page.locator(f"{EDIT} .live-responses-table").is_visible()
