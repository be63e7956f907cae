"""JobRunner: whatever goes wrong in the middle, a job ends, once, and is accounted for."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import insert

from fakes.job_service import Site, ended, left_behind, write
from fluxvision.core.errors import Unavailable
from fluxvision.core.job_status import CANCELLING, QUEUED, RUNNING
from fluxvision.jobs import maintenance, runner
from fluxvision.jobs.request_types import RequestIdentity
from fluxvision.storage.tables import SUBMISSIONS


async def test_a_job_runs_to_its_end(site):
    """An entered job has its response and cost, and nothing of it is left on the disk or in memory."""
    entry = await site.enter()
    row = await ended(site)
    assert (entry.is_new, row.status, row.response, row.reserved, row.job) == (
        True,
        "completed",
        {"id": "req_1"},
        0,
        None,
    )
    assert (site.pictures, site.service._runner.live) == ([], {})


async def test_an_answer_does_not_wait_for_the_object_store(site, monkeypatch):
    """A job has ended for its callers while its input is still being deleted in the bucket."""
    begins, goes_on = asyncio.Event(), asyncio.Event()

    async def delete(_request_id):
        begins.set()
        await goes_on.wait()

    monkeypatch.setattr(site.service._files, "delete_objects", delete, raising=False)
    await site.enter()
    async with asyncio.timeout(30):
        await begins.wait()
        row = await site.service.wait("req_1")
    goes_on.set()
    assert (row.status, site.pictures) == ("completed", [])


async def test_an_end_that_cannot_be_stored_is_stored_later(site):
    """A database that does not answer when a job has ended is asked again until it does."""
    await site.enter(tile_seconds=0.2)
    await site.gateway.begun.wait()
    site.database.faults += [Unavailable("The server's database does not answer.")] * 5
    assert (await ended(site)).status == "completed"
    assert len(site.gateway.started) == 1


async def test_a_job_that_cannot_be_read_is_read_later(site):
    """A database that does not answer when a job begins is asked again."""
    await site.service._workflows.launch()
    begin = site.service._runner.run

    async def run(request_id):
        site.database.faults += [Unavailable("The server's database does not answer.")] * 3
        await begin(request_id)

    site.service._workflows._run = run
    await site.enter()
    assert (await ended(site)).status == "completed"


@pytest.mark.parametrize("where", ["folder", "load", "prepare", "response"])
async def test_an_unexpected_error_ends_the_job(site, monkeypatch, where):
    """An error that nobody expects makes a failed job, not one that runs for ever, and says nothing of its cause."""

    def broken(*_arguments):
        raise ZeroDivisionError("the prompt: cat")

    owner, name = {
        "folder": (site.data_dir, "folder"),
        "load": (site.service._files, "load"),
        "prepare": (site.gateway, "prepare"),
        "response": (site.results, "response"),
    }[where]
    prepared = site.prepared()
    monkeypatch.setattr(type(owner), name, broken)
    await site.service.enter(prepared, RequestIdentity("print", "key"))
    row = await ended(site)
    assert (row.status, row.error["kind"], "cat" in row.error["message"]) == ("failed", "InternalError", False)
    assert (site.pictures, site.service._runner.live) == ([], {})


async def test_a_cancellation_at_the_very_end_comes_too_late(site, monkeypatch):
    """A job that is cancelled while its result is stored has its result."""
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def slow(result, _seconds, _patience):
        entered.set()
        await go_on.wait()
        return {"id": result.job.id}

    monkeypatch.setattr(site.results, "response", slow)
    await site.enter()
    await entered.wait()
    await site.service.cancel("req_1")
    go_on.set()
    assert (await ended(site)).status == "completed"


async def test_what_was_bought_is_followed_though_it_is_to_be_cancelled(database_url, tmp_path, monkeypatch):
    """A cancelled job of a process that died is begun again where a provider had accepted it: it may cost money."""
    monkeypatch.setattr(maintenance, "HEARTBEAT_SECONDS", 0.2)
    site = Site(database_url, tmp_path / "data")
    write(site, await left_behind(site, CANCELLING))
    write(site, insert(SUBMISSIONS).values(key="k", request_id="req_1", provider="fal", created_at=1.0))
    await site.service.start()
    try:
        await ended(site)
        assert [job.id for job in site.gateway.started] == ["req_1"]
    finally:
        await site.service.close()
        site.close()


@pytest.mark.parametrize("status", [QUEUED, RUNNING])
async def test_what_was_bought_and_cannot_be_followed_has_an_unknown_cost(database_url, tmp_path, status):
    """A job that was bought and whose picture is gone keeps the cost that was reserved, and its key."""
    site = Site(database_url, tmp_path / "data")
    write(site, await left_behind(site, status, idempotency_key="key", fingerprint="print"))
    write(site, insert(SUBMISSIONS).values(key="k", request_id="req_1", provider="fal", created_at=1.0))
    await site.service._files.delete("req_1")
    await site.service.start()
    try:
        row = await ended(site)
        assert (row.status, row.cost, row.idempotency_key) == ("failed", 7, "key")
    finally:
        await site.service.close()
        site.close()


async def test_the_end_of_a_process_leaves_its_jobs(site):
    """At the end of the process a job stays as it is; one that begins meanwhile does not begin."""
    await site.enter(tile_seconds=10)
    await site.gateway.begun.wait()
    closing = asyncio.create_task(site.service.close())
    await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await site.service._runner.run("req_9")
    await closing
    assert (await site.service.find("req_1")).status == RUNNING
    assert site.pictures == ["req_1"]


async def test_a_job_that_is_cancelled_while_it_begins_ends(site, monkeypatch):
    """A job that is cancelled between its start and its work does not begin to work."""
    load = site.service._files.load

    async def load_and_cancel(facts):
        site.service._runner.cancel("req_1")
        return await load(facts)

    monkeypatch.setattr(site.service._files, "load", load_and_cancel)
    await site.enter(tile_seconds=10)
    assert (await ended(site)).status == "cancelled"
    assert (site.gateway.started, site.service._runner.live) == ([], {})


@pytest.mark.parametrize(("charged", "patience"), [(0, 0.0), (100, runner.STORE_SECONDS)])
async def test_what_was_paid_waits_for_the_store(site, charged, patience):
    """A paid result is kept for minutes where the store does not answer, a free one is not."""
    await site.enter(charged=charged)
    assert (await ended(site)).cost == charged
    assert site.results.patience == [patience]
