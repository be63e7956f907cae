"""JobService: whatever goes wrong in the middle, a job ends, once, and is accounted for."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import insert, select, update

from fakes.job_service import Site
from fakes.server import wait_until
from fluxvision.core.errors import Unavailable
from fluxvision.core.job_status import CANCELLING, QUEUED, RUNNING
from fluxvision.jobs import job_files, records
from fluxvision.jobs import service as module
from fluxvision.jobs.request_types import EndedRequest, RequestFilter, RequestIdentity
from fluxvision.storage.tables import EXECUTORS, REQUESTS, SUBMISSIONS

PATIENCE = 20.0


@pytest.fixture
async def site(database_url, tmp_path, monkeypatch):
    """A started service and all that it uses, once with each kind of database."""
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.2)
    found = Site(database_url, tmp_path / "data")
    await found.service.start()
    yield found
    await found.service.close()
    found.close()


async def ended(site, request_id="req_1"):
    """Return the row of a job that has ended."""
    async with asyncio.timeout(PATIENCE):
        return await site.service.wait(request_id)


def write(site, statement):
    """Write to the site's database."""
    with site.database.begin() as connection:
        connection.execute(statement)


async def left_behind(site, status=RUNNING, **columns):
    """Return the row of a job that another process had entered, whose pictures are kept."""
    prepared = site.prepared("req_1", tile_seconds=0.01)
    facts = await site.service._files.save(prepared.job)
    return insert(REQUESTS).values(
        id="req_1", key_id="alice", created_at=1.0, model="m", status=status, job=facts, reserved=7, **columns
    )


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
    assert (site.pictures, site.service._live) == ([], {})


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


async def test_the_same_is_entered_once(site):
    """A second request with the key is the first one, and leaves no pictures."""
    first, again = await asyncio.gather(
        *(site.enter(name, key="one", tile_seconds=0.05) for name in ("req_1", "req_2"))
    )
    assert (sorted([first.is_new, again.is_new]), first.id) == ([False, True], again.id)
    await ended(site, first.id)
    assert (len(site.gateway.started), site.pictures, site.service._live) == (1, [], {})


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
    begin = site.service._run

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
        "folder": (site.workspace, "folder"),
        "load": (site.service._files, "load"),
        "prepare": (site.service._gateway, "prepare"),
        "response": (site.results, "response"),
    }[where]
    prepared = site.prepared()
    monkeypatch.setattr(type(owner), name, broken)
    await site.service.enter(prepared, RequestIdentity("print", "key"))
    row = await ended(site)
    assert (row.status, row.error["kind"], "cat" in row.error["message"]) == ("failed", "InternalError", False)
    assert (site.pictures, site.service._live) == ([], {})


@pytest.mark.parametrize("faults", [0, 2])
async def test_a_job_that_cannot_be_started_has_ended(site, monkeypatch, faults):
    """When its workflow cannot be started, the request fails, its key is free, and nobody waits for it."""
    monkeypatch.setattr("fluxvision.jobs.service.RETRY_SECONDS", 0.05)

    async def broken(*_arguments, **_options):
        site.database.faults += [Unavailable("The server's database does not answer.")] * faults
        raise RuntimeError

    with monkeypatch.context() as patched:
        patched.setattr(site.service._workflows, "start", broken)
        with pytest.raises(RuntimeError):
            await site.enter()
    row = await ended(site)
    assert (row.status, row.idempotency_key, row.reserved) == ("failed", None, 0)
    assert site.service._live == {}
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
    assert site.service._live == {}


async def test_a_running_job_is_cancelled(site):
    """A cancelled job ends as cancelled, at the provider too, and leaves nothing."""
    await site.enter(tile_seconds=10)
    await site.gateway.begun.wait()
    await site.service.cancel("req_1")
    assert (await ended(site)).status == "cancelled"
    assert (site.gateway.cancelled, site.pictures, site.service._live) == (["req_1"], [], {})


async def test_a_job_that_is_cancelled_while_it_begins_ends(site, monkeypatch):
    """A job that is cancelled between its start and its work does not begin to work."""
    load = site.service._files.load

    async def load_and_cancel(facts):
        site.service._cancel_live("req_1")
        return await load(facts)

    monkeypatch.setattr(site.service._files, "load", load_and_cancel)
    await site.enter(tile_seconds=10)
    assert (await ended(site)).status == "cancelled"
    assert (site.gateway.started, site.service._live) == ([], {})


async def test_a_cancellation_at_the_very_end_comes_too_late(site, monkeypatch):
    """A job that is cancelled while its result is stored has its result."""
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def slow(result, _seconds):
        entered.set()
        await go_on.wait()
        return {"id": result.job.id}

    monkeypatch.setattr(site.results, "response", slow)
    await site.enter()
    await entered.wait()
    await site.service.cancel("req_1")
    go_on.set()
    assert (await ended(site)).status == "completed"


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


async def test_what_was_bought_is_followed_though_it_is_to_be_cancelled(database_url, tmp_path, monkeypatch):
    """A cancelled job of a process that died is begun again where a provider had accepted it: it may cost money."""
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.2)
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
        await site.service._run("req_9")
    await closing
    assert (await site.service.find("req_1")).status == RUNNING
    assert site.pictures == ["req_1"]


async def test_dead_gateways_are_forgotten_only_when_their_jobs_are_taken_up(site, monkeypatch):
    """A gateway that fails while it takes up a dead one's jobs does so again."""
    taken = []

    async def take_up(executor_ids):
        dead = [*executor_ids]
        taken.extend(dead)
        if len(taken) == 1:
            raise RuntimeError

    async def elsewhere(*_arguments, **_options):
        return False

    monkeypatch.setattr(site.service._workflows, "take_up", take_up)
    monkeypatch.setattr(site.service._workflows, "start", elsewhere)
    write(site, await left_behind(site))
    write(site, insert(EXECUTORS).values(id="other-machine", seen_at=1.0))
    assert await asyncio.to_thread(wait_until, lambda: len(taken) == 2 and "other-machine" not in executors(site))
    assert taken == ["other-machine"] * 2


def executors(site):
    """Return the gateways that are noted."""
    with site.database.begin() as connection:
        return list(connection.execute(select(EXECUTORS.c.id)).scalars())


async def test_too_many_jobs_to_look_at_lose_no_pictures(database_url, tmp_path, monkeypatch):
    """Pictures are not swept while more jobs are unfinished than are looked at."""
    monkeypatch.setattr(module, "MOST_TAKEN_UP", 1)
    monkeypatch.setattr(job_files, "ENTERING_SECONDS", -1.0)
    site = Site(database_url, tmp_path / "data")
    for number in range(3):
        facts = await site.service._files.save(site.prepared(f"req_{number}", tile_seconds=10).job)
        row = {"id": f"req_{number}", "key_id": "alice", "created_at": number, "model": "m", "job": facts}
        write(site, insert(REQUESTS).values(**row, status=QUEUED))
    await site.service.start()
    try:
        await site.gateway.begun.wait()
        assert site.pictures == ["req_0", "req_1", "req_2"]
    finally:
        await site.service.close()
        site.close()


async def test_a_started_service_is_known(site):
    """A service is among the running gateways before it takes its first job."""
    assert executors(site) == [site.service._executor.id]


async def test_notes_wait_for_the_database(site):
    """Requests that are to be noted while the database does not answer are noted later."""
    site.database.faults += [Unavailable("The server's database does not answer.")] * 2
    site.service.note(EndedRequest("req_n", "alice", "m", "completed", "own", 0, 1.0, 2.0))
    wanted = RequestFilter("alice")

    def noted():
        with site.database.begin() as connection:
            return records.list_requests(connection, wanted)

    assert await asyncio.to_thread(wait_until, noted)
    assert site.database.faults == []
