"""How many may send at once, with a key and without."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest

from fakes.asgi import Client
from fakes.gateway import Gateway
from fakes.server import document, form
from fluxvision.core.errors import Busy, InvalidRequest, Unavailable
from fluxvision.http import upload_limits
from fluxvision.http.upload_limits import (
    EACH_ADDRESS,
    EACH_KEY,
    MOST,
    VISITORS,
    BodyMemory,
    UploadLimits,
    release_nothing,
)
from fluxvision.jobs.lazy_service import LazyJobService
from fluxvision.net import fetch

MODEL = ("model", "flux-vision-upscaler")
KEY = {"Authorization": "Bearer k"}
PAGE = {"X-Fluxvision-Client": "page"}


@pytest.mark.parametrize(
    ("uploads_of", "most"),
    [
        ([(str(number % 2), None) for number in range(MOST + 1)], MOST),
        ([("key", None)] * (EACH_KEY + 1), EACH_KEY),
        ([("", "address")] * (EACH_ADDRESS + 1), EACH_ADDRESS),
        ([("", str(number)) for number in range(99)], VISITORS),
    ],
)
def test_places_end(uploads_of, most):
    """So many at once of all keys, one key, one address and all visitors, and as many again when they are done."""
    counted = UploadLimits()
    for _ in range(2):
        with ExitStack() as held:
            for one in uploads_of[:most]:
                held.enter_context(counted.place(*one))
            with pytest.raises(Busy):
                held.enter_context(counted.place(*uploads_of[most]))


def test_visitors_take_no_place_of_the_others():
    """A key sends while all places without one are taken, and the other way round."""
    counted = UploadLimits()
    with ExitStack() as held:
        for number in range(VISITORS):
            held.enter_context(counted.place("", str(number)))
        for number in range(MOST):
            held.enter_context(counted.place(str(number % 2), None))


def test_one_key_leaves_places_for_the_others():
    """While all places of one key are taken by slow uploads, another key sends."""
    counted = UploadLimits()
    with ExitStack() as held:
        for _ in range(EACH_KEY):
            held.enter_context(counted.place("slow", None))
        with pytest.raises(Busy):
            held.enter_context(counted.place("slow", None))
        held.enter_context(counted.place("other", None))


def test_a_place_is_given_back_once():
    """Early, or at the end, and never twice."""
    counted = UploadLimits()
    for one, most in (("key", None), EACH_KEY), (("", "address"), EACH_ADDRESS):
        with counted.place(*one) as arrived:
            arrived()
            arrived()
        with ExitStack() as held:
            for _ in range(most):
                held.enter_context(counted.place(*one))
            with pytest.raises(Busy):
                held.enter_context(counted.place(*one))


async def test_a_picture_that_is_fetched_holds_its_place(edge, monkeypatch):
    """The body is short, and its picture is still on its way."""
    served = edge(allow_private_urls="true")
    monkeypatch.setattr(upload_limits, "MOST", 1)
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


async def test_a_stored_job_holds_its_place_until_it_is_entered(edge, picture, monkeypatch):
    """Its caller went away, and it waits for the database all the same."""
    served = edge()
    monkeypatch.setattr(upload_limits, "MOST", 1)
    parts = (MODEL, ("image", picture, "a"), ("background", "true"))
    entering, go = asyncio.Event(), asyncio.Event()

    async def slow(_service):
        if not entering.is_set():
            entering.set()
            await go.wait()
        raise Unavailable("The server's database does not answer.")

    monkeypatch.setattr(LazyJobService, "get", slow)
    first = asyncio.create_task(served.edit(*parts))
    await entering.wait()
    first.cancel()
    assert (await served.edit(*parts)).status == 429
    go.set()
    await first
    assert (await served.edit(*parts)).status == 503


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
    monkeypatch.setattr(upload_limits, "VISITORS", 1)
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


def test_a_request_has_its_share_and_no_more():
    """A piece that does not fit reserves nothing; a smaller one still may."""
    with BodyMemory(each=10, most=100).share() as take:
        assert [take(6), take(5), take(4), take(1)] == [True, False, True, False]


def test_all_requests_share_the_room_and_give_it_back():
    """What one has another one lacks, until the first ends, whatever ended it."""
    memory = BodyMemory(each=10, most=15)
    with memory.share() as first:
        assert first(10)
        with memory.share() as second:
            assert not second(6)
            assert second(5)
    with memory.share() as third, memory.share() as fourth:
        assert third(10)
        assert fourth(5)


def test_no_room_at_all():
    """Without a memory nothing is kept."""
    assert not release_nothing(1)
