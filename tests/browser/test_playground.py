"""The playground in a real browser, against the real engine."""

from __future__ import annotations

import gzip
import re

import pytest
from PIL import Image

from browser.steps import advanced, arrive, begin_long, change, choose, divider, price, sideways, tab, upscale

PHONE = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
FIRST_LOAD = 100_000
WIDE = "width => Math.abs(document.querySelector('img.result').getBoundingClientRect().width - width) < 1"
FOCUSED = """name => {
  const focused = document.activeElement;
  return (focused.getAttribute('aria-label') ?? focused.innerText).startsWith(name);
}"""
LIE = """() => new Promise((resolve) => requestAnimationFrame(() => resolve(['before', 'result'].map((name) => {
  const { x, y, width, height } = document.querySelector(`img.${name}`).getBoundingClientRect();
  return [x, y, width, height];
}))))"""


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_a_picture_arrives(open_page, photo, kind):
    """A picture that is dropped on the page or pasted into it shows, with its price."""
    page = open_page()
    page.get_by_label("Model", exact=True).wait_for()
    if kind == "drop":
        arrive(page, photo, "dragenter")
    arrive(page, photo, kind)
    price(page).wait_for()
    assert page.get_by_text("96 × 64").is_visible()
    assert page.get_by_alt_text("The picture before").evaluate("image => image.naturalWidth") == 96


def test_an_example_is_one_click_away(open_page):
    """The empty page offers pictures of the server to start with."""
    page = open_page()
    page.get_by_role("button", name="A cup of coffee").click()
    price(page).wait_for()
    assert page.get_by_text("coffee.jpg", exact=True).is_visible()


def test_the_price_is_that_of_the_picture_and_its_settings(open_page, photo):
    """Price, provider and size of the result stand beside the button and follow the settings."""
    page = open_page()
    choose(page, photo)
    assert price(page).inner_text() == "$0"
    page.get_by_text("192 × 128, 0.025 MP").wait_for()
    exact = page.get_by_label("Scale factor, exact")
    exact.fill("4")
    exact.blur()
    page.get_by_text("384 × 256, 0.098 MP").wait_for()
    page.get_by_role("button", name="Who would serve it and why").click()
    why = page.get_by_role("dialog", name="Who would serve it and why")
    assert "embedded" in why.inner_text()
    assert "Not set up on this server." in why.inner_text()


def test_the_divider_moves_by_keyboard(open_page, photo):
    """Arrow keys, Home and End move the divider, and what shows of the result with it."""
    page = open_page()
    choose(page, photo)
    upscale(page)
    slider = divider(page)
    slider.focus()
    found = []
    for key in ("Home", "ArrowRight", "Shift+ArrowRight", "PageUp", "End", "ArrowLeft"):
        slider.press(key)
        found.append(slider.get_attribute("aria-valuenow"))
    assert found == ["0", "1", "11", "21", "100", "99"]
    slider.press("Home")
    everything = page.locator(".after").evaluate("layer => layer.style.clipPath")
    slider.press("End")
    assert page.locator(".after").evaluate("layer => layer.style.clipPath") != everything


def test_before_and_after_lie_on_one_another(open_page, photo):
    """Keys, buttons and the wheel zoom both sides alike; 1 shows real pixels, 0 the whole picture."""
    page = open_page()
    choose(page, photo)
    upscale(page)
    page.get_by_role("group", name="Picture view").focus()
    fitted = page.evaluate(LIE)[1][2]
    assert fitted > 500
    for step, width in (("1", 192), ("+", 240), ("0", fitted)):
        page.keyboard.press(step)
        page.wait_for_function(WIDE, arg=width)
        before, after = page.evaluate(LIE)
        assert before == pytest.approx(after)
    page.mouse.move(300, 300)
    page.mouse.wheel(0, -400)
    page.wait_for_function(
        "width => document.querySelector('.result').getBoundingClientRect().width > width", arg=fitted + 1
    )
    before, after = page.evaluate(LIE)
    assert before == pytest.approx(after)


def test_the_result_tells_how_it_came_to_be(open_page, photo):
    """Size, provider, cost, seed, fidelity, timings and the receipt of every parameter stand below the picture."""
    page = open_page()
    choose(page, photo)
    upscale(page)
    told = page.get_by_role("tabpanel", name="Result").inner_text()
    for words in ("192 × 128", "embedded/span", "$0", "Seed", "LR-PSNR", "Timings", "Attempts"):
        assert words in told
    rows = page.get_by_role("region", name="Receipt").locator("tbody th").all_inner_texts()
    assert {"image", "scale_factor", "creativity", "output_format"} <= set(rows)


def test_work_is_cancelled(open_page, photo):
    """Cancel ends the work at once, and the page takes the next order."""
    page = open_page()
    begin_long(page)
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Upscale", exact=True).wait_for(timeout=5_000)
    assert page.get_by_role("status").inner_text() == "Cancelled."
    change(page, scale_factor=2, n=1)
    page.get_by_role("button", name="Close this picture").click()
    choose(page, photo)
    upscale(page)


def test_an_error_is_marked_at_its_parameter(open_page, photo):
    """A value that the server refuses marks its field, which says why, also to a screen reader."""
    page = open_page()
    choose(page, photo)
    advanced(page)
    size = page.get_by_label("Size", exact=True)
    size.fill("huge")
    page.locator("[data-param=size] .error").wait_for()
    assert size.get_attribute("aria-invalid") == "true"
    page.get_by_role("button", name="Upscale", exact=True).click()
    page.get_by_role("alert").wait_for()
    assert "huge" in page.get_by_role("alert").inner_text()
    described = size.get_attribute("aria-describedby").split()
    assert any("huge" in page.locator(f"[id='{one}']").inner_text() for one in described)
    size.fill("")
    price(page).wait_for()
    assert size.get_attribute("aria-invalid") is None


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("notes.txt", b"no picture at all\n", "not a picture format"),
        ("empty.png", b"", "the file is empty"),
        ("broken.png", b"\x89PNG\r\n\x1a\n" + bytes(40), "damaged"),
    ],
)
def test_a_file_that_is_no_picture_is_refused_in_words(open_page, tmp_path, name, content, said):
    """The server's own words stand above the price, and nothing promises that the file can be read."""
    (tmp_path / name).write_bytes(content)
    page = open_page()
    page.get_by_label("Model", exact=True).wait_for()
    page.locator("input[type=file]").first.set_input_files(tmp_path / name)
    page.get_by_role("alert").get_by_text(said).wait_for()
    assert page.locator(".quote").inner_text() == "No price."
    assert page.locator(".note").inner_text() == "This browser cannot show this file."


def test_what_only_the_server_reads_is_said_to_be_read(open_page, tmp_path):
    """A TIFF, which the browser cannot show, has a price, and the place of the picture says that it can be read."""
    Image.new("RGB", (32, 32)).save(tmp_path / "scan.tiff")
    page = open_page()
    choose(page, tmp_path / "scan.tiff")
    assert page.locator(".note").inner_text().endswith("The server can read it all the same.")


def test_a_model_that_is_not_set_up_says_so(open_page, photo):
    """The playground says in the server's words who could make it, until another model is chosen."""
    page = open_page("/?model=esrgan")
    page.get_by_label("Model", exact=True).wait_for()
    page.locator("input[type=file]").first.set_input_files(photo)
    page.get_by_role("alert").get_by_text("it can be had from fal").wait_for()
    page.get_by_role("button", name="Upscale", exact=True).click()
    page.get_by_role("alert").get_by_text("it can be had from fal").wait_for()
    page.get_by_label("Model", exact=True).select_option("flux-vision-upscaler")
    price(page).wait_for()
    assert page.get_by_role("alert").count() == 0


def test_what_is_not_set_is_no_value(open_page, server):
    """The choice that leaves a parameter to the server is worded alike everywhere, and unlike every value."""
    page = open_page()
    page.get_by_label("Model", exact=True).wait_for()
    advanced(page)
    properties = server.get("/v1/models/flux-vision-upscaler?schema=true").json()["schema"]["properties"]
    for name in ("background", "moderation", "style", "input_fidelity", "quality"):
        field = page.locator(f"[data-param={name}]")
        found = field.locator(".options span, option").all_inner_texts()
        assert found == ["not set", *properties[name]["enum"]]
    for name in ("max_cost", "user", "size"):
        assert page.locator(f"[data-param={name}] input").get_attribute("placeholder") == "not set"


def test_a_number_that_is_deleted_falls_back(open_page, photo):
    """An emptied field takes the message with it at once, and shows the value in force as soon as it is left."""
    page = open_page()
    choose(page, photo)
    exact = page.get_by_label("Scale factor, exact")
    slider = page.get_by_label("Scale factor", exact=True)
    exact.fill("")
    exact.press("Tab")
    assert (exact.input_value(), slider.input_value()) == ("2", "2")
    change(page, scale_factor=19)
    page.locator("[data-param=scale_factor] .error").wait_for()
    exact.fill("")
    page.locator("[data-param=scale_factor] .error").wait_for(state="detached", timeout=1_000)
    assert (exact.input_value(), slider.input_value()) == ("", "2")
    exact.press("3")
    exact.press("Tab")
    assert (exact.input_value(), slider.input_value()) == ("3", "3")
    page.get_by_text("288 × 192, 0.055 MP").wait_for()


def test_versions_stand_side_by_side(open_page, photo):
    """Several results show together with their seeds; one of them is picked for the comparison."""
    page = open_page()
    choose(page, photo)
    for name, value in (("Versions (n), exact", "2"), ("Creativity, exact", "1")):
        page.get_by_label(name).fill(value)
        page.get_by_label(name).blur()
    page.get_by_role("button", name="Upscale", exact=True).click()
    page.get_by_role("button", name="Compare version 2, Seed 1").click()
    divider(page).wait_for()
    page.get_by_role("button", name="All versions").click()
    assert page.get_by_role("list", name="Versions").get_by_role("listitem").count() == 2


def test_another_seed_is_one_click_away(open_page, photo):
    """Again with a new seed makes another picture with a seed that the code shows, too."""
    page = open_page()
    choose(page, photo)
    upscale(page)
    first = page.get_by_alt_text("The picture after").get_attribute("src")
    page.get_by_role("button", name="Again with a new seed").click()
    page.wait_for_function(
        "src => ![null, src].includes(document.querySelector('.result')?.getAttribute('src') ?? null)", arg=first
    )
    tab(page, "Code")
    assert re.search(r"-F seed=\d+", page.get_by_role("region", name="curl code").inner_text())


def test_the_mask_is_painted(open_page, photo):
    """What was painted is transparent in the mask that is sent, and the receipt has it."""
    page = open_page()
    choose(page, photo)
    page.get_by_role("button", name="Paint").click()
    box = page.get_by_role("img", name="The mask that is painted").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.5)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.5, steps=4)
    page.mouse.up()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save it").click()
    with Image.open(saved.value.path()) as mask:
        assert mask.size == (96, 64)
        assert (mask.getpixel((40, 32))[3], mask.getpixel((90, 60))[3]) == (0, 255)
    page.get_by_role("toolbar", name="Mask").get_by_role("button", name="Done").click()
    upscale(page)
    assert "mask" in page.get_by_role("region", name="Receipt").locator("tbody th").all_inner_texts()


@pytest.mark.parametrize(("button", "kind"), [(re.compile("^PNG"), "PNG"), ("JPEG", "JPEG"), ("WEBP", "WEBP")])
def test_the_result_is_downloaded(open_page, photo, button, kind):
    """The file of the server and formats that the browser writes have the result's size."""
    page = open_page()
    choose(page, photo)
    upscale(page)
    page.get_by_role("button", name="Download").click()
    with page.expect_download() as saved:
        page.get_by_role("dialog", name="Download").get_by_role("button", name=button).click()
    with Image.open(saved.value.path()) as picture:
        assert (picture.format, picture.size) == (kind, (192, 128))


def test_the_history_survives_a_reload(open_page, photo):
    """What was made is there after a reload, opens with picture and receipt, and is deleted when asked."""
    page = open_page()
    choose(page, photo)
    upscale(page)
    tab(page, "History 1")
    page.reload()
    tab(page, "History 1")
    page.get_by_role("button", name=re.compile("^Open it's a photo.png")).click()
    divider(page).wait_for()
    assert page.get_by_alt_text("The picture after").evaluate("image => image.naturalWidth") == 192
    page.get_by_role("button", name=re.compile("^Delete it's a photo.png")).click()
    page.get_by_text("What you make is kept here").wait_for()
    page.reload()
    tab(page, "History")
    page.get_by_text("What you make is kept here").wait_for()


@pytest.mark.parametrize("name", ["seedvr", "clarity-upscaler"])
def test_the_form_is_the_schema(open_page, server, name):
    """Each model's form has exactly the parameters of its schema that the page does not set itself."""
    page = open_page(f"/?model={name}")
    page.get_by_label("Model", exact=True).wait_for()
    page.wait_for_function("name => document.querySelector('select').value === name", arg=name)
    advanced(page)
    schema = server.get(f"/v1/models/{name}?schema=true").json()["schema"]["properties"]
    own = {"model", "image", "mask", "response_format", "stream", "partial_images"}
    page.locator("[data-param=creativity]").wait_for()
    found = page.locator("[data-param]").evaluate_all("fields => fields.map((field) => field.dataset.param)")
    assert sorted(found) == sorted(set(schema) - own)


def test_the_keyboard_is_enough(open_page, photo):
    """From the chosen file to the moved divider, no mouse is needed."""
    page = open_page()
    choose(page, photo)
    button = page.get_by_role("button", name="Upscale", exact=True)
    for _ in range(60):
        if button.evaluate("button => button === document.activeElement"):
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    divider(page).wait_for()
    for _ in range(60):
        if divider(page).evaluate("one => one === document.activeElement"):
            break
        page.keyboard.press("Tab")
    page.keyboard.press("End")
    assert divider(page).get_attribute("aria-valuenow") == "100"


def test_the_focus_is_never_lost(open_page):
    """It goes from the example to the picture, from Upscale to Cancel and back, and from Cancel to the result."""
    page = open_page()
    page.get_by_role("button", name="A cat").press("Enter")
    page.wait_for_function(FOCUSED, arg="Picture view")
    price(page).wait_for()
    change(page, scale_factor=4, n=10)
    page.get_by_role("button", name="Upscale", exact=True).press("Enter")
    page.wait_for_function(FOCUSED, arg="Cancel")
    page.keyboard.press("Enter")
    page.wait_for_function(FOCUSED, arg="Upscale")
    change(page, scale_factor=1, n=1)
    page.get_by_role("button", name="Upscale", exact=True).press("Enter")
    page.wait_for_function(FOCUSED, arg="Cancel")
    divider(page).wait_for()
    page.wait_for_function(FOCUSED, arg="Picture view")


def test_a_phone_needs_no_sideways_scroll(open_page, photo):
    """At 360 pixels nothing is wider than the window: empty, loaded, with all settings open, and done."""
    page = open_page(**PHONE)
    page.get_by_label("Model", exact=True).wait_for()
    found = [sideways(page)]
    choose(page, photo)
    advanced(page)
    found.append(sideways(page))
    upscale(page)
    found.append(sideways(page))
    tab(page, "Code")
    found.append(sideways(page))
    tab(page, "History")
    found.append(sideways(page))
    assert found == [0, 0, 0, 0, 0]
    button = page.get_by_role("button", name="Upscale", exact=True)
    assert button.bounding_box()["y"] + button.bounding_box()["height"] <= 740


def test_the_first_load_is_small(open_page, server):
    """Scripts and styles of the first view are at most 100 kB together, compressed."""
    page = open_page("/healthz")
    got = []
    page.on("response", lambda one: got.append(one) if one.url.endswith((".js", ".css")) else None)
    page.goto(server.url)
    page.get_by_label("Model", exact=True).wait_for()
    page.wait_for_load_state("networkidle")
    sizes = {one.url: len(gzip.compress(one.body(), 6)) for one in got}
    assert len(sizes) >= 2
    assert sum(sizes.values()) <= FIRST_LOAD


def test_the_theme_is_remembered(open_page):
    """The choice of a theme wins over the system's and outlives a reload."""
    page = open_page(color_scheme="light")
    page.get_by_role("button", name="Use the dark theme").click()
    page.reload()
    page.get_by_role("button", name="Use the light theme").wait_for()
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "dark"


def test_what_had_to_be_left_out_is_told(open_page, tmp_path):
    """A picture with a damaged colour profile is made, and the result says that the profile was left out."""
    path = tmp_path / "damaged.png"
    Image.new("RGB", (64, 48), (200, 90, 40)).save(path, icc_profile=b"no profile at all" * 20)
    page = open_page()
    choose(page, path)
    upscale(page)
    tab(page, "Result")
    page.get_by_role("heading", name="Warnings").wait_for()
    assert "colour profile" in page.get_by_role("listitem").filter(has_text="profile").first.inner_text()
