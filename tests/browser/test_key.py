"""The key of a tab: what it opens, where it goes, and where it is never found."""

from __future__ import annotations

import json

import pytest

from browser.steps import choose, enter_key, key_form, price, tab, upscale
from fakes.server import Server

KEY = "key-of-this-test-7c1f"
SERVED = {"playground_rate": "10000", "api_keys": KEY}
SENDERS = ("authorization", "x-fluxvision-client")
KEPT = """async () => {
  const open = indexedDB.open('fluxvision', 1);
  const database = await new Promise((resolve) => (open.onsuccess = () => resolve(open.result)));
  const all = database.transaction('runs').objectStore('runs').getAll();
  const entries = await new Promise((resolve) => (all.onsuccess = () => resolve(all.result)));
  return JSON.stringify([entries, Object.entries(localStorage), document.cookie, location.href, history.state]);
}"""


def served(folder, environment=None, **settings):
    """Return a server as a user starts it."""
    return Server(folder / "data", {**SERVED, **settings}, environment or {}, module=("fluxvision", "serve"))


@pytest.fixture(scope="module")
def keyed(tmp_path_factory):
    """A server with a key and a provider that charges, whose page works without a key on what is free."""
    with served(tmp_path_factory.mktemp("keyed"), {"FAL_KEY": "id:secret"}) as running:
        yield running


@pytest.fixture(scope="module")
def locked(tmp_path_factory):
    """A server whose page does not work without a key."""
    with served(tmp_path_factory.mktemp("locked"), playground="false") as running:
        yield running


def senders(page):
    """Return a list that grows with each request to the API: the headers by which it says who asks."""
    asked = []

    def note(request):
        if "/v1/images" in request.url or "/v1/models" in request.url:
            asked.append({name: value for name, value in request.headers.items() if name in SENDERS})

    page.on("request", note)
    return asked


def test_a_key_opens_what_charges(open_page, keyed, photo):
    """Without a key the free provider serves; with one the dearer comes first; forgotten, all is as before."""
    page = open_page(at=keyed)
    asked = senders(page)
    choose(page, photo)
    assert price(page).inner_text() == "$0"
    page.get_by_role("button", name="by embedded").click()
    why = page.get_by_role("dialog", name="Who would serve it and why")
    assert "Would serve it for somebody with a key" in why.inner_text()
    assert why.locator("li .name").all_inner_texts().count("fal") == 1
    page.keyboard.press("Escape")
    assert [*asked[-1]] == ["x-fluxvision-client"]
    enter_key(page, KEY)
    page.get_by_role("button", name="by fal").wait_for()
    assert price(page).inner_text() != "$0"
    assert asked[-1] == {"authorization": f"Bearer {KEY}", "x-fluxvision-client": "page"}
    page.reload()
    choose(page, photo)
    page.get_by_role("button", name="by fal").wait_for()
    key_form(page).get_by_role("button", name="Forget the key").click()
    page.get_by_role("button", name="by embedded").wait_for()
    assert [*asked[-1]] == ["x-fluxvision-client"]
    assert page.evaluate("sessionStorage.length") == 0


def test_an_unknown_key_is_not_used(open_page, keyed):
    """The form says that the server does not know it, and nothing is kept; so it is with what no header carries."""
    page = open_page(at=keyed)
    page.get_by_label("Model", exact=True).wait_for()
    for wrong, said in (("another", "The API key is unknown."), ("two words", "A key is one word")):
        enter_key(page, wrong)
        page.get_by_role("alert").get_by_text(said).wait_for()
        page.keyboard.press("Escape")
    assert page.evaluate("sessionStorage.length") == 0


def test_who_is_left_out_and_why(open_page, keyed, photo):
    """A provider that is dearer than the limit of this request is named with the reason."""
    page = open_page(at=keyed)
    enter_key(page, KEY)
    choose(page, photo)
    page.get_by_role("button", name="by fal").wait_for()
    page.get_by_text("Advanced", exact=True).click()
    page.get_by_label("Max cost", exact=True).fill("0.000001")
    page.get_by_role("button", name="by embedded").click()
    row = page.get_by_role("dialog", name="Who would serve it and why").locator("li", has_text="fal")
    assert "max_cost" in row.inner_text()


def test_what_only_a_key_pays_for_asks_for_one(open_page, keyed, photo):
    """Where nobody makes it for nothing the page says so in one place, with the way to enter a key."""
    page = open_page("/?model=seedvr", at=keyed)
    page.wait_for_function("() => document.querySelector('select')?.value === 'seedvr'")
    page.locator("input[type=file]").first.set_input_files(photo)
    told = page.get_by_role("alert")
    told.get_by_text("no provider is cheap enough").wait_for()
    assert page.locator(".error").count() == 0
    told.get_by_role("button", name="Enter a key").click()
    enter_key(page, KEY, opened=True)
    price(page).wait_for()
    assert told.count() == 0


def test_a_locked_page_asks_for_a_key(open_page, locked, photo):
    """The page says what it needs instead of failing; with the key it makes a picture that says nothing of the key."""
    page = open_page("/models/flux-vision-upscaler", at=locked)
    page.get_by_role("heading", name="Enter a key to begin").wait_for()
    page.get_by_role("link", name="Playground", exact=True).click()
    main = page.get_by_role("main")
    main.get_by_label("Key").fill("wrong")
    main.get_by_role("button", name="Use it").click()
    page.get_by_text("The API key is unknown.").wait_for()
    main.get_by_label("Key").fill(KEY)
    main.get_by_label("Key").press("Enter")
    choose(page, photo)
    upscale(page)
    tab(page, "Code")
    assert "$FLUXVISION_API_KEY" in page.get_by_role("region", name="curl code").inner_text()
    tab(page, "History")
    page.get_by_role("button", name="Open flux-vision-upscaler").wait_for()
    assert KEY not in page.content()
    assert KEY not in page.evaluate(KEPT)
    assert json.loads(page.evaluate("JSON.stringify(sessionStorage)")) == {"fluxvision.key": KEY}
    assert KEY not in locked.log
    other = page.context.new_page()
    other.goto(locked.url)
    other.get_by_role("heading", name="Enter a key to begin").wait_for()


def test_without_keys_any_word_will_do(open_page, photo):
    """A server that has no keys says so; the page goes on to work with a word and without."""
    page = open_page()
    choose(page, photo)
    assert "has no keys of its own" in key_form(page).inner_text()
    enter_key(page, "anything", opened=True)
    page.get_by_role("button", name="Key: in use").wait_for()
    upscale(page)
    key_form(page).get_by_role("button", name="Forget the key").click()
    page.get_by_role("button", name="Key", exact=True).wait_for()


def test_the_keyboard_is_enough(open_page, keyed):
    """The control opens by Enter, Escape closes it and gives the focus back."""
    page = open_page(at=keyed)
    page.get_by_label("Model", exact=True).wait_for()
    button = page.get_by_role("button", name="Key", exact=True)
    button.focus()
    page.keyboard.press("Enter")
    form = page.get_by_role("dialog", name="Key")
    form.wait_for()
    page.keyboard.press("Tab")
    assert form.get_by_label("Key", exact=True).evaluate("one => one === document.activeElement")
    page.keyboard.press("Escape")
    form.wait_for(state="hidden")
    assert button.evaluate("one => one === document.activeElement")
