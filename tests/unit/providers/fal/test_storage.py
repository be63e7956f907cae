"""Large pictures go to fal.ai’s storage, each of them once."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from PIL import Image

from fakes.fal import LEAVE
from fakes.pictures import is_the_photo
from fluxvision import imaging
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.errors import UpstreamError
from fluxvision.core.types import Call
from fluxvision.providers.fal import Provider, storage
from fluxvision.providers.fal.storage import SingleFlight

MODEL = "fal-ai/flux-vision-upscaler"


def call(path, upstream=MODEL, **body):
    return Call("fal", upstream, {"upscale_factor": 2.0, **body}, imaging.probe(path, imaging.Limits()), None)


@pytest.mark.parametrize("numbers", [(1, 1), (3, 5)])
async def test_a_large_picture_is_uploaded(fal, photo, folder, monkeypatch, numbers):
    """Above the limit for data URIs the file goes to fal's storage, in parts where it is very large, and but once."""
    parts, requests = numbers
    size = photo.stat().st_size
    monkeypatch.setattr(storage, "WHOLE", size if parts == 1 else 0)
    monkeypatch.setattr(storage, "PART", -(-size // parts))
    provider = Provider(fal.key, fal.queue_url, fal.storage_url, time_scale=0.02, inline=size - 1)
    for _ in range(2):
        outcome = await provider.run(call(photo), JobCallbacks(), folder)
        is_the_photo(Image.open(outcome.picture), photo, (192, 160))
    await provider.aclose()
    upload = fal.uploads[0]
    assert (len(fal.uploads), upload.size) == (1, size)
    assert "photo" not in upload.name
    assert upload.headers["Authorization"] == f"Bearer {LEAVE}"
    assert fal.key not in str(fal.uploads)
    assert {job.body["image_url"] for job in fal.submissions} == {f"{fal.cdn_url}/files/{upload.name}"}
    stages = [stage for stage, _ in fal.asked]
    assert (stages.count("token"), stages.count("upload")) == (1, requests)


@pytest.fixture
async def uploading(fal):
    """A provider that puts every picture into the storage."""
    made = Provider(fal.key, fal.queue_url, fal.storage_url, time_scale=0.02, inline=0)
    yield made
    await made.aclose()


async def test_versions_share_one_upload(fal, uploading, photo, folder):
    """Ten versions at once are ten jobs with one file."""
    await asyncio.gather(*(uploading.run(call(photo, seed=n), JobCallbacks(), folder) for n in range(10)))
    assert (len(fal.submissions), len(fal.uploads)) == (10, 1)


async def test_another_file_of_the_same_name_is_uploaded(fal, uploading, photo, folder):
    """What counts is the file as it is, not its name."""
    await uploading.run(call(photo), JobCallbacks(), folder)
    Image.new("RGB", (40, 30), "teal").save(photo)
    outcome = await uploading.run(call(photo), JobCallbacks(), folder)
    with Image.open(outcome.picture) as made:
        assert made.size == (80, 60)
    assert len(fal.uploads) == 2


async def test_a_failed_upload_is_made_again(fal, uploading, photo, folder):
    """All who wait for it fail together; the next one begins anew."""
    fal.fault = "upload 500 x3"
    made = (uploading.run(call(photo), JobCallbacks(), folder) for _ in range(3))
    failures = await asyncio.gather(*made, return_exceptions=True)
    assert [type(failure) for failure in failures] == [UpstreamError] * 3
    assert (fal.uploads, fal.submissions) == ([], [])
    await uploading.run(call(photo), JobCallbacks(), folder)
    assert (len(fal.uploads), fal.paid) == (1, 1)


async def test_an_address_with_which_a_job_failed_is_not_used_again(fal, uploading, photo, folder):
    """The file may be what was wrong, so that the next job gets a new one."""
    fal.fault = "status failed"
    with pytest.raises(UpstreamError):
        await uploading.run(call(photo), JobCallbacks(), folder)
    fal.fault = ""
    await uploading.run(call(photo), JobCallbacks(), folder)
    assert len({job.body["image_url"] for job in fal.submissions}) == len(fal.uploads) == 2


async def test_an_upload_that_nobody_waits_for_ends(fal, uploading, photo, folder):
    """With the last caller the upload is cancelled; one who stays gets its address."""
    fal.fault = "upload hang x1"
    tasks = [asyncio.create_task(uploading.run(call(photo), JobCallbacks(), folder)) for _ in range(2)]
    async with asyncio.timeout(3):
        while ("upload", 0) not in fal.asked:  # noqa: ASYNC110, what the fake counts has no event
            await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
    assert [type(end) for end in await asyncio.gather(*tasks, return_exceptions=True)] == [asyncio.CancelledError] * 2
    assert (await uploading.run(call(photo), JobCallbacks(), folder)).picture.is_file()
    assert (len(fal.uploads), len(fal.submissions)) == (1, 1)


async def test_forgetting_a_picture_writes_nothing(provider, photo):
    """A picture that is in memory stays there while an error is on its way: the disk may be full."""
    content = photo.read_bytes()
    source = replace(imaging.probe(photo, imaging.Limits()), file=photo.with_name("unwritten"), content=content)
    provider._storage.forget(source)
    assert not source.file.exists()


class Work:
    """Work that can be counted and held."""

    def __init__(self):
        """Wait for `go`."""
        self.begun = self.ended = 0
        self.go = asyncio.Event()
        self.fault = None

    async def __call__(self):
        """Return how often it was begun."""
        self.begun += 1
        try:
            await self.go.wait()
            if self.fault is not None:
                raise self.fault
            return self.begun
        finally:
            self.ended += 1


@pytest.fixture
async def work():
    return Work()


async def callers(once, work, count):
    tasks = [asyncio.create_task(once.get("key", work)) for _ in range(count)]
    await asyncio.sleep(0.01)
    return tasks


async def test_all_who_ask_get_the_same(work):
    """Callers at the same time and afterwards share one piece of work; another key is another one."""
    once = SingleFlight(60.0, 8)
    tasks = await callers(once, work, 3)
    work.go.set()
    assert await asyncio.gather(*tasks) == [1, 1, 1]
    assert await once.get("key", work) == 1
    assert await once.get("other", work) == 2


async def test_one_who_leaves_does_not_disturb(work):
    """The work goes on while anybody waits, also without the one who began it."""
    first, second = await callers(SingleFlight(60.0, 8), work, 2)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    work.go.set()
    assert await second == 1


async def test_the_last_who_leaves_ends_it(work):
    """Nothing is under way when all have left, and the next caller begins anew."""
    once = SingleFlight(60.0, 8)
    tasks = await callers(once, work, 2)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (work.begun, work.ended) == (1, 1)
    work.go.set()
    assert await once.get("key", work) == 2


async def test_a_failure_is_for_those_who_wait(work):
    """It reaches all of them and nobody else."""
    once = SingleFlight(60.0, 8)
    work.fault = ValueError("broken")
    tasks = await callers(once, work, 2)
    work.go.set()
    assert await asyncio.gather(*tasks, return_exceptions=True) == [work.fault] * 2
    work.fault = None
    assert await once.get("key", work) == 2


async def test_results_grow_old(work):
    """After their time they are made anew."""
    now = 0.0
    once = SingleFlight(60.0, 8, clock=lambda: now)
    work.go.set()
    assert await once.get("key", work) == 1
    now = 59.9
    assert await once.get("key", work) == 1
    now = 60.0
    assert await once.get("key", work) == 2


async def test_only_so_many_are_known(work):
    """The oldest is forgotten first."""
    once = SingleFlight(60.0, 2)
    work.go.set()
    assert [await once.get(key, work) for key in "abc"] == [1, 2, 3]
    assert [await once.get(key, work) for key in "bca"] == [2, 3, 4]
    assert len(once._entries) == 2


async def test_what_was_forgotten_under_way_is_delivered_and_not_kept(work):
    """Who waits gets it; the next caller makes it anew, and it stays his."""
    once = SingleFlight(60.0, 8)
    tasks = await callers(once, work, 1)
    once.forget("key")
    newer = await callers(once, work, 1)
    work.go.set()
    assert await asyncio.gather(*tasks, *newer) == [2, 2]
    assert work.begun == 2
    assert await once.get("key", work) == 2
