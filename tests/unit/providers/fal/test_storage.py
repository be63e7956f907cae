"""Large pictures go to fal.ai’s storage, each of them once."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from PIL import Image

from fakes.fal import LEAVE
from fakes.pictures import is_the_photo
from fluxvision import imaging
from fluxvision.core.errors import UpstreamError
from fluxvision.core.types import Call, JobCallbacks
from fluxvision.providers.fal import Provider, storage

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
    provider = Provider(fal.key, fal.queue_url, fal.storage_url, pace=0.02, inline=size - 1)
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
    made = Provider(fal.key, fal.queue_url, fal.storage_url, pace=0.02, inline=0)
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
