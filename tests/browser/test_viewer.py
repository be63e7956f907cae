"""The viewer: fingers, full screen, versions, and results too large for a browser."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
import skimage
from PIL import Image

from browser.steps import advanced, change, choose, divider, upscale
from browser.test_accessibility import AXE, complaints

PHONE = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
RETINA = Path(skimage.__file__).parent / "data" / "retina.jpg"
LARGE_TAKES = 240_000
TILE = re.compile(r"/image_files/(\d+)/\d+_\d+\.jpeg$")
UNMADE = {"index": 1, "seed": 8, "code": "UPSTREAM_ERROR", "message": "The provider’s filter stopped this one."}
TRIED = [
    {"provider": "fal", "outcome": "unavailable", "duration": 1.2, "cost": 0, "message": "fal.ai is busy."},
    {"provider": "embedded", "outcome": "ok", "duration": 2.0, "cost": 0},
]
DRAWN = """() => {
  const canvas = document.querySelector('.after canvas');
  if (!canvas || !canvas.width) return false;
  const middle = canvas.getContext('2d').getImageData(canvas.width * 0.75, canvas.height * 0.5, 1, 1).data;
  return middle[3] === 255;
}"""


def scale(page) -> float:
    """Return how far the picture before is zoomed."""
    transform = page.get_by_alt_text("The picture before").evaluate("image => image.style.transform")
    return float(re.search(r"scale\(([\d.e-]+)\)", transform)[1])


def full(page) -> bool:
    """Return whether the viewer fills the screen."""
    return page.evaluate("document.fullscreenElement?.classList.contains('viewer') ?? false")


def test_full_screen_by_keyboard(open_page, photo):
    """F fills the screen with the viewer and leaves it again; so does its button, which says what it would do."""
    page = open_page()
    choose(page, photo)
    page.get_by_role("group", name="Picture view").focus()
    page.keyboard.press("f")
    page.get_by_role("button", name="Leave full screen").wait_for()
    assert full(page)
    page.keyboard.press("f")
    page.get_by_role("button", name="Full screen", exact=True).wait_for()
    assert not full(page)
    page.get_by_role("button", name="Full screen", exact=True).focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Leave full screen").wait_for()
    assert full(page)


def test_two_fingers_zoom(open_page, photo):
    """Fingers that part enlarge both sides by as much; one finger on the divider moves it."""
    page = open_page(**PHONE)
    choose(page, photo)
    upscale(page)
    box = page.get_by_role("group", name="Picture view").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 3
    fingers = page.context.new_cdp_session(page)

    def touch(kind, *points):
        places = [{"x": at_x, "y": at_y, "id": number} for number, (at_x, at_y) in enumerate(points)]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    before = scale(page)
    touch("touchStart", (x - 60, y))
    touch("touchStart", (x - 60, y), (x - 20, y))
    for apart in range(40, 121, 10):
        touch("touchMove", (x - 60, y), (x - 60 + apart, y))
    touch("touchEnd")
    page.wait_for_function(
        "least => new DOMMatrix(document.querySelector('img.before').style.transform).a > least", arg=before * 2
    )
    assert scale(page) == pytest.approx(before * 3, rel=0.1)
    page.get_by_role("button", name="Fit").tap()
    grip = divider(page).locator(".grip").bounding_box()
    x, y = grip["x"] + grip["width"] / 2, grip["y"] + grip["height"] / 2
    touch("touchStart", (x, y))
    for far in range(10, 81, 10):
        touch("touchMove", (x + far, y))
    touch("touchEnd")
    page.wait_for_function("() => Number(document.querySelector('[role=slider].divider').ariaValueNow) > 60")


def test_versions_that_failed_are_shown_with_the_others(open_page, photo):
    """Of three versions two came: the third's place says why, the result counts it, and each try is told."""
    page = open_page()
    made = {
        "size": "96x64", "seed": 7, "seeds": [7, 9], "failures": [UNMADE], "attempts": TRIED, "normalization": [],
    }  # fmt: skip
    event = {"url": "/media/made.png", "b64_json": "", "output_format": "png", "metadata": made}
    text = f"event: image_edit.completed\ndata: {json.dumps(event)}\n\n"
    page.route(
        re.compile(r"/v1/images/edits$"), lambda one: one.fulfill(body=2 * text, content_type="text/event-stream")
    )
    page.route("**/media/made.png", lambda one: one.fulfill(path=photo, content_type="image/png"))
    choose(page, photo)
    page.get_by_role("button", name="Upscale", exact=True).click()
    versions = page.get_by_role("list", name="Versions")
    versions.wait_for()
    assert versions.get_by_role("button").count() == 2
    assert UNMADE["message"] in versions.get_by_role("listitem").last.inner_text()
    told = page.get_by_role("tabpanel", name="Result").inner_text()
    assert "1 of 3 versions could not be made" in told
    assert f"Seed 8 {UNMADE['message']}" in told
    assert "fal.ai is busy." in told
    assert page.get_by_role("status").inner_text() == "Done: 2 of 3 versions, 96x64."
    if AXE.exists():
        assert complaints(page) == []


def test_large_results_come_in_tiles(open_page, tmp_path):
    """A result of over 30 megapixels is not fetched whole to be seen: its tiles are drawn below the same divider."""
    path = tmp_path / "large.jpg"
    Image.open(RETINA).crop((5, 5, 1405, 1405)).resize((100, 100)).save(path, quality=90)
    page = open_page()
    asked = []
    page.on("request", lambda one: asked.append(one.url))
    choose(page, path)
    change(page, creativity=0)
    advanced(page)
    page.get_by_label("Size", exact=True).fill("5600x5600")
    page.locator("[data-param=fit]").get_by_label("stretch", exact=True).check()
    page.get_by_text("5600 × 5600, 31.4 MP").wait_for()
    page.get_by_role("button", name="Upscale", exact=True).click()
    divider(page).wait_for(timeout=LARGE_TAKES)
    page.wait_for_function(DRAWN)
    page.get_by_role("group", name="Picture view").focus()
    with page.expect_response(re.compile("/image_files/13/")):
        page.keyboard.press("1")
    page.wait_for_function(DRAWN)
    page.wait_for_load_state("networkidle")
    media = [url for url in asked if "/media/" in url]
    assert media[0].endswith("/image.dzi")
    assert max(int(TILE.search(url)[1]) for url in media[1:]) == 13
    frame = page.get_by_role("group", name="Picture view")
    shot = Image.open(io.BytesIO(frame.screenshot())).convert("RGB")
    before, after = (shot.getpixel((shot.width * part // 16, shot.height // 2)) for part in (7, 9))
    assert before == pytest.approx(after, abs=24)
    page.get_by_role("button", name="Download").click()
    with page.expect_download() as saved:
        page.get_by_role("dialog", name="Download").get_by_role("button", name=re.compile("^PNG")).click()
    with Image.open(saved.value.path()) as picture:
        assert picture.size == (5600, 5600)
