"""fal.ai's queue protocol as the provider speaks it, against FakeFal."""

from __future__ import annotations

import asyncio
import base64

import pytest
from PIL import Image

from fakes.fal import FakeFal, running_fal
from fakes.pictures import is_the_photo
from fluxvision import imaging
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.errors import InvalidRequest, UpstreamError
from fluxvision.core.load_settings import load_settings
from fluxvision.core.types import Call
from fluxvision.providers import fal as module
from fluxvision.providers.fal import Provider, configured

MODEL = "fal-ai/flux-vision-upscaler"


def call(path, upstream=MODEL, **body):
    return Call("fal", upstream, {"upscale_factor": 2.0, **body}, imaging.probe(path, imaging.Limits()), None)


async def test_a_picture_is_made(fal, provider, photo, folder):
    """The file lies in the folder, with what fal said of it; one job was handed over and none was cancelled."""
    outcome = await provider.run(call(photo, seed=7, creativity=0.5, style="any"), JobCallbacks(), folder)
    is_the_photo(Image.open(outcome.picture), photo, (192, 160))
    assert outcome.picture.parent == folder
    assert (outcome.seed, outcome.caption, outcome.seconds) == (7, "a picture of something", 1.25)
    assert outcome.timings == {"inference": 1.2, "upload": 0.05}
    assert outcome.upstream_id == fal.submissions[0].id
    assert (len(fal.submissions), fal.paid, fal.cancelled, fal.uploads) == (1, 1, [], [])


async def test_what_is_sent(fal, provider, photo, folder):
    """The body is the call's own and the picture; the key goes in fal's form, and nothing is to be kept."""
    await provider.run(call(photo, seed=7, image_url="https://elsewhere/", style="any"), JobCallbacks(), folder)
    sent = fal.submissions[0]
    assert sent.app == MODEL
    assert base64.b64decode(sent.body.pop("image_url").removeprefix("data:image/png;base64,")) == photo.read_bytes()
    assert sent.body == {"upscale_factor": 2.0, "seed": 7, "style": "any"}
    assert sent.headers["Authorization"] == f"Key {fal.key}"
    assert sent.headers["X-Fal-Store-IO"] == "0"
    assert sent.headers["Content-Type"] == "application/json"


async def test_the_returned_addresses_are_followed(fal, provider, photo, folder):
    """A model with a path below its app is asked for at the addresses of the answer, which lack that path."""
    outcome = await provider.run(call(photo, "fal-ai/esrgan/fast/v2"), JobCallbacks(), folder)
    assert outcome.picture.is_file()
    assert fal.submissions[0].app == "fal-ai/esrgan/fast/v2"


@pytest.mark.parametrize(("queue", "work"), [(0.15, 0.0), (0.0, 0.15)])
async def test_a_cancelled_task_cancels_the_job(photo, folder, queue, work):
    """Whether it waits or works, the job is cancelled at fal, nothing is paid, and no file is left."""
    async with FakeFal(queue=queue * 100, work=work * 100) as fal:
        provider = Provider(fal.key, fal.queue_url, fal.storage_url, time_scale=0.2)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.15):
                await provider.run(call(photo), JobCallbacks(), folder)
        assert fal.cancelled == [fal.submissions[0].id]
        assert fal.paid == 0
        await provider.aclose()
    assert list(folder.iterdir()) == []


async def test_a_task_that_is_cancelled_while_it_hands_over(photo, folder):
    """A job whose answer is on its way when the caller goes is cancelled, too."""
    async with FakeFal(fault="submit late", work=100.0) as fal:
        provider = Provider(fal.key, fal.queue_url, fal.storage_url)
        task = asyncio.ensure_future(provider.run(call(photo), JobCallbacks(), folder))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert fal.cancelled == [fal.submissions[0].id]
        await provider.aclose()


async def test_a_cancel_that_hangs_does_not_hold_the_caller(photo, folder):
    """Whatever fal does about it, a cancelled task ends soon."""
    async with FakeFal(fault="cancel hang", work=100.0) as fal:
        provider = Provider(fal.key, fal.queue_url, fal.storage_url, time_scale=0.05)
        task = asyncio.ensure_future(provider.run(call(photo), JobCallbacks(), folder))
        await asyncio.sleep(0.2)
        task.cancel()
        async with asyncio.timeout(2.0):
            with pytest.raises(asyncio.CancelledError):
                await task
        assert fal.asked[-1] == ("cancel", 0)
        await provider.aclose()


async def test_jobs_run_side_by_side(fal, provider, photo, folder):
    """Ten calls at once are ten jobs with ten pictures."""
    outcomes = await asyncio.gather(*(provider.run(call(photo, seed=n), JobCallbacks(), folder) for n in range(10)))
    assert [outcome.seed for outcome in outcomes] == list(range(10))
    assert len({outcome.picture for outcome in outcomes}) == fal.paid == 10


def test_another_thread_can_serve(photo, folder):
    """FakeFal serves from a thread, dies and comes back on its port."""
    with running_fal() as fal:

        async def make():
            provider = Provider(fal.key, fal.queue_url, fal.storage_url, time_scale=0.01)
            try:
                return await provider.run(call(photo), JobCallbacks(), folder)
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
    return load_settings({name: str(value) for name, value in environment.items()})


def test_settings():
    """Without a key there is no provider; with one it has the operator's numbers and trusts his addresses."""
    assert configured(settings()) == {}
    made = configured(
        settings(FAL_KEY=" k ", FLUXVISION_FAL_QUEUE_URL="http://127.0.0.1:7/q/", FLUXVISION_REMOTE_PARALLEL=5)
    )["fal"]
    assert (made.title, made.parallel, made.workers, made.remote) == ("fal.ai", 10, 5, True)
    assert (made._client.key, made._queue.url, made._storage.url) == (
        "k",
        "http://127.0.0.1:7/q",
        "https://rest.fal.ai",
    )
    assert made._results.guard.trusted == {"http://127.0.0.1:7", "https://rest.fal.ai"}
