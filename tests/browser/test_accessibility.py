"""axe-core finds nothing to complain of, on any view, in either theme."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from browser.steps import advanced, begin_long, choose, enter_key, key_form, resize, sideways, tab, upscale, use_theme
from fakes.server import Server

AXE = Path(__file__).parents[2] / "web/node_modules/axe-core/axe.min.js"
LOOKS = (("light", 1280), ("dark", 360))
"""Theme and width of the window."""
COLOURS = ["color-contrast", "link-in-text-block"]
"""The rules whose findings depend on the theme."""

pytestmark = pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed: npm install in web/")


def complaints(page, rules: list[str] | None = None) -> list[str]:
    """Return axe-core's findings by these rules or by all, each with the places."""
    if page.evaluate("window.axe === undefined"):
        page.evaluate(AXE.read_text(encoding="utf-8"))
    options = {"resultTypes": ["violations"]} | ({"runOnly": rules} if rules else {})
    found = page.evaluate("options => axe.run(options).then((found) => found.violations)", options)
    return [f"{one['id']}: {[node['html'][:160] for node in one['nodes'][:4]]}" for one in found]


def complaints_of_both_themes(page) -> list[str]:
    """Return the findings in the light theme, and what the colours of the dark one add."""
    use_theme(page, "light")
    found = complaints(page)
    use_theme(page, "dark")
    return found + complaints(page, COLOURS)


def test_the_empty_playground(open_page):
    """Before anything is chosen."""
    page = open_page()
    page.get_by_label("Model", exact=True).wait_for()
    page.wait_for_load_state("networkidle")
    assert complaints_of_both_themes(page) == []


def test_settings_and_an_error(open_page, photo):
    """With all settings open, one of them refused, and a popover above."""
    page = open_page()
    choose(page, photo)
    advanced(page)
    page.get_by_label("Size", exact=True).fill("huge")
    page.locator("[data-param=size] .error").wait_for()
    page.get_by_role("button", name="Upscale", exact=True).click()
    page.get_by_role("alert").wait_for()
    page.get_by_role("button", name=re.compile("^Creativity: passthrough")).click()
    assert complaints_of_both_themes(page) == []


@pytest.mark.parametrize(("theme", "width"), LOOKS)
def test_a_result(open_page, photo, theme, width):
    """With a result: the comparison, the receipt, the code, the history, and the menu of formats."""
    page = open_page(color_scheme=theme, viewport={"width": width, "height": 800})
    choose(page, photo)
    upscale(page)
    found = complaints(page)
    tab(page, "Code")
    found += complaints(page)
    tab(page, "History")
    page.locator("li .open").wait_for()
    found += complaints(page)
    page.get_by_role("button", name="Download").click()
    found += complaints(page)
    assert found == []


@pytest.mark.parametrize("path", ["/models", "/models/flux-vision-upscaler", "/models/seedvr", "/models/none-such"])
def test_model_pages(open_page, path):
    """The list, a page with a gallery, one without, and one of a model that does not exist."""
    page = open_page(path)
    page.get_by_role("heading", level=1).wait_for()
    page.wait_for_load_state("networkidle")
    assert complaints_of_both_themes(page) == []


def test_the_key(open_page):
    """The form of the key."""
    page = open_page()
    page.get_by_label("Model", exact=True).wait_for()
    key_form(page)
    assert complaints_of_both_themes(page) == []


def test_a_locked_page(open_page, tmp_path):
    """The page that asks for a key, in both themes; it fits a phone."""
    settings = {"api_keys": "key-of-this-test-7c1f", "playground": "false"}
    with Server(tmp_path / "data", settings, module=("fluxvision", "serve")) as locked:
        page = open_page(at=locked)
        page.get_by_role("heading", name="Enter a key to begin").wait_for()
        for theme, width in LOOKS:
            use_theme(page, theme)
            resize(page, width, 740)
            assert sideways(page) == 0
            assert complaints(page) == []


def test_the_requests_of_a_key(open_page, photo, tmp_path):
    """The list of what the server keeps, in both themes, while one of them is about to be deleted; it fits a phone."""
    key = "key-of-this-test-7c1f"
    with Server(tmp_path / "data", {"api_keys": key}, module=("fluxvision", "serve")) as keyed:
        page = open_page(at=keyed)
        page.get_by_label("Model", exact=True).wait_for()
        enter_key(page, key)
        choose(page, photo)
        upscale(page)
        tab(page, "History")
        for theme, width in LOOKS:
            use_theme(page, theme)
            resize(page, width, 740)
            page.get_by_role("button", name=re.compile("^Delete flux-vision")).click()
            assert sideways(page) == 0
            assert complaints(page) == []
            page.get_by_role("button", name=re.compile("^Really delete")).blur()


def test_painting_a_mask(open_page, photo):
    """While a mask is painted over a result."""
    page = open_page()
    choose(page, photo)
    upscale(page)
    page.get_by_role("button", name="Paint").click()
    page.get_by_role("toolbar", name="Mask").wait_for()
    assert page.get_by_role("slider", name="Divider between before and after").count() == 0
    assert complaints(page) == []


def test_a_running_picture(open_page):
    """While the work goes on."""
    page = open_page()
    begin_long(page)
    assert complaints(page) == []
    page.get_by_role("button", name="Cancel").click()
