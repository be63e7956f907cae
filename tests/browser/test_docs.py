"""The documents in a browser: they fit every window, run nothing of others, and the reference speaks to the server."""

from __future__ import annotations

import pytest

from browser.steps import resize, sideways, use_theme
from browser.test_accessibility import AXE, complaints, complaints_of_both_themes

PAGES = ("", "api", "models", "normalization", "prices", "architecture", "decisions", "nothing-here")
LIST = "#operations-Models-list_models"
EDIT = "#operations-Images-edit_image"

HEADER = """() => [...document.querySelectorAll('header svg rect, header nav a, header > a span')].map((one) => {
  const { x, y, width, height } = one.getBoundingClientRect();
  const { fill, fontSize, fontWeight } = getComputedStyle(one);
  return [one.textContent, ...[x, y, width, height].map(Math.round), fill, fontSize, fontWeight];
})"""


def test_they_fit_the_window(open_page, server):
    """No page is wider than its window, and each shows its heading."""
    page = open_page("/docs/")
    for place in PAGES:
        page.goto(f"{server.url}/docs/{place}")
        for width in (360, 1280, 2560):
            resize(page, width, 800)
            assert sideways(page) <= 0, (place, width)
            assert page.locator("h1").is_visible()


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed: npm install in web/")
def test_everybody_can_read_them(open_page, server):
    """axe-core finds nothing in the pages, in a narrow window and a wide one."""
    page = open_page("/docs/")
    for place in PAGES:
        page.goto(f"{server.url}/docs/{place}")
        for theme, width in (("light", 360), ("dark", 1280)):
            use_theme(page, theme)
            resize(page, width, 800)
            assert complaints(page) == [], (place, theme)


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
    page.locator(f"{EDIT} .live-responses-table").wait_for()


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed: npm install in web/")
def test_everybody_can_read_the_reference(open_page):
    """axe-core finds nothing in the reference, with all operations closed and with one open."""
    page = open_page("/docs/reference")
    page.click(f"{EDIT} .opblock-summary-control")
    page.locator(f"{EDIT} .responses-table").first.wait_for()
    assert complaints_of_both_themes(page) == []


def test_the_theme_is_that_of_the_page(open_page, server):
    """What is chosen on the page holds in the documents, and the other way round, without a reload of the choice."""
    page = open_page(color_scheme="light")
    page.get_by_role("button", name="Use the dark theme").click()
    page.goto(f"{server.url}/docs/api")
    page.get_by_role("button", name="Use the light theme").click()
    page.get_by_role("button", name="Use the dark theme").wait_for()
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "light"
    page.goto(server.url)
    page.get_by_role("button", name="Use the dark theme").wait_for()


def test_the_header_is_that_of_the_page(open_page, server):
    """Mark, name and links stand in the same places with the same looks, so that nothing jumps on the way."""
    page = open_page()

    def headers():
        for width in (360, 1280):
            resize(page, width, 800)
            yield page.evaluate(HEADER)

    page.get_by_role("link", name="Docs").wait_for()
    of_the_page = list(headers())
    page.goto(f"{server.url}/docs/")
    assert list(headers()) == of_the_page
