"""The model pages, generated from the catalogue's rows."""

from __future__ import annotations

import re

import pytest

from browser.steps import choose, sideways, tab
from fakes.server import Server

MODEL = "flux-vision-upscaler"


def listed(server):
    """Return the models of the API without their aliases."""
    return [one for one in server.get("/v1/models?all=true").json()["data"] if one["id"] == one["root"]]


def test_every_model_is_listed(open_page, server):
    """The list has all models of the API, and each leads to its page."""
    page = open_page("/models")
    page.get_by_role("heading", name="Flux Vision Upscaler").wait_for()
    names = [one["name"] for one in listed(server)]
    assert page.locator("li h2").all_inner_texts() == names
    page.get_by_role("link", name=re.compile("SeedVR2")).click()
    page.get_by_role("heading", name="SeedVR2", exact=True).wait_for()
    assert page.url == f"{server.url}/models/seedvr"
    page.go_back()
    page.get_by_role("heading", name="Models").wait_for()


@pytest.mark.parametrize("name", [MODEL, "clarity-upscaler", "topaz-upscale"])
def test_a_page_has_what_the_rows_say(open_page, server, name):
    """Offers, prices, parameters with a column per provider, modes and questions are those of the API."""
    page = open_page(f"/models/{name}")
    page.get_by_role("heading", name="Parameter Normalization").wait_for()
    card = server.get(f"/v1/models/{name}?schema=true").json()
    prices = page.get_by_role("region", name="Prices").inner_text()
    for offer in card["offers"]:
        assert offer["provider"] in prices
        assert offer["price"]["text"] in prices
    table = page.get_by_role("region", name="Parameters")
    assert table.locator("thead th").all_inner_texts()[1:] == [one["provider"] for one in card["offers"]]
    shown = table.locator("tbody th[scope=row] code").all_inner_texts()
    assert sorted(shown) == sorted(set(card["schema"]["properties"]) - {"model"})
    details = page.locator("#details").inner_text()
    assert all(alias in details for alias in card["aliases"])
    assert page.locator("#faq summary").count() >= 3
    assert page.locator("#normalization li").count() == 4


def test_the_price_is_that_of_your_picture(open_page):
    """Width, height and factor give each provider's price: 2 MP at ten cents are twenty cents."""
    page = open_page(f"/models/{MODEL}")
    form = page.get_by_role("form", name="Your picture")
    for name, value in (("Width", "1000"), ("Height", "500"), ("Factor", "2")):
        form.get_by_label(name).fill(value)
    row = page.get_by_role("region", name="Prices").locator("tbody tr", has_text="fal-ai")
    assert row.locator("td").last.inner_text() == "$0.20"


def test_a_loaded_picture_is_quoted(open_page, photo):
    """With a picture in the playground its size stands there, and the server's own quote below."""
    page = open_page()
    choose(page, photo)
    page.get_by_role("link", name="About this model").click()
    page.get_by_text("this server quotes $0 by embedded").wait_for()
    assert page.get_by_role("form", name="Your picture").get_by_label("Width").input_value() == "96"


def test_the_gallery_compares(open_page):
    """Example outputs are pairs with a divider that the keyboard moves."""
    page = open_page(f"/models/{MODEL}")
    slider = page.get_by_role("slider", name=re.compile("divider between before and after")).first
    slider.focus()
    slider.press("End")
    assert slider.input_value() == "100"


def test_the_page_leads_on(open_page, tmp_path):
    """The playground opens with the page's model where that is set up, and llms.txt is there for programs."""
    with Server(tmp_path / "data", environment={"FAL_KEY": "id:secret"}, module=("fluxvision", "serve")) as running:
        page = open_page("/models/seedvr", at=running)
        link = page.get_by_role("link", name="llms.txt").get_attribute("href")
        assert running.get(link).headers["content-type"].startswith("text/markdown")
        page.get_by_role("link", name="Try in playground").click()
        page.get_by_label("Model", exact=True).wait_for()
        page.wait_for_function("() => document.querySelector('select').value === 'seedvr'")


def test_a_model_that_is_not_set_up_invites_nobody(open_page):
    """Its page leads to no playground, and says at its top and at its end who could make it."""
    page = open_page("/models/esrgan")
    said = page.get_by_text("No provider of Real-ESRGAN is set up on this server; it can be had from fal.")
    said.first.wait_for()
    assert said.count() == 2
    assert page.locator("main a[href^='/?model=']").count() == 0


def test_a_ready_model_names_who_makes_it_here(open_page, server):
    """The list names the providers that are set up; of a model that is not set up, those that have it."""
    page = open_page("/models")
    page.get_by_role("heading", name="Flux Vision Upscaler").wait_for()
    for one in listed(server):
        names = [offer["provider"] for offer in one["offers"] if offer["configured"] or not one["available"]]
        card = page.get_by_role("listitem").filter(has=page.get_by_role("heading", name=one["name"], exact=True))
        assert card.locator(".facts .muted").inner_text() == f"by {', '.join(names)}"


def test_code_is_of_this_server(open_page, server):
    """The examples have this server's address and the page's model."""
    page = open_page("/models/seedvr")
    for name in ("curl", "Python", "JavaScript"):
        tab(page, name)
        shown = page.get_by_role("region", name=f"{name} code").inner_text()
        assert f"{server.url}/openai/v1" in shown
        assert "seedvr" in shown


def test_an_unknown_model_is_said_to_be_unknown(open_page):
    """The server's own words, with its suggestion, stand on the page of a model that does not exist."""
    page = open_page("/models/flux-vision-upscalr")
    page.get_by_role("heading", name="No such model").wait_for()
    assert "flux-vision-upscaler" in page.locator("main").inner_text()


@pytest.mark.parametrize("path", ["/models", f"/models/{MODEL}"])
def test_a_phone_needs_no_sideways_scroll(open_page, path):
    """Wide tables scroll in themselves."""
    page = open_page(path, viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True)
    page.locator("h2").first.wait_for()
    page.wait_for_load_state("networkidle")
    assert sideways(page) == 0


def test_tables_stack_on_a_phone(open_page):
    """At 360 pixels no table scrolls sideways: each row is a block with the provider before what it does."""
    page = open_page(f"/models/{MODEL}", viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True)
    for name in ("Parameters", "Prices"):
        table = page.get_by_role("region", name=name)
        table.wait_for()
        assert table.evaluate("one => one.scrollWidth - one.clientWidth") == 0
    assert sideways(page) == 0
    assert page.evaluate("visualViewport.width") == 360
    row = page.get_by_role("region", name="Parameters").locator("tr", has_text="negative_prompt")
    assert row.locator(".heads:visible").count() > 1
