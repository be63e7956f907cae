"""JobMaintenance: dead gateways, notes and pictures that belong to no job."""

from __future__ import annotations

import asyncio

from sqlalchemy import insert, select

from fakes.job_service import Site, left_behind, write
from fakes.server import wait_until
from fluxvision.core.errors import Unavailable
from fluxvision.core.job_status import QUEUED
from fluxvision.jobs import job_files, maintenance, records
from fluxvision.jobs.request_types import EndedRequest, RequestFilter
from fluxvision.storage.tables import EXECUTORS, REQUESTS


def executors(site):
    """Return the gateways that are noted."""
    with site.database.begin() as connection:
        return list(connection.execute(select(EXECUTORS.c.id)).scalars())


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


async def test_too_many_jobs_to_look_at_lose_no_pictures(database_url, tmp_path, monkeypatch):
    """Pictures are not swept while more jobs are unfinished than are looked at."""
    monkeypatch.setattr(maintenance, "MOST_TAKEN_UP", 1)
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
    assert executors(site) == [site.service.batches.executor_id]


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
