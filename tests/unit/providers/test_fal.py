"""fal.ai's queue protocol as the provider speaks it, against FakeFal."""

from __future__ import annotations

import asyncio
import base64

import pytest
from aiohttp import web
from PIL import Image
from skimage import data

from fakes.fal import LEAVE, FakeFal, running_fal
from fakes.pictures import is_the_photo
from fluxvision import config, imaging
from fluxvision.errors import (
    Cancelled,
    Error,
    InvalidRequest,
    Misconfigured,
    PolicyRefused,
    UpstreamBusy,
    UpstreamError,
    UpstreamRefused,
)
from fluxvision.providers import fal as module
from fluxvision.providers.fal import Answer, Provider, configured, failure
from fluxvision.types import Call, Watch

MODEL = "fal-ai/flux-vision-upscaler"
PROMPT = "a very private wish"


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(data.astronaut()[:80, 180:276]).save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "work"
    made.mkdir()
    return made


@pytest.fixture
async def fal():
    async with FakeFal() as running:
        yield running


@pytest.fixture
async def provider(fal):
    made = Provider(fal.key, fal.queue_url, fal.storage_url, pace=0.02)
    yield made
    await made.aclose()


def call(path, upstream=MODEL, **body):
    return Call("fal", upstream, {"upscale_factor": 2.0, **body}, imaging.probe(path, imaging.Limits()), None)


async def test_a_picture_is_made(fal, provider, photo, folder):
    """The file lies in the folder, with what fal said of it; one job was handed over and none was cancelled."""
    outcome = await provider.run(call(photo, seed=7, creativity=0.5, style="any"), Watch(), folder)
    is_the_photo(Image.open(outcome.picture), photo, (192, 160))
    assert outcome.picture.parent == folder
    assert (outcome.seed, outcome.caption, outcome.seconds) == (7, "a picture of something", 1.25)
    assert outcome.timings == {"inference": 1.2, "upload": 0.05}
    assert outcome.upstream_id == fal.submissions[0].id
    assert (len(fal.submissions), fal.paid, fal.cancelled, fal.uploads) == (1, 1, [], [])


async def test_what_is_sent(fal, provider, photo, folder):
    """The body is the call's own and the picture; the key goes in fal's form, and nothing is to be kept."""
    await provider.run(call(photo, seed=7, image_url="https://elsewhere/", style="any"), Watch(), folder)
    sent = fal.submissions[0]
    assert sent.app == MODEL
    assert base64.b64decode(sent.body.pop("image_url").removeprefix("data:image/png;base64,")) == photo.read_bytes()
    assert sent.body == {"upscale_factor": 2.0, "seed": 7, "style": "any"}
    assert sent.headers["Authorization"] == f"Key {fal.key}"
    assert sent.headers["X-Fal-Store-IO"] == "0"
    assert sent.headers["Content-Type"] == "application/json"


async def test_the_returned_addresses_are_followed(fal, provider, photo, folder):
    """A model with a path below its app is asked for at the addresses of the answer, which lack that path."""
    outcome = await provider.run(call(photo, "fal-ai/esrgan/fast/v2"), Watch(), folder)
    assert outcome.picture.is_file()
    assert fal.submissions[0].app == "fal-ai/esrgan/fast/v2"


@pytest.mark.parametrize("kind", ["images", "data", "gif", "small"])
async def test_forms_of_a_result(fal, provider, photo, folder, kind):
    """One picture or a list, a URL or a data URI, any format and size: the bytes count."""
    fal.fault = f"result {kind}"
    outcome = await provider.run(call(photo), Watch(), folder)
    found = imaging.probe(outcome.picture, imaging.Limits())
    assert (found.width, found.height) == ((64, 53) if kind == "small" else (192, 160))
    assert found.format == ("gif" if kind == "gif" else "png")


@pytest.mark.parametrize("numbers", [(1, 1), (3, 5)])
async def test_a_large_picture_is_uploaded(fal, photo, folder, monkeypatch, numbers):
    """Above the limit for data URIs the file goes to fal's storage, in parts where it is very large."""
    parts, requests = numbers
    size = photo.stat().st_size
    monkeypatch.setattr(module, "WHOLE", size if parts == 1 else 0)
    monkeypatch.setattr(module, "PART", -(-size // parts))
    provider = Provider(fal.key, fal.queue_url, fal.storage_url, pace=0.02, inline=size - 1)
    for _ in range(2):
        outcome = await provider.run(call(photo), Watch(), folder)
        is_the_photo(Image.open(outcome.picture), photo, (192, 160))
    await provider.aclose()
    upload = fal.uploads[0]
    assert (len(fal.uploads), upload.size) == (2, size)
    assert "photo" not in upload.name
    assert upload.headers["Authorization"] == f"Bearer {LEAVE}"
    assert fal.key not in str(fal.uploads)
    assert fal.submissions[0].body["image_url"].startswith(fal.cdn_url)
    stages = [stage for stage, _ in fal.asked]
    assert (stages.count("token"), stages.count("upload")) == (1, 2 * requests)


async def test_black_stays_black(fal, provider, tmp_path, folder):
    """A black picture may come out black."""
    path = tmp_path / "night.png"
    Image.new("RGB", (60, 40)).save(path)
    outcome = await provider.run(call(path), Watch(), folder)
    assert Image.open(outcome.picture).getextrema() == ((0, 0),) * 3
    assert fal.paid == 1


@pytest.mark.parametrize(("queue", "work"), [(0.15, 0.0), (0.0, 0.15)])
async def test_a_cancelled_task_cancels_the_job(photo, folder, queue, work):
    """Whether it waits or works, the job is cancelled at fal, nothing is paid, and no file is left."""
    async with FakeFal(queue=queue * 100, work=work * 100) as fal:
        provider = Provider(fal.key, fal.queue_url, fal.storage_url, pace=0.2)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.15):
                await provider.run(call(photo), Watch(), folder)
        assert fal.cancelled == [fal.submissions[0].id]
        assert fal.paid == 0
        await provider.aclose()
    assert list(folder.iterdir()) == []


async def test_a_task_that_is_cancelled_while_it_hands_over(photo, folder):
    """A job whose answer is on its way when the caller goes is cancelled, too."""
    async with FakeFal(fault="submit late", work=100.0) as fal:
        provider = Provider(fal.key, fal.queue_url, fal.storage_url)
        task = asyncio.ensure_future(provider.run(call(photo), Watch(), folder))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert fal.cancelled == [fal.submissions[0].id]
        await provider.aclose()


async def test_a_cancel_that_hangs_does_not_hold_the_caller(photo, folder):
    """Whatever fal does about it, a cancelled task ends soon."""
    async with FakeFal(fault="cancel hang", work=100.0) as fal:
        provider = Provider(fal.key, fal.queue_url, fal.storage_url, pace=0.05)
        task = asyncio.ensure_future(provider.run(call(photo), Watch(), folder))
        await asyncio.sleep(0.2)
        task.cancel()
        async with asyncio.timeout(2.0):
            with pytest.raises(asyncio.CancelledError):
                await task
        assert fal.asked[-1] == ("cancel", 0)
        await provider.aclose()


async def test_jobs_run_side_by_side(fal, provider, photo, folder):
    """Ten calls at once are ten jobs with ten pictures."""
    outcomes = await asyncio.gather(*(provider.run(call(photo, seed=n), Watch(), folder) for n in range(10)))
    assert [outcome.seed for outcome in outcomes] == list(range(10))
    assert len({outcome.picture for outcome in outcomes}) == fal.paid == 10


def test_another_thread_can_serve(photo, folder):
    """FakeFal serves from a thread, dies and comes back on its port."""
    with running_fal() as fal:

        async def make():
            provider = Provider(fal.key, fal.queue_url, fal.storage_url, pace=0.01)
            try:
                return await provider.run(call(photo), Watch(), folder)
            finally:
                await provider.aclose()

        asyncio.run(make())
        fal.kill()
        with pytest.raises(UpstreamError):
            asyncio.run(make())
        fal.revive()
        asyncio.run(make())
        assert (len(fal.submissions), fal.paid) == (2, 2)


def test_what_cannot_be_handed_over_is_refused_before(provider_less, photo, monkeypatch):
    """A file over the largest size is the caller's error and names the picture."""
    monkeypatch.setattr(module, "LARGEST", 100)
    with pytest.raises(InvalidRequest) as caught:
        provider_less.check(call(photo))
    assert caught.value.param == "image"


@pytest.fixture
def provider_less():
    """A provider that asks nobody."""
    return Provider("k")


async def test_a_provider_needs_no_network_to_be_there(provider_less):
    """Making, pinging and closing a provider asks nobody."""
    assert await provider_less.ping()
    await provider_less.aclose()


def settings(**environment):
    return config.load({name: str(value) for name, value in environment.items()})


def test_settings():
    """Without a key there is no provider; with one it has the operator's numbers and trusts his addresses."""
    assert configured(settings()) == {}
    made = configured(
        settings(FAL_KEY=" k ", FLUXVISION_FAL_QUEUE_URL="http://127.0.0.1:7/q/", FLUXVISION_REMOTE_PARALLEL=5)
    )["fal"]
    assert (made.title, made.parallel, made.workers, made.remote) == ("fal.ai", 10, 5, True)
    assert (made._key, made._queue, made._storage) == ("k", "http://127.0.0.1:7/q", "https://rest.fal.ai")
    assert made._guard.trusted == {"http://127.0.0.1:7", "https://rest.fal.ai"}


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("https://queue.fal.run/a/b/requests/1", True),
        ("https://queue.fal.run:443/x", True),
        ("http://queue.fal.run/x", False),
        ("https://queue.fal.run:444/x", False),
        ("https://queue.fal.run.evil.example/x", False),
        ("https://evil.example/queue.fal.run", False),
        ("https://queue.fal.run@evil.example/", False),
        ("https://user:word@queue.fal.run/", False),
        ("//queue.fal.run/x", False),
        ("/a/b", False),
        ("", False),
        ("https://[::1/", False),
    ],
)
def test_who_gets_the_key(provider_less, url, own):
    """Only the configured origin is sent the key."""
    assert provider_less._own(url) is own


def detail(kind, *location, message="Some words"):
    return {"detail": [{"loc": ["body", *location], "type": kind, "msg": message, "input": PROMPT}]}


@pytest.mark.parametrize(
    ("status", "said", "kind", "param"),
    [
        (422, detail("content_policy_violation", "image_url"), PolicyRefused, None),
        (400, {"detail": "no", "error_type": "content_policy_violation"}, PolicyRefused, None),
        (422, detail("less_than_equal", "upscale_factor"), InvalidRequest, "scale_factor"),
        (422, detail("image_too_large", "image_url"), InvalidRequest, "image"),
        (422, detail("less_than_equal", "steps"), InvalidRequest, "steps"),
        (422, detail("less_than_equal", "list", 3, "creativity"), InvalidRequest, "creativity"),
        (422, detail("value_error"), InvalidRequest, None),
        (422, detail("value_error", "<b>odd</b>"), InvalidRequest, None),
        (422, detail("file_download_error", "image_url"), UpstreamError, None),
        (422, {"detail": 3}, InvalidRequest, None),
        (422, None, InvalidRequest, None),
        (400, {"detail": "Bad", "error_type": "bad_request"}, InvalidRequest, None),
        (413, None, InvalidRequest, "image"),
        (401, {"detail": "Authentication is required"}, Misconfigured, None),
        (402, None, UpstreamRefused, None),
        (403, {"detail": "User is locked. Reason: Exhausted balance."}, UpstreamRefused, None),
        (403, {"detail": "You may not"}, Misconfigured, None),
        (404, {"detail": "Application not found"}, Misconfigured, None),
        (408, None, UpstreamError, None),
        (429, None, UpstreamBusy, None),
        (499, None, Cancelled, None),
        (500, {"detail": "x", "error_type": "internal_error"}, UpstreamError, None),
        (502, None, UpstreamError, None),
        (504, {"detail": "x", "error_type": "request_timeout"}, UpstreamError, None),
        (302, None, UpstreamError, None),
        (418, {"detail": "teapot"}, UpstreamError, None),
        (200, None, UpstreamError, None),
        (200, {}, UpstreamError, None),
    ],
)
def test_refusals(status, said, kind, param):
    """Each of fal's refusals has one meaning here, in a plain sentence."""
    error = failure(Answer(status, {}, said), ("secret",))
    assert type(error) is kind
    assert error.param == param
    assert error.message.endswith(".")
    assert PROMPT not in error.message


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [(429, {"retry-after": "7"}, 7.0), (503, {"retry-after-ms": "500"}, 0.5), (429, {}, None),
     (422, {"retry-after": "7"}, None)],
)  # fmt: skip
def test_when_to_come_back(status, headers, seconds):
    """What fal says of waiting is kept where waiting helps."""
    assert failure(Answer(status, headers, None), ()).retry_after == seconds


async def test_no_word_of_fal_tells_a_secret(fal, photo, folder, monkeypatch):
    """Key, prompt, addresses and data in fal's own words do not reach the caller."""

    async def gossip(request, _kind):
        body = await request.json()
        text = f"Bad {fal.key} {body['prompt']} {fal.queue_url}/x?y=z {body['image_url'][:200]} Bearer abc123456"
        return web.json_response({"detail": text}, status=400)

    monkeypatch.setattr(FakeFal, "_submit", lambda _self, request, kind: gossip(request, kind))
    await fal.stop()
    await fal.start()
    provider = Provider(fal.key, fal.queue_url, fal.storage_url, pace=0.02)
    with pytest.raises(Error) as caught:
        await provider.run(call(photo, prompt=PROMPT), Watch(), folder)
    await provider.aclose()
    for secret in (*fal.key.split(":"), PROMPT, "127.0.0.1", "y=z", "base64", "abc123456"):
        assert secret not in caught.value.message
