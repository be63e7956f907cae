"""stream=true: what a client sees, and in which order."""

from __future__ import annotations

import asyncio
import base64
import gc
from types import SimpleNamespace

import pytest

from fakes.asgi import Client
from fakes.gateway import png
from fakes.server import form
from fluxvision.core.errors import UpstreamError
from fluxvision.http import streaming
from fluxvision.http.client_api import EditRequest

REQUIRED = {"type", "b64_json", "created_at", "size", "quality", "background", "output_format"}
MODEL = ("model", "flux-vision-upscaler")
STREAM = ("stream", "true")


async def test_a_stream_shows_a_preview_progress_and_the_result(edge, picture):
    """Previews come first and in order, tiles are comments, and the result has OpenAI's fields and our receipt."""
    served = edge()
    answer = await served.edit(
        MODEL, ("image", picture, "a"), STREAM, ("partial_images", "3"), ("tile_seconds", "0.02")
    )
    events = answer.events()
    assert answer.answered["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.answered["x-fluxvision-model"] == "flux-vision-upscaler"
    assert [name for name, _ in events if name != ":"] == ["image_edit.partial_image"] * 3 + ["image_edit.completed"]
    assert (":", "progress 4/4") in events
    partials = [data for name, data in events if name == "image_edit.partial_image"]
    assert [data["partial_image_index"] for data in partials] == [0, 1, 2]
    assert [base64.b64decode(data["b64_json"]) for data in partials] == [png(32, 24, (0, each, 0)) for each in range(3)]
    partial = partials[0]
    completed = events[-1][1]
    assert REQUIRED | {"partial_image_index"} <= set(partial)
    assert REQUIRED | {"usage", "metadata", "url", "id"} <= set(completed)
    assert base64.b64decode(completed["b64_json"]) == png(64, 48, (0, 30, 60))
    assert answer.sent[-1] == streaming.END


async def test_a_link_that_was_asked_for_comes_without_the_bytes(edge, picture):
    """With response_format=url the result's event has the link and an empty b64_json; previews have their bytes."""
    answer = await edge().edit(
        MODEL, ("image", picture, "a"), STREAM, ("partial_images", "1"), ("response_format", "url")
    )
    partial, completed = (data for name, data in answer.events() if name != ":")
    assert partial["b64_json"]
    assert completed["b64_json"] == ""
    assert completed["url"].startswith("http://localhost:8000/media/")


async def test_without_partial_images_there_is_no_preview(edge, picture):
    """partial_images=0 and absent: the result alone; two pictures are two events."""
    events = (await edge().edit(("model", "gpt-image-1"), ("image", picture, "a"), STREAM, ("n", "2"))).events()
    completed = [data for name, data in events if name != ":"]
    assert [data["type"] for data in completed] == ["image_edit.completed"] * 2
    assert "url" not in completed[0]


async def test_every_event_tells_of_its_own_picture(edge, picture):
    """Seed, fidelity and number are those of the version in the event; the lists have all of them."""
    served = edge()
    events = (await served.edit(MODEL, ("image", picture, "a"), STREAM, ("n", "2"))).events()
    told = [data["metadata"] for name, data in events if name == "image_edit.completed"]
    assert [(one["index"], one["seed"]) for one in told] == [(0, 7), (1, 8)]
    assert [one["fidelity"] for one in told] == told[0]["fidelities"] == told[1]["fidelities"]
    assert told[0]["seeds"] == [7, 8]


async def test_a_version_keeps_its_number_when_another_fails(edge, picture):
    """Numbers and failures speak of the same versions, and of one that is left the lists are there, too."""
    served = edge()
    parts = (MODEL, ("image", picture, "a"), ("n", "2"), ("lost", "0"))
    events = (await served.edit(*parts, STREAM)).events()
    [told] = [data["metadata"] for name, data in events if name == "image_edit.completed"]
    whole = (await served.edit(*parts)).json()["metadata"]
    for found in (told, whole):
        assert (found["index"], found["seed"], found["seeds"]) == (1, 8, [8])
        assert [one["index"] for one in found["failures"]] == [0]


async def test_a_preview_that_comes_with_the_end_is_sent_before_the_result(edge, picture):
    """However quick the work is, every preview is sent, and before the result."""
    events = (
        await edge().edit(MODEL, ("image", picture, "a"), STREAM, ("partial_images", "1"), ("tiles", "1"))
    ).events()
    assert [name for name, _ in events if name != ":"] == ["image_edit.partial_image", "image_edit.completed"]


async def test_silence_is_broken_by_keep_alives(edge, picture, monkeypatch):
    """While nothing happens a comment keeps proxies from hanging up."""
    monkeypatch.setattr(streaming, "KEEP_ALIVE", 0.02)
    events = (
        await edge().edit(MODEL, ("image", picture, "a"), STREAM, ("tile_seconds", "0.1"), ("tiles", "1"))
    ).events()
    assert events.count((":", "keep-alive")) >= 2


@pytest.mark.parametrize(("fail", "code"), [("upstream", "UPSTREAM_ERROR"), ("crash", "INTERNAL_ERROR")])
async def test_an_error_after_the_start_is_an_event(edge, picture, fail, code):
    """What fails later is told in OpenAI's error body, without details of our own faults."""
    served = edge()
    answer = await served.edit(MODEL, ("image", picture, "a"), STREAM, ("fail", fail), ("prompt", "secret"))
    name, data = answer.events()[-1]
    assert (answer.status, name, data["error"]["code"]) == (200, "error", code)
    assert "secret" not in served.log.getvalue() + answer.body.decode()


async def test_an_error_is_gone_with_its_stream(edge, picture):
    """What failed does not wait for the collector, with all that it held: pictures, open files."""
    served = edge()
    gc.collect()  # what earlier tests left
    gc.disable()
    try:
        await served.edit(MODEL, ("image", picture, "a"), STREAM, ("fail", "upstream"))
        assert [each for each in gc.get_objects() if type(each) is UpstreamError] == []
    finally:
        gc.enable()


@pytest.mark.parametrize(("fail", "status"), [("refuse", 400), ("vet", 400)])
async def test_what_can_be_refused_has_a_status(edge, picture, fail, status):
    """What is known before the first byte is an ordinary error."""
    assert (await edge().edit(MODEL, ("image", picture, "a"), STREAM, ("fail", fail))).status == status


async def test_a_caller_that_goes_away_stops_the_job(edge, picture):
    """Hanging up in the middle of a stream cancels the job."""
    served = edge()
    headers, body = form(MODEL, ("image", picture, "a"), STREAM, ("tile_seconds", "5"))
    client = Client("POST", "/v1/images/edits", headers, [body])
    task = asyncio.create_task(client.ask(served.app))
    await served.gateway.begun.wait()
    client.gone.set()
    await task
    assert (served.gateway.running, len(served.gateway.cancelled)) == (0, 1)


async def test_a_drain_ends_a_stream_with_an_event(edge, picture):
    """A stream that the server cannot finish says so before it ends, and what it may have cost."""
    served = edge()
    headers, body = form(MODEL, ("image", picture, "a"), STREAM, ("tile_seconds", "5"), ("begun", "1"))
    client = Client("POST", "/v1/images/edits", headers, [body])
    task = asyncio.create_task(client.ask(served.app))
    await served.gateway.begun.wait()
    assert await served.app.drain(0.05) == 1
    await task
    last = client.events()[-1][1]
    assert last["error"]["code"] == "UNAVAILABLE"
    assert [one["cost_at_most"] for one in last["metadata"]["attempts"]] == [0.1]
    assert client.sent[-1] == streaming.END


async def test_a_preview_outlives_its_file(tmp_path):
    """A preview that is sent later than its job ended is sent whole: the job's folder is gone by then."""
    buffer, sent, path = streaming.ProgressBuffer(EditRequest()), [], tmp_path / "preview.png"
    path.write_bytes(png(4, 3))
    buffer.preview(path)
    path.unlink()

    async def send(message):
        sent.append(message["body"])

    await buffer.send(SimpleNamespace(now=lambda: 1.0), send)
    assert b"image_edit.partial_image" in b"".join(sent)
