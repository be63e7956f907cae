"""JobService: a job is entered once, started, found, and cancelled, whatever goes wrong in the middle."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import update

from fakes.job_service import ended, write
from fakes.server import wait_until
from fluxvision.core.errors import Unavailable
from fluxvision.jobs.request_types import RequestIdentity
from fluxvision.storage.tables import REQUESTS


async def test_the_same_is_entered_once(site):
    """A second request with the key is the first one, and leaves no pictures."""
    first, again = await asyncio.gather(
        *(site.enter(name, key="one", tile_seconds=0.05) for name in ("req_1", "req_2"))
    )
    assert (sorted([first.is_new, again.is_new]), first.id) == ([False, True], again.id)
    await ended(site, first.id)
    assert (len(site.gateway.started), site.pictures, site.service._runner.live) == (1, [], {})


@pytest.mark.parametrize("faults", [0, 2])
async def test_a_job_that_cannot_be_started_has_ended(site, monkeypatch, faults):
    """When its workflow cannot be started, the request fails, its key is free, and nobody waits for it."""
    monkeypatch.setattr("fluxvision.jobs.runner.RETRY_SECONDS", 0.05)

    async def broken(*_arguments, **_options):
        site.database.faults += [Unavailable("The server's database does not answer.")] * faults
        raise RuntimeError

    with monkeypatch.context() as patched:
        patched.setattr(site.service._workflows, "start", broken)
        with pytest.raises(RuntimeError):
            await site.enter()
    row = await ended(site)
    assert (row.status, row.idempotency_key, row.reserved) == ("failed", None, 0)
    assert site.service._runner.live == {}
    assert (await site.enter("req_2")).is_new


async def test_a_request_that_its_retry_overtook_is_the_same(site):
    """A first request that is entered after its retry starts nothing."""
    assert (await site.service.enter(site.prepared(), RequestIdentity("print", is_retry=True))).is_new
    late = await site.service.enter(site.prepared("req_2"), RequestIdentity("print", received_at=0.0))
    assert (late.id, late.is_new) == ("req_1", False)


async def test_a_job_that_another_gateway_started_is_waited_for(site, monkeypatch):
    """When another gateway is faster in starting the workflow, its end is seen in the database."""

    async def elsewhere(*_arguments, **_options):
        return False

    monkeypatch.setattr(site.service._workflows, "start", elsewhere)
    await site.enter()
    waiting = asyncio.create_task(ended(site))
    await asyncio.sleep(0.1)
    write(site, update(REQUESTS).values(status="completed"))
    assert (await waiting).status == "completed"
    assert site.service._runner.live == {}


async def test_a_running_job_is_cancelled(site):
    """A cancelled job ends as cancelled, at the provider too, and leaves nothing."""
    await site.enter(tile_seconds=10)
    await site.gateway.begun.wait()
    await site.service.cancel("req_1")
    assert (await ended(site)).status == "cancelled"
    assert (site.gateway.cancelled, site.pictures, site.service._runner.live) == (["req_1"], [], {})


async def test_a_cancelled_background_job_that_waits_leaves_no_pictures(site):
    """A background job that is cancelled before it begins costs nothing, and its pictures are deleted."""
    for number in range(3):  # two at once
        await site.enter(f"req_{number}", background=True, tile_seconds=0.3)
    await site.service.cancel("req_2")
    assert (await ended(site, "req_2")).status == "cancelled"
    for number in range(2):
        await ended(site, f"req_{number}")
    assert await asyncio.to_thread(wait_until, lambda: not site.pictures)
    assert "req_2" not in [job.id for job in site.gateway.started]
