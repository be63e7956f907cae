"""What fal.ai accepted is noted, followed and forgotten, also beside a database that does not answer."""

from __future__ import annotations

import asyncio

import pytest

from fakes.fal import FakeFal
from fakes.submissions import MemorySubmissions
from fluxvision import imaging
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.errors import Unavailable, UpstreamRefused, UpstreamUnreachable
from fluxvision.core.types import Call
from fluxvision.providers.fal import Provider

MODEL = "fal-ai/flux-vision-upscaler"


@pytest.fixture
def call(photo):
    """A call for the picture."""
    return Call("fal", MODEL, {"upscale_factor": 2.0}, imaging.probe(photo, imaging.Limits()), None, key="req_1-0")


async def test_an_accepted_job_is_followed_and_not_bought_again(fal, provider, call, folder):
    """With the stored answer of fal.ai the same call polls the same job."""
    store = MemorySubmissions()
    first = await provider.run(call, JobCallbacks(submissions=store), folder)
    again = await provider.run(call, JobCallbacks(submissions=store), folder)
    assert again.upstream_id == first.upstream_id
    assert len(fal.submissions) == 1


async def test_an_unknown_answer_is_not_bought_again(fal, provider, call, folder):
    """A job that was handed over without a known answer is an error whose bill is unknown."""
    store = MemorySubmissions()
    await store.announce(call.key, "fal")
    with pytest.raises(UpstreamUnreachable) as error:
        await provider.run(call, JobCallbacks(submissions=store), folder)
    assert error.value.billed is None
    assert fal.submissions == []


async def test_a_job_whose_id_cannot_be_stored_is_delivered(fal, provider, call, folder):
    """When the database fails after the purchase, the job is followed; that it was asked for stays noted."""
    store = MemorySubmissions("save")
    outcome = await provider.run(call, JobCallbacks(submissions=store), folder)
    assert outcome.picture.is_file()
    assert len(fal.submissions) == 1
    assert store.kept == {call.key: None}


async def test_nothing_is_bought_that_cannot_be_noted(fal, provider, call, folder):
    """When the database fails before the purchase, fal.ai is not asked."""
    with pytest.raises(Unavailable):
        await provider.run(call, JobCallbacks(submissions=MemorySubmissions("announce")), folder)
    assert fal.submissions == []


async def test_an_error_is_not_replaced_by_that_of_the_database(call, folder):
    """A failed job whose note cannot be deleted raises its own error."""
    async with FakeFal(fault="submit validation") as fal:
        provider = Provider(fal.key, fal.queue_url, fal.storage_url, time_scale=0.02)
        with pytest.raises(UpstreamRefused):
            await provider.run(call, JobCallbacks(submissions=MemorySubmissions("forget")), folder)
        await provider.aclose()


@pytest.mark.parametrize("keeps_work", [True, False])
async def test_a_cancelled_task_keeps_its_job_for_another_process(fal, provider, call, folder, keeps_work):
    """At the end of a process the job goes on and stays noted; a job that somebody cancelled is forgotten."""
    fal.work = 100.0
    store = MemorySubmissions()
    task = asyncio.create_task(provider.run(call, JobCallbacks(submissions=store), folder))
    await store.saved.wait()
    await asyncio.sleep(0.05)  # it is followed by now
    store.keeps_work = keeps_work
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (fal.cancelled == []) is keeps_work
    assert (call.key in store.kept) is keeps_work


async def test_a_purchase_that_had_not_begun_is_not_noted(fal, provider, call, folder):
    """A task that is cancelled while it notes the purchase leaves no note: the next process buys it."""
    store = MemorySubmissions()
    announced = store.announce

    async def announce(key, name):
        await announced(key, name)
        await asyncio.sleep(10)

    store.announce, store.keeps_work = announce, True
    task = asyncio.create_task(provider.run(call, JobCallbacks(submissions=store), folder))
    await store.announced.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (store.kept, fal.submissions) == ({}, [])
