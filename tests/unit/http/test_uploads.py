"""How many may send at once, with a key and without."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest

from fakes.asgi import Client
from fakes.gateway import Gateway
from fakes.server import document, form
from fluxvision import fetch
from fluxvision.errors import Busy, InvalidRequest
from fluxvision.http import uploads
from fluxvision.http.uploads import EACH, MOST, VISITORS, Uploads

MODEL = ("model", "flux-vision-upscaler")
KEY = {"Authorization": "Bearer k"}
PAGE = {"X-Fluxvision-Client": "page"}


@pytest.mark.parametrize(
    ("visitors", "most"),
    [([None] * (MOST + 1), MOST), (["a"] * (EACH + 1), EACH), ([str(number) for number in range(99)], VISITORS)],
)
def test_places_end(visitors, most):
    """So many at once, and as many again when they are done."""
    counted = Uploads()
    for _ in range(2):
        with ExitStack() as held:
            for visitor in visitors[:most]:
                held.enter_context(counted.place(visitor))
            with pytest.raises(Busy):
                held.enter_context(counted.place(visitors[most]))


def test_visitors_take_no_place_of_the_others():
    """Whoever has a key sends while all places without one are taken, and the other way round."""
    counted = Uploads()
    with ExitStack() as held:
        for number in range(VISITORS):
            held.enter_context(counted.place(str(number)))
        for _ in range(MOST):
            held.enter_context(counted.place(None))


def test_a_place_is_given_back_once():
    """Early, or at the end, and never twice."""
    counted = Uploads()
    for visitor, most in ((None, MOST), ("a", EACH)):
        with counted.place(visitor) as arrived:
            arrived()
            arrived()
        with ExitStack() as held:
            for _ in range(most):
                held.enter_context(counted.place(visitor))
            with pytest.raises(Busy):
                held.enter_context(counted.place(visitor))


async def test_a_picture_that_is_fetched_holds_its_place(edge, monkeypatch):
    """The body is short, and its picture is still on its way."""
    served = edge(allow_private_urls="true")
    monkeypatch.setattr(uploads, "MOST", 1)
    headers, body = document({"model": MODEL[1], "image": "http://127.0.0.1:9/slow.png"})
    fetching, go = asyncio.Event(), asyncio.Event()

    async def slow(*_given, **_words):
        fetching.set()
        await go.wait()
        raise InvalidRequest("image: it cannot be fetched.", param="image")

    monkeypatch.setattr(fetch, "resolve", slow)
    first = asyncio.create_task(Client("POST", "/v1/images/edits", headers, [body]).ask(served.app))
    await fetching.wait()
    assert (await Client("POST", "/v1/images/edits", headers, [body]).ask(served.app)).status == 429
    go.set()
    assert (await first).status == 400


async def test_as_many_work_as_the_gateway_takes(edge, picture):
    """Who has sent all is counted by the gateway alone."""
    served = edge(gateway=Gateway(workers=40))
    answers = await asyncio.gather(
        *(served.edit(MODEL, ("image", picture, "a"), ("tile_seconds", "0.05")) for _ in range(40))
    )
    assert {answer.status for answer in answers} == {200}


async def test_slow_visitors_keep_nobody_out(edge, picture, monkeypatch):
    """With the places without a key taken, the next visitor is refused, and a caller with a key is served."""
    served = edge(api_keys="k")
    monkeypatch.setattr(uploads, "VISITORS", 1)
    headers, body = form(MODEL, ("image", picture, "a"))
    slow = Client("POST", "/v1/images/edits?dryRun=true", {**headers, **PAGE}, [body[:50]])
    slow.stalls = True
    task = asyncio.create_task(slow.ask(served.app))
    await asyncio.sleep(0.05)
    assert (await served.edit(MODEL, ("image", picture, "a"), query="?dryRun=true", **PAGE)).status == 429
    assert (await served.edit(MODEL, ("image", picture, "a"), **KEY)).status == 200
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (await served.edit(MODEL, ("image", picture, "a"), query="?dryRun=true", **PAGE)).status == 200
