"""The history with a key: the requests that the server keeps, wherever they were made."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
from PIL import Image

from browser.steps import begin_long, change, choose, divider, enter_key, sideways, tab, upscale
from fakes.server import Server, wait_until

PHONE = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
KEYS = [f"key-{number}-of-these-tests-7c1f" for number in range(30)]


@dataclass(frozen=True, slots=True)
class Keyed:
    """A server, and a key with which nobody has asked for anything yet."""

    server: Server
    key: str

    @property
    def bearer(self):
        """Return the header that sends the key."""
        return {"Authorization": f"Bearer {self.key}"}

    def ask(self, photo, *parts, **headers):
        """Ask for a picture as another program does, and return the request's id."""
        fields = [("model", "flux-vision-upscaler"), ("response_format", "url"), *parts]
        answer = self.server.edit(*fields, ("image", photo.read_bytes(), "photo.png"), **self.bearer, **headers)
        assert answer.status in {200, 202}
        return answer.json()["id"]

    def shown(self, request_id):
        """Return a request as the server shows it."""
        return self.server.get(f"/v1/requests/{request_id}", self.bearer).json()

    def listed(self):
        """Return the key's requests."""
        return self.server.get("/v1/requests", self.bearer).json()["data"]


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Yields a server with keys, one after another."""
    settings = {"api_keys": ",".join(KEYS), "playground_rate": "10000"}
    with Server(tmp_path_factory.mktemp("keyed") / "data", settings, module=("fluxvision", "serve")) as running:
        yield (Keyed(running, key) for key in KEYS)


@pytest.fixture
def keyed(keys):
    """A server with a key."""
    return next(keys)


@pytest.fixture
def enter(open_page, keyed):
    """Open the page in a browser of its own, with the key."""

    def entered(**window):
        page = open_page(at=keyed.server, **window)
        page.get_by_label("Model", exact=True).wait_for()
        enter_key(page, keyed.key)
        page.get_by_role("button", name="Key: in use").wait_for()
        return page

    return entered


def row(page, status):
    """Return the rows of the list that show a status."""
    return page.get_by_role("list", name="Requests").get_by_role("listitem").filter(has_text=status)


def test_a_picture_of_the_page_is_found_in_another_browser(enter, keyed, photo):
    """What one browser made with the key opens in another one, with its receipt, from the server."""
    page = enter()
    choose(page, photo)
    upscale(page)
    tab(page, "History")
    row(page, "Completed").locator("img").wait_for()
    assert page.get_by_text("Kept in this browser.").count() == 0
    other = enter()
    tab(other, "History")
    text = row(other, "Completed").inner_text()
    assert "flux-vision-upscaler" in text
    assert re.search(r"by embedded, (less than )?\d+ s, \$0", text)
    other.get_by_role("button", name="Open flux-vision-upscaler").click()
    other.get_by_alt_text("The picture after").wait_for()
    assert other.get_by_alt_text("The picture after").evaluate("image => image.naturalWidth") == 192
    tab(other, "Result")
    other.get_by_role("region", name="Receipt").wait_for()
    assert keyed.key not in keyed.server.log


def test_a_picture_is_deleted_on_the_server(enter, keyed, photo):
    """Delete asks once more, takes the picture from the server and from this browser, and keeps the row."""
    page = enter()
    choose(page, photo)
    upscale(page)
    tab(page, "History")
    page.get_by_role("button", name="Delete flux-vision-upscaler").press("Enter")
    page.get_by_role("button", name="Really delete flux-vision-upscaler").press("Enter")
    page.get_by_text("No picture is kept.").wait_for()
    assert page.evaluate("document.activeElement.dataset.id") is not None
    [kept] = keyed.listed()
    assert (kept["status"], kept["has_response"]) == ("completed", False)
    assert page.get_by_role("button", name=re.compile("^(Open|Delete) ")).count() == 0
    page.reload()
    tab(page, "History")
    page.get_by_text("No picture is kept.").wait_for()
    assert page.locator("li .open").count() == 0


def test_a_running_request_is_followed_and_cancelled(enter, keyed, photo):
    """A request of another program shows how far it is without being asked again, and ends by Cancel."""
    page = enter()
    tab(page, "History")
    page.get_by_text("What is made with your key is listed here").wait_for()
    slow = keyed.ask(photo, ("scale_factor", "4"), ("n", "10"), Prefer="respond-async")
    tab(page, "Result")
    tab(page, "History")
    row(page, re.compile("Queued|Running")).get_by_role("button", name="Cancel flux-vision-upscaler").click()
    row(page, "Cancelled").wait_for()
    assert keyed.shown(slow)["status"] == "cancelled"


def test_a_request_that_ends_is_shown_by_itself(enter, keyed, photo):
    """The list of a window that is looked at goes from running to completed without a click."""
    page = enter()
    keyed.ask(photo, ("n", "4"), Prefer="respond-async")
    tab(page, "History")
    row(page, "Completed").wait_for()
    page.get_by_role("button", name="Open flux-vision-upscaler").wait_for()


def test_cancel_ends_the_work_on_the_server(enter):
    """With a key the server would go on without the page; Cancel ends the work, even before it was accepted."""
    page = enter()
    begin_long(page)
    page.get_by_role("button", name="Cancel").click()
    tab(page, "History")
    row(page, "Cancelled").wait_for()


def test_another_picture_leaves_the_work_to_the_server(enter, keyed, photo):
    """Who chooses another picture meanwhile finds the first one in the history."""
    page = enter()
    choose(page, photo)
    change(page, n=4)
    page.get_by_role("button", name="Upscale", exact=True).click()
    page.get_by_role("progressbar").wait_for()
    assert wait_until(keyed.listed)
    page.get_by_role("button", name="Close this picture").click()
    choose(page, photo)
    tab(page, "History")
    row(page, "Completed").wait_for()


def test_older_requests_are_a_click_away(enter, keyed, photo):
    """Twenty requests show; the button brings those before them, and goes when there are no more."""
    Image.new("RGB", (8, 8)).save(photo)
    for number in range(22):
        keyed.ask(photo, **{"Idempotency-Key": f"number-{number}"})
    page = enter(**PHONE)
    tab(page, "History")
    rows = page.get_by_role("list", name="Requests").get_by_role("listitem")
    page.get_by_role("button", name="Show older").wait_for()
    assert rows.count() == 20
    page.get_by_role("button", name="Show older").press("Enter")
    rows.nth(21).wait_for()
    assert (rows.count(), page.get_by_role("button", name="Show older").count()) == (22, 0)
    assert sideways(page) == 0


def test_failures_are_told(enter, keyed, photo):
    """A failed request shows its error; a list that cannot be had says so until it can."""
    made = keyed.ask(photo, **{"Idempotency-Key": "one"})
    page = enter()
    page.context.route("**/v1/requests?*", lambda route: route.abort())
    tab(page, "History")
    alert = page.get_by_role("alert").filter(has_text="The server cannot be reached.")
    alert.wait_for()
    page.context.unroute("**/v1/requests?*")
    alert.get_by_role("button", name="Try again").click()
    row(page, "Completed").wait_for()
    assert alert.count() == 0
    for file in (keyed.server.folder / "media").iterdir():
        if file.is_file():
            file.unlink()
    page.get_by_role("button", name="Open flux-vision-upscaler").click()
    row(page, "Completed").get_by_role("alert").wait_for()
    assert keyed.shown(made)["error"]["message"] == row(page, "Completed").get_by_role("alert").inner_text()


def test_without_the_key_the_list_is_gone(enter, keyed, photo):
    """The key's requests leave the page with the key; what this browser keeps stays."""
    keyed.ask(photo, **{"Idempotency-Key": "one"})
    page = enter()
    choose(page, photo)
    upscale(page)
    tab(page, "History")
    row(page, "Completed").nth(1).wait_for()
    page.get_by_role("button", name="Key: in use").click()
    page.get_by_role("button", name="Forget the key").click()
    page.locator("li .open").wait_for()
    assert page.get_by_role("list", name="Requests").count() == 0
    assert page.get_by_role("tab", name="History 1").count() == 1
    divider(page).wait_for()
