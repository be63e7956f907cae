"""POST /images/edits: the whole story of a request."""

from __future__ import annotations

import asyncio
import base64
import errno
import io
import json
import shutil
import time
from pathlib import Path

import pytest
from PIL import Image

from fakes.asgi import Client
from fakes.gateway import Gateway, png
from fakes.jobs import job
from fakes.server import document, form
from fluxvision.core.types import ReceiptEntry
from fluxvision.http import edits, form_to_jobs
from fluxvision.http.parsing import json_body
from fluxvision.http.result_body import job_warnings

MODEL = ("model", "flux-vision-upscaler")
STALLS = [(0, ()), (1, ()), (1, (("stream", "true"),)), (3, (("stream", "true"),)), (0, (("fail", "upstream"),))]


def jpeg(width, height):
    """Return a small picture whose header is read from a file, in a thread."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height)).save(buffer, "JPEG")
    return buffer.getvalue()


def left(edge):
    """Return what lies in the upload folder beside its lock."""
    return [path for path in (edge.folder / "uploads").glob("run-*/**/*") if path.is_file() and path.name != "lock"]


@pytest.mark.parametrize("prefix", ["/v1", "/openai/v1"])
async def test_a_link_is_answered(edge, picture, prefix):
    """The body is OpenAI's, with a link that opens the result, and the receipt in the metadata."""
    served = edge()
    headers, body = form(MODEL, ("image", picture, "a.png"), ("scale_factor", "2"))
    answer = await Client("POST", prefix + "/images/edits", headers, [body]).ask(served.app)
    found = answer.json()
    assert (answer.status, found["created"], found["output_format"]) == (200, 1_800_000_000, "png")
    assert "size" not in found
    assert found["metadata"]["size"] == "64x48"
    assert found["metadata"]["executed_model"] == "embedded/span"
    assert found["metadata"]["fidelity"] == {"lr_psnr_db": 48.5, "seam_ratio": None, "delta_e": 0.4}
    assert found["metadata"]["normalization"][0] == {
        "parameter": "scale_factor",
        "mode": "passthrough",
        "from": 2.0,
        "to": 2.0,
        "note": "",
        "honoured": True,
    }
    assert found["data"][0]["revised_prompt"] == found["metadata"]["caption"] == "a red square"
    url = found["data"][0]["url"]
    assert url.startswith("http://localhost:8000/media/")
    assert (await served.get(url.removeprefix("http://localhost:8000"))).sent[1]["body"] == png(64, 48, (0, 30, 60))
    assert left(served) == []


async def test_headers_tell_who_did_it(edge, picture):
    """Every answer has an id of our own and its time; a picture's has its provider and model too."""
    served = edge()
    answer = await served.edit(MODEL, ("image", picture, "a"), **{"X-Request-Id": "mine"})
    headers = answer.answered
    assert headers["x-request-id"] == headers["x-fluxvision-request-id"] == answer.json()["id"]
    assert (headers["x-fluxvision-provider"], headers["x-fluxvision-model"]) == ("embedded", "flux-vision-upscaler")
    assert int(headers["openai-processing-ms"]) >= 0
    assert int(headers["content-length"]) == len(answer.body)


@pytest.mark.parametrize("side", [16, 512, 700])
async def test_base64_is_the_file(edge, side):
    """With b64_json the text decodes to the very bytes, whatever the length; an OpenAI size is told at the top."""
    served = edge()
    answer = await served.edit(("model", "gpt-image-1"), ("image", png(side, side), "a"), ("n", "3"))
    data = answer.json()["data"]
    expected = [png(2 * side, 2 * side, (number, 30, 60)) for number in range(3)]
    assert [base64.b64decode(item["b64_json"]) for item in data] == expected
    assert answer.json().get("size") == ("1024x1024" if side == 512 else None)
    assert answer.json()["metadata"]["seeds"] == [7, 8, 9]


@pytest.mark.parametrize("query", ["?dryRun=true", "?dryRun", "?dryrun=1", "?dry_run=TRUE"])
async def test_a_dry_run_calls_nobody(edge, picture, query):
    """A dry run answers a quote in micro-dollars and starts nothing."""
    served = edge()
    answer = await served.edit(MODEL, ("image", picture, "a"), query=query)
    quote = answer.json()
    assert (quote["estimated"], quote["total_cost_micros"], quote["currency"]) == (True, 100_000, "USD")
    assert quote["components"][0]["metric"] == "output_megapixel"
    assert (served.gateway.started, left(served)) == ([], [])


@pytest.mark.parametrize(("query", "status"), [("?dryRun=false", 200), ("?dryRun=0&a=b", 200), ("?dryRun=maybe", 400)])
async def test_a_dry_run_is_only_what_says_so(edge, picture, query, status):
    """`false` runs; a word that is neither is refused, since guessing could cost money."""
    assert (await edge().edit(MODEL, ("image", picture, "a"), query=query)).status == status


@pytest.mark.parametrize(("query", "param"), [("?scale_factor=4", "scale_factor"), ("?a=b&model=x", "model")])
async def test_a_parameter_in_the_address_is_refused(edge, picture, query, param):
    """It would do nothing there; other words of an address are somebody else's."""
    answer = await edge().edit(MODEL, ("image", picture, "a"), query=query)
    assert (answer.status, answer.json()["error"]["param"]) == (400, param)
    assert (await edge().edit(MODEL, ("image", picture, "a"), query="?api-version=1")).status == 200


async def test_an_empty_text_is_no_picture(edge, picture):
    """An empty mask counts as absent, as every other empty parameter does; so does an empty image."""
    served = edge()
    assert (await served.edit(MODEL, ("image", picture, "a"), ("mask", ""))).status == 200
    assert served.gateway.started[0].mask is None
    answer = await served.edit(MODEL, ("image", ""))
    error = answer.json()["error"]
    assert (answer.status, error["code"], error["message"][:18]) == (400, "image_required", "image is required:")


@pytest.mark.parametrize(("model", "status"), [(5, 400), (["m"], 400), ("", 200), (None, 200)])
async def test_without_a_model_it_is_the_default_one(edge, picture, model, status):
    """A model that is there and is no text is refused; an empty one is the first of the catalogue."""
    headers, body = document({"model": model, "image": "data:;base64," + base64.b64encode(picture).decode()})
    answer = await Client("POST", "/v1/images/edits", headers, [body]).ask(edge().app)
    assert answer.status == status
    if status == 200:
        assert answer.answered["x-fluxvision-model"] == MODEL[1]


async def test_several_pictures_are_each_enlarged_where_asked(edge, picture):
    """images_mode=each makes a picture of every one, in their order; the metadata has each, and the cost of all."""
    served = edge()
    others = [("image[]", png(side, side), "b.png") for side in (16, 8)]
    answer = await served.edit(MODEL, ("image[]", picture, "a.png"), *others, ("images_mode", "each"))
    found = answer.json()
    assert (answer.status, len(found["data"])) == (200, 3)
    assert [facts["size"] for facts in found["metadata"]["pictures"]] == ["64x48", "32x32", "16x16"]
    assert found["metadata"]["cost"] == pytest.approx(3 * found["metadata"]["pictures"][0]["cost"])
    assert left(served) == []


async def test_of_several_pictures_the_first_is_enlarged(edge, picture):
    """Clients send the one to edit first, and what it refers to after it."""
    served = edge()
    answer = await served.edit(MODEL, ("image[]", picture, "a.png"), ("image[]", b"no picture at all", "b.png"))
    assert (answer.status, answer.json()["metadata"]["size"]) == (200, "64x48")
    assert served.gateway.started[0].pictures == 2


async def test_a_quote_for_each_picture_is_their_sum(edge, picture):
    """A dry run of three pictures costs three times as much as that of one."""
    pictures = [("image[]", picture, "a.png")] * 3
    answer = await edge().edit(MODEL, *pictures, ("images_mode", "each"), query="?dryRun=true")
    assert (answer.json()["total_cost_micros"], len(answer.json()["components"])) == (300_000, 3)


@pytest.mark.parametrize("name", ["image", "images", "input_image"])
async def test_a_generation_with_a_picture_is_an_edit(edge, picture, name):
    """Several clients send a picture to /images/generations, under one of three names."""
    text = "data:;base64," + base64.b64encode(picture).decode()
    headers, body = document({"prompt": "a cat", name: [text] if name == "images" else text})
    answer = await Client("POST", "/v1/images/generations", headers, [body]).ask(edge().app)
    assert (answer.status, answer.json()["metadata"]["size"]) == (200, "64x48")


async def test_a_generation_without_a_picture_says_where_to_send_one(edge):
    """The code is one that a program can tell from other mistakes."""
    headers, body = document({"prompt": "a cat", "model": "gpt-image-1"})
    answer = await Client("POST", "/v1/images/generations", headers, [body]).ask(edge().app)
    error = answer.json()["error"]
    assert (answer.status, error["code"], error["param"]) == (400, "image_required", "image")
    assert "/v1/images/edits" in error["message"]


async def test_a_variation_has_a_seed_of_its_own(edge, picture):
    """Two variations of one picture have different seeds; one that is given is kept."""
    served = edge()
    for fields in ((), (), (("seed", "4"),)):
        headers, body = form(MODEL, ("image", picture, "a.png"), *fields)
        assert (await Client("POST", "/v1/images/variations", headers, [body]).ask(served.app)).status == 200
    first, second, third = (job.values["seed"] for job in served.gateway.started)
    assert (first != second, first % 8 != 0, third) == (True, True, 4)


@pytest.mark.parametrize("wrap", [
    lambda text: text, lambda text: {"image_url": "data:image/png;base64," + text},
    lambda text: {"image_url": {"url": "data:image/png;base64," + text}},
])  # fmt: skip
async def test_a_picture_in_json_may_be_base64_alone(edge, picture, wrap):
    """Base64 without the head of a data URI is one, too, and so is the reference of a chat's message."""
    headers, body = document({"image": wrap(base64.b64encode(picture).decode())})
    answer = await Client("POST", "/v1/images/edits", headers, [body]).ask(edge().app)
    assert (answer.status, answer.json()["metadata"]["size"]) == (200, "64x48")


async def test_what_reaches_the_gateway(edge, picture):
    """Known fields arrive with their types, unknown ones as they came, pictures as probed files."""
    served = edge()
    body = {
        "model": "GPT-image-1",
        "image": "data:;base64," + base64.b64encode(picture).decode(),
        "n": 2,
        "x": {"y": 1},
    }
    headers, raw = document({**body, "model": "gpt-image-1"})
    await Client("POST", "/v1/images/edits", headers, [raw[:7], b"", raw[7:]]).ask(served.app)
    job = served.gateway.started[0]
    assert (job.values, job.extras, job.prefers_base64) == ({"n": 2}, {"x": {"y": 1}}, True)
    assert (job.image.width, job.image.height, job.image.format) == (32, 24, "png")


async def test_a_caller_that_goes_away_stops_the_job(edge, picture):
    """Hanging up cancels the job, frees the worker and removes the folder; nothing is answered."""
    served = edge()
    headers, body = form(MODEL, ("image", picture, "a"), ("tile_seconds", "5"))
    client = Client("POST", "/v1/images/edits", headers, [body])
    task = asyncio.create_task(client.ask(served.app))
    await served.gateway.begun.wait()
    client.gone.set()
    await task
    assert (client.sent, served.gateway.running, len(served.gateway.cancelled), left(served)) == ([], 0, 1, [])
    assert json.loads(served.log.getvalue().splitlines()[-1])["status"] == 499


async def test_a_caller_that_cannot_be_asked_is_gone(edge, picture):
    """A server that fails to tell whether the caller is there must not let paid work go on for nobody."""
    served = edge()
    headers, body = form(MODEL, ("image", picture, "a"), ("tile_seconds", "5"))
    client = Client("POST", "/v1/images/edits", headers, [body])
    client.lost = OSError("no more news")
    await client.ask(served.app)
    assert (client.sent, served.gateway.running, len(served.gateway.cancelled), left(served)) == ([], 0, 1, [])


async def test_a_drain_after_the_caller_went_away_changes_nothing(edge, picture):
    """Who has gone gets no 503: the line in the log says 499."""
    served = edge()
    headers, body = form(MODEL, ("image", picture, "a"), ("tile_seconds", "5"))
    client = Client("POST", "/v1/images/edits", headers, [body])
    task = asyncio.create_task(client.ask(served.app))
    await served.gateway.begun.wait()
    await asyncio.sleep(2 * edits.UNWATCHED)
    client.gone.set()
    await asyncio.sleep(0)  # the watch has cancelled; the work does not know yet
    task.cancel()
    await task
    assert client.sent == []
    assert json.loads(served.log.getvalue().splitlines()[-1])["status"] == 499


@pytest.mark.parametrize("begun", [True, False])
async def test_a_drain_tells_what_may_have_been_paid(edge, picture, begun):
    """Who is cut off is told to try again, but not by himself where that may pay a second time."""
    served = edge()
    headers, body = form(MODEL, ("image", picture, "a"), ("tile_seconds", "5"), *([("begun", "1")] if begun else []))
    client = Client("POST", "/v1/images/edits", headers, [body])
    task = asyncio.create_task(client.ask(served.app))
    await served.gateway.begun.wait()
    assert await served.app.drain(0.05) == 1
    await task
    assert (client.status, client.answered.get("x-should-retry")) == (503, "false" if begun else None)
    tries = client.json().get("metadata", {}).get("attempts", [])
    assert [(one["cost"], one["cost_at_most"]) for one in tries] == ([(None, 0.1)] if begun else [])


async def test_a_full_queue_is_seen_before_the_body(edge):
    """No byte of the body is read when there is no room."""
    served = edge(gateway=Gateway(workers=1, queue=-1))
    client = Client("POST", "/v1/images/edits", {"content-type": "multipart/form-data; boundary=b"}, [b"unread"])
    answer = await client.ask(served.app)
    assert (answer.status, answer.answered["retry-after"]) == (429, "2")


@pytest.mark.parametrize(("fail", "status"), [("busy", 429), ("upstream", 502), ("crash", 500), ("refuse", 400)])
async def test_errors_of_the_gateway(edge, picture, fail, status):
    """The gateway's errors are answered with their own status and leave nothing behind."""
    served = edge()
    answer = await served.edit(MODEL, ("image", picture, "a"), ("fail", fail))
    assert (answer.status, left(served)) == (status, [])
    assert ("x-should-retry" in answer.answered) == (status in {400, 500, 502})


@pytest.mark.parametrize(("value", "dry"), [(None, False), (True, True), ("false", False), ("", True)])
async def test_a_dry_run_may_be_asked_for_in_the_body(edge, picture, value, dry):
    """As with every other member, null is nothing."""
    uri = "data:image/png;base64," + base64.b64encode(picture).decode()
    headers, body = document({"model": MODEL[1], "image": uri, "dryRun": value})
    answer = await Client("POST", "/v1/images/edits", headers, [body]).ask(edge().app)
    assert (answer.status, "estimated" in answer.json()) == (200, dry)


@pytest.mark.parametrize(("fail", "param"), [("refuse", "size"), ("vet", "mask")])
async def test_a_dry_run_refuses_what_the_real_one_would(edge, picture, fail, param):
    """What the parameters tell, and what only a look into the mask tells."""
    answer = await edge().edit(MODEL, ("image", picture, "a"), ("fail", fail), ("dryRun", "true"))
    assert (answer.status, answer.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize("stream", ["false", "true"])
async def test_a_disk_that_is_full_when_a_path_is_wanted_is_ours(edge, picture, stream, monkeypatch):
    """A picture from memory that cannot be written is no fault of the caller's, in an answer and in a stream."""

    def full(_path, _content):
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(Path, "write_bytes", full)
    served = edge()
    answer = await served.edit(MODEL, ("image", picture, "a"), ("fail", "path"), ("stream", stream))
    assert answer.status == (200 if stream == "true" else 503)
    assert b"There is no room on this server's disk at the moment." in answer.body
    assert left(served) == []


async def test_a_picture_never_reaches_the_next_caller(edge, monkeypatch):
    """A thread that is still writing when its caller hangs up is awaited; the next one gets his own picture."""
    write = Path.write_bytes

    def slowly(path, content):
        time.sleep(0.2)
        return write(path, content)

    monkeypatch.setattr(edits, "UNWATCHED", 0.01)
    monkeypatch.setattr(form_to_jobs.imaging, "is_quick_to_read", lambda _size, _content: False)
    monkeypatch.setattr(Path, "write_bytes", slowly)
    served = edge()
    headers, body = form(MODEL, ("image", jpeg(32, 24), "a"))
    client = Client("POST", "/v1/images/edits", headers, [body])
    client.gone.set()
    gone = await client.ask(served.app)
    await asyncio.sleep(0.3)  # whatever was left behind has written by now
    answer = await served.edit(MODEL, ("image", jpeg(48, 16), "a"), ("scale_factor", "1"))
    assert (gone.status, answer.json()["metadata"]["size"]) == (0, "48x16")
    assert left(served) == []


async def test_links_use_the_public_address(edge, picture):
    """With public_url set, links begin with it."""
    served = edge(public_url="https://pictures.example/up/")
    answer = await served.edit(MODEL, ("image", picture, "a"), Host="pictures.example")
    assert answer.json()["data"][0]["url"].startswith("https://pictures.example/up/media/")


@pytest.mark.parametrize(("takes", "more"), STALLS)
async def test_a_caller_that_stops_reading_is_given_up(edge, picture, takes, more):
    """After upload_timeout without a byte taken the request ends, with its folder, wherever in the answer that is."""
    served = edge(upload_timeout=0.1)
    headers, body = form(MODEL, ("image", picture, "a"), ("response_format", "b64_json"), *more)
    client = Client("POST", "/v1/images/edits", headers, [body], takes=takes)
    async with asyncio.timeout(5):
        await client.ask(served.app)
    assert (len(client.sent), served.gateway.running, left(served)) == (takes, 0, [])


@pytest.mark.parametrize("stream", ["false", "true"])
async def test_a_slow_reader_takes_nobodys_place(edge, picture, stream):
    """Callers that only read their answers, however slowly, are not in the way of new jobs; a drain waits for them."""
    served = edge(upload_timeout=60, queue=0)
    parts = (MODEL, ("image", picture, "a"), ("response_format", "b64_json"), ("stream", stream))
    slow = []
    for _ in range(25):
        headers, body = form(*parts)
        client = Client("POST", "/v1/images/edits", headers, [body], takes=1 + 3 * (stream == "true"))
        slow.append(asyncio.create_task(client.ask(served.app)))
        await served.gateway.begun.wait()
        served.gateway.begun.clear()
        await asyncio.sleep(0.05)
    assert (await served.edit(MODEL, ("image", picture, "a"))).status == 200
    assert await served.app.drain(0.05) == 25
    await asyncio.gather(*slow)
    assert left(served) == []


async def test_folders_that_were_cleaned_away_are_made_anew(edge, picture):
    """A server whose data folder was deleted goes on with the next request."""
    served = edge()
    shutil.rmtree(served.folder)
    assert (await served.edit(MODEL, ("image", picture, "a"))).status == 200


async def test_a_file_that_no_parameter_takes_is_an_extra(edge, picture):
    """A file under a name that nobody knows, like `markup`, is told in the receipt and not kept."""
    served = edge()
    answer = await served.edit(MODEL, ("image", picture, "a"), ("markup", b"\xff" * 2_000_000, "m.png"))
    assert answer.status == 200
    assert served.gateway.started[0].extras == {"markup": "file"}


@pytest.mark.parametrize(("bound", "limit", "words"), [(10**7, 1_001_333, "for JSON."), (2000, 2000, "multipart")])
async def test_json_has_a_limit_of_its_own(edge, monkeypatch, bound, limit, words):
    """A JSON body may hold a picture of max_upload_bytes as base64, up to what fits into memory; the error says so."""
    monkeypatch.setattr(json_body, "MAX_BODY", bound)
    served = edge(max_upload_bytes=1000)
    for headers in ({"content-length": str(limit + 1)}, {}):
        body = b'{"image": "' + b"x" * limit
        answer = await Client("POST", "/v1/images/edits", {"content-type": "application/json", **headers}, [body]).ask(
            served.app
        )
        assert (answer.status, f"{limit:,}" in answer.json()["error"]["message"]) == (413, True)
        assert words in answer.json()["error"]["message"]
    exact = b'{"image": ""}'.ljust(limit)
    answer = await Client("POST", "/v1/images/edits", {"content-type": "application/json"}, [exact]).ask(served.app)
    assert answer.status == 400


@pytest.mark.parametrize(("fields", "words"), [((), []), ((("size", "10x10"),), ["size: It is smaller"])])
async def test_warnings_stand_beside_the_metadata(edge, picture, fields, words):
    """In a result as in a quote; there is always a list."""
    for query in ("", "?dryRun=true"):
        found = (await edge().edit(MODEL, ("image", picture, "a"), *fields, query=query)).json()["warnings"]
        assert [sentence[: len(start)] for sentence, start in zip(found, words, strict=True)] == words


@pytest.mark.parametrize(
    ("name", "honoured", "warned"),
    [("prompt", False, True), ("prompt", True, False), ("quality", False, False), ("made_up", False, True)],
)
def test_warnings_are_what_a_person_should_notice(name, honoured, warned):
    """Whatever has no effect, except OpenAI's words that never have one and that clients send unasked."""
    line = ReceiptEntry(name, "passthrough", "x", None, "No effect.", honoured)
    assert job_warnings(job(), [line]) == ([f"{name}: No effect."] if warned else [])
