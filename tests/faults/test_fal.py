"""Everything that fal.ai can do wrong, as a table: what the caller is told, what is billed, and never a second job."""

from __future__ import annotations

import asyncio
import socket

import pytest
from PIL import Image
from skimage import data

from fakes.fal import FakeFal
from fluxvision import imaging
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.errors import (
    Cancelled,
    InvalidRequest,
    Misconfigured,
    PolicyRefused,
    UpstreamBusy,
    UpstreamError,
    UpstreamRefused,
    UpstreamUnasked,
    UpstreamUnreachable,
)
from fluxvision.core.types import Call
from fluxvision.providers.fal import Provider, queue

MODEL = "fal-ai/flux-vision-upscaler"
PROMPT = "a very private wish"
ASKED = {"upscale_factor": "scale_factor", "prompt": "prompt"}


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(data.astronaut()[:40, 200:260]).save(path)
    return path


async def run(fal, photo, folder, *, seconds=10.0, upstream=MODEL, asked=ASKED, **options):
    """Ask the provider as the gateway does, which ends what takes too long."""
    options = {"time_scale": 0.01, "patience": 0.2} | options
    provider = Provider(fal.key, fal.queue_url, fal.storage_url, **options)
    source = imaging.probe(photo, imaging.Limits())
    call = Call("fal", upstream, {"upscale_factor": 2.0, "prompt": PROMPT}, source, None, parameter_names=asked)
    try:
        async with asyncio.timeout(seconds):
            return await provider.run(call, JobCallbacks(), folder)
    finally:
        await provider.aclose()


PAID, FREE, UNKNOWN = True, False, None
PAGE = "content-type=text/html"
FATAL = [
    # fault, error, billed, parameter
    ("submit 400", InvalidRequest, FREE, None),
    ("submit 401", Misconfigured, FREE, None),
    ("submit 403", Misconfigured, FREE, None),
    ("submit balance", UpstreamRefused, FREE, None),
    ("submit locked", UpstreamRefused, FREE, None),
    ("submit 404", Misconfigured, FREE, None),
    ("submit 408", UpstreamError, FREE, None),
    ("submit 413", InvalidRequest, FREE, "image"),
    ("submit policy", PolicyRefused, FREE, None),
    ("submit validation", InvalidRequest, FREE, "scale_factor"),
    ("submit picture", InvalidRequest, FREE, "image"),
    ("submit 429", UpstreamBusy, FREE, None),
    ("submit 500", UpstreamError, FREE, None),
    ("submit 502", UpstreamError, FREE, None),
    ("submit 503", UpstreamError, FREE, None),
    ("submit 504", UpstreamError, FREE, None),
    *((f"submit {status} {PAGE}", UpstreamError, FREE, None) for status in (500, 503, 525)),
    *((f"submit {status} {PAGE}", UpstreamError, UNKNOWN, None) for status in (502, 504, *range(520, 525))),
    ("submit 302 location=http://169.254.169.254/", UpstreamError, FREE, None),
    ("submit html", UpstreamError, FREE, None),
    ("submit garbage", UpstreamError, FREE, None),
    ("submit ticketless", UpstreamError, UNKNOWN, None),
    ("submit elsewhere", UpstreamError, UNKNOWN, None),
    ("submit lost", UpstreamUnreachable, UNKNOWN, None),
    ("submit cut", UpstreamUnreachable, UNKNOWN, None),
    ("submit hang", UpstreamUnreachable, UNKNOWN, None),
    ("submit stall", UpstreamUnreachable, UNKNOWN, None),
    ("submit drip", UpstreamUnreachable, UNKNOWN, None),
    ("status 401", Misconfigured, PAID, None),
    ("status 404", UpstreamError, PAID, None),
    ("status html", UpstreamError, PAID, None),
    ("status garbage", UpstreamError, PAID, None),
    ("status failed", UpstreamError, FREE, None),
    ("status policy", PolicyRefused, UNKNOWN, None),
    ("status unsaid", UpstreamError, FREE, None),
    ("status unsaid, result 502", UpstreamError, FREE, None),
    ("result 499", Cancelled, UNKNOWN, None),
    ("result 404", UpstreamError, PAID, None),
    ("result 500", UpstreamError, FREE, None),
    ("result 503 x-fal-error-type=runner_connection_error", UpstreamError, FREE, None),
    ("result 504 x-fal-request-timeout-type=user", UpstreamError, FREE, None),
    ("result policy", PolicyRefused, UNKNOWN, None),
    ("result validation", InvalidRequest, UNKNOWN, "scale_factor"),
    ("result html", UpstreamError, PAID, None),
    ("result garbage", UpstreamError, PAID, None),
    ("result none", UpstreamError, PAID, None),
    ("result nsfw", PolicyRefused, PAID, None),
    ("result black", UpstreamRefused, PAID, None),
    ("result text", UpstreamError, PAID, None),
    ("result short", UpstreamError, PAID, None),
    ("result ftp", UpstreamError, PAID, None),
    ("file 500", UpstreamError, PAID, None),
    ("file missing", UpstreamError, PAID, None),
    ("file expired", UpstreamError, PAID, None),
    ("file private", UpstreamError, PAID, None),
    ("file html", UpstreamError, PAID, None),
    ("file hang", UpstreamError, PAID, None),
    ("file stall", UpstreamError, PAID, None),
    ("file drip", UpstreamError, PAID, None),
    ("file cut", UpstreamError, PAID, None),
]


@pytest.mark.parametrize("row", FATAL, ids=[row[0] for row in FATAL])
async def test_what_ends_a_job(photo, folder, row):
    """Each failure has its error and its bill; at most one job was handed over, and no file is left."""
    fault, kind, billed, param = row
    async with FakeFal(fault=fault) as fal:
        with pytest.raises(kind) as caught:
            await run(fal, photo, folder, time_scale=0.2 if fault.startswith("status") else 0.01)  # it is done by then
        error = caught.value
        assert type(error) is kind
        assert error.billed is billed
        assert error.param == param
        for secret in (*fal.key.split(":"), PROMPT, "127.0.0.1", "169.254", "base64"):
            assert secret not in error.message
        assert len(fal.submissions) <= 1
        if fal.submissions and fault.split()[0] != "submit":
            assert error.upstream_id == fal.submissions[0].id
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(("stage", "bill"), [("submit", FREE), ("result", UNKNOWN)])
@pytest.mark.parametrize(
    ("fault", "asked", "blamed"),
    [
        ("validation", {"upscale_factor": "scale_factor"}, (InvalidRequest, "scale_factor")),
        ("validation", {"upscale_factor": "size"}, (InvalidRequest, "size")),
        ("validation", {"prompt": "prompt"}, (UpstreamUnasked, None)),
        ("validation", {}, (UpstreamUnasked, None)),
        ("picture", {}, (InvalidRequest, "image")),
        ("policy", {}, (PolicyRefused, None)),
    ],
)
async def test_a_refusal_blames_the_caller_for_what_the_caller_sent(photo, folder, stage, bill, fault, asked, blamed):  # noqa: PLR0917
    """It names the caller's own parameter; one that this server added is between it and fal.ai, at either end."""
    async with FakeFal(fault=f"{stage} {fault}") as fal:
        with pytest.raises(blamed[0]) as caught:
            await run(fal, photo, folder, asked=asked)
    assert (type(caught.value), caught.value.param, caught.value.billed) == (*blamed, bill)
    assert "upscale_factor" not in caught.value.message


PASSING = [
    "status 500 x3",
    "status 502 x9",
    "status 503 x2, status 429 x2 retry-after-ms=1",
    "status 429 x2 retry-after=date:1",
    "status 408 x1",
    "status lost x3",
    "status cut x2",
    "status hang x1",
    "status stall x1",
    "status html x3",
    "status garbage x2",
    "status 404 x3",
    "result lost x3",
    "result cut x2",
    "result 503 x3",
    "result 429 x2 retry-after=0",
    "result html x2",
    "result hang x1",
    "file 500 x2",
    "file lost x2",
    "file cut x1",
    "file hang x1",
    "file html x1",
    "cancel 500",
]


@pytest.mark.parametrize("fault", PASSING)
async def test_what_passes_is_waited_for(photo, folder, fault):
    """Once a job is handed over, whatever passes costs nothing: the same job is asked for until its picture is here."""
    async with FakeFal(fault=fault, work=0.02) as fal:
        outcome = await run(fal, photo, folder)
        made = imaging.probe(outcome.picture, imaging.Limits())
        assert (made.width, made.height) == (120, 80)
        assert (len(fal.submissions), fal.paid, fal.cancelled) == (1, 1, [])


async def test_silence_ends_a_job(photo, folder, monkeypatch):
    """Where nothing at all is heard of a job that was taken it is given up: unreachable, and nobody knows its bill."""
    monkeypatch.setattr(queue, "SILENCE", 10.0)
    async with FakeFal(fault="status lost", work=30.0) as fal:
        with pytest.raises(UpstreamUnreachable) as caught:
            await run(fal, photo, folder)
        assert caught.value.billed is not False
        assert len(fal.submissions) == 1


@pytest.mark.parametrize("stage", ["status", "result"])
@pytest.mark.parametrize("kind", ["lost", "503 retry-after=3000", "429 retry-after=3000", "hang"])
async def test_a_job_is_waited_for_until_the_deadline(photo, folder, stage, kind):
    """Who cannot reach a job goes on asking for it, and when time is over cancels it where it is not done."""
    seconds = 1.0 if (stage, kind) == ("result", "lost") else 0.5  # what is done is not given up for silence
    async with FakeFal(fault=f"{stage} {kind}", work=30.0 if stage == "status" else 0.0) as fal:
        with pytest.raises(TimeoutError):
            await run(fal, photo, folder, seconds=seconds)
        assert len(fal.submissions) == 1
        assert len(fal.cancelled) == (stage == "status")


async def test_a_job_outlives_the_connection(photo, folder):
    """Fal is gone while the job works: after it returns the same job's picture is delivered, paid once."""
    async with FakeFal(work=0.2) as fal:
        task = asyncio.ensure_future(run(fal, photo, folder))
        await asyncio.sleep(0.1)
        await fal.stop()
        await asyncio.sleep(0.15)
        assert not task.done()
        await fal.start()
        outcome = await task
        assert outcome.upstream_id == fal.submissions[0].id
        assert (len(fal.submissions), fal.paid, fal.cancelled) == (1, 1, [])


async def test_nobody_listens(photo, folder):
    """A connection that is refused is the network's doing, and nothing was handed over."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        fal = FakeFal(port=probe.getsockname()[1])
        with pytest.raises(UpstreamUnreachable, match="reached"):
            await run(fal, photo, folder)


async def test_a_listener_that_comes_back_gets_the_job(photo, folder):
    """A refused connection is tried again: nothing can have been sent."""
    async with FakeFal() as fal:
        await fal.stop()
        task = asyncio.ensure_future(run(fal, photo, folder, time_scale=0.5))
        await asyncio.sleep(0.05)
        await fal.start()
        await task
        assert len(fal.submissions) == 1


@pytest.mark.parametrize(
    ("form", "low", "high"),
    [("retry-after=7", 7, 7), ("retry-after-ms=1500", 1.5, 1.5), ("retry-after=date:30", 25, 30),
     ("retry-after=99999", 3600, 3600), ("retry-after=soon", None, None), ("retry-after=-3", None, None)],
)  # fmt: skip
async def test_when_fal_says_to_come_back(photo, folder, form, low, high):
    """Each form of Retry-After reaches the gateway in seconds."""
    async with FakeFal(fault=f"submit 429 {form}") as fal:
        with pytest.raises(UpstreamBusy) as caught:
            await run(fal, photo, folder)
    found = caught.value.retry_after
    assert found is None if low is None else low <= found <= high


UPLOADS = [
    ("token 401", Misconfigured),
    ("token balance", None),
    ("token 403", Misconfigured),
    ("token 500 x1", None),
    ("token 503", UpstreamError),
    ("token html", UpstreamError),
    ("token lost x2", None),
    ("token lost", UpstreamUnreachable),
    ("upload 500 x2", None),
    ("upload 401 x1", None),
    ("upload 500", UpstreamError),
    ("upload lost x2", None),
    ("upload lost", UpstreamUnreachable),
    ("upload html", UpstreamError),
    ("upload 302 location=http://169.254.169.254/", UpstreamError),
]


@pytest.mark.parametrize(("fault", "kind"), UPLOADS, ids=[row[0] for row in UPLOADS])
async def test_uploads_that_fail(photo, folder, fault, kind):
    """An upload is tried three times; one that fails is not billed, and no job is handed over."""
    async with FakeFal(fault=fault) as fal:
        if kind is None:
            await run(fal, photo, folder, inline=0)
            assert len(fal.submissions) == 1
            return
        with pytest.raises(kind) as caught:
            await run(fal, photo, folder, inline=0)
        assert type(caught.value) is kind
        assert not caught.value.billed
        assert fal.key not in caught.value.message
        assert fal.submissions == []


async def test_a_model_that_does_not_exist(photo, folder):
    """A model that fal does not have is this server's misconfiguration."""
    async with FakeFal() as fal:
        with pytest.raises(Misconfigured):
            await run(fal, photo, folder, upstream="nobody/knows")


async def test_a_wrong_key(photo, folder):
    """A key that fal does not know is this server's misconfiguration, and is not told."""
    async with FakeFal() as fal:
        wrong = FakeFal(key="11112222:wrong-key", port=fal.port)
        with pytest.raises(Misconfigured) as caught:
            await run(wrong, photo, folder)
        assert "wrong-key" not in caught.value.message
