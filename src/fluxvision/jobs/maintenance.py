"""JobMaintenance: what a gateway does regularly for jobs: heartbeats, taking up those of dead ones, notes, sweeps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

from sqlalchemy import Connection

from fluxvision.core.errors import Error, Unavailable
from fluxvision.core.job_status import ACTIVE
from fluxvision.jobs import records
from fluxvision.jobs.heartbeat import HEARTBEAT_SECONDS, GatewayHeartbeat
from fluxvision.jobs.job_files import JobFiles
from fluxvision.jobs.live_job import JobObserver
from fluxvision.jobs.records import RequestRow
from fluxvision.jobs.request_types import EndedRequest, RequestFilter
from fluxvision.jobs.runner import JobRunner
from fluxvision.jobs.workflows import Workflows
from fluxvision.storage.database import Database

SWEEP_SECONDS = 3600.0
"""How often pictures that belong to no unfinished job are deleted."""
MOST_NOTES = 10_000
"""Requests that wait to be noted while the database does not answer; the oldest are dropped."""
MOST_TAKEN_UP = 10_000


class JobMaintenance:
    """The regular work of one gateway."""

    def __init__(
        self,
        database: Database,
        runner: JobRunner,
        workflows: Workflows,
        *,
        heartbeat: GatewayHeartbeat,
        files: JobFiles,
        observer: JobObserver,
        now: Callable[[], float],
    ) -> None:
        """Take up jobs as `workflows`, which `runner` runs; their pictures are in `files`."""
        self.notes: list[EndedRequest] = []
        """Requests that were neither stored nor counted and wait to be written."""
        self._database = database
        self._heartbeat = heartbeat
        self._workflows = workflows
        self._runner = runner
        self._files = files
        self._observer = observer
        self._now = now
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Note that this gateway is alive, and take up what others left; called in the event loop."""
        await self._database.run(lambda connection: self._heartbeat.beat(connection, self._now()))
        self._tasks = [asyncio.create_task(self._beat()), asyncio.create_task(self._sweep())]

    async def stop(self) -> bool:
        """Take up no more jobs; return whether it had been started."""
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        return bool(self._tasks)

    async def leave(self) -> None:
        """Write the last notes, and tell the other gateways that this one ends."""
        with suppress(Error):
            await self._write_notes()
            await self._database.run(self._heartbeat.leave)

    async def _beat(self) -> None:
        """Note regularly that this gateway is alive; take up what dead ones left; cancel what is to be cancelled."""
        first = True
        while True:
            try:
                await self._beat_once(first=first)
                first = False
            except Exception as error:  # noqa: BLE001 - one bad moment of the database must not end it
                self._observer.fails("", error)
            await asyncio.sleep(HEARTBEAT_SECONDS)

    async def _beat_once(self, *, first: bool) -> None:
        await self._write_notes()

        def beat(connection: Connection) -> Sequence[str]:
            records.end_abandoned(connection, self._now())
            return self._heartbeat.beat(connection, self._now())

        dead = await self._database.run(beat)
        if dead or first:
            rows = await self._unfinished()
            left = [row for row in rows if row.job is not None and row.id not in self._runner.live]
            if left:
                await self._workflows.take_up(dead)
                for row in left:  # also those whose workflow had not been started yet
                    is_patient = row.batch_id is not None
                    await self._workflows.start(row.id, background=row.background, is_patient=is_patient)
            await self._database.run(lambda connection: self._heartbeat.remove(connection, dead))
        if self._runner.live:
            ids = [*self._runner.live]
            for request_id in await self._database.run(lambda connection: records.cancelling(connection, ids)):
                self._runner.cancel(request_id)

    async def _sweep(self) -> None:
        """Delete pictures of no unfinished job, now and every hour; apart from the heartbeat, for a bucket may hang."""
        while True:
            try:
                rows = await self._unfinished()
                if len(rows) <= MOST_TAKEN_UP:  # otherwise it is not known which are unfinished
                    await self._files.sweep({row.id for row in rows})
            except Exception as error:  # noqa: BLE001 - it is repeated
                self._observer.fails("", error)
            await asyncio.sleep(SWEEP_SECONDS)

    async def _write_notes(self) -> None:
        notes, self.notes = self.notes, []
        if not notes:
            return
        try:
            await self._database.run(lambda connection: records.insert_ended(connection, notes))
        except Unavailable:
            self.notes = [*notes, *self.notes][-MOST_NOTES:]
            raise

    async def _unfinished(self) -> Sequence[RequestRow]:
        """Return the jobs that have not ended, one more than `MOST_TAKEN_UP` where there are more."""
        wanted = RequestFilter(key_id=None, statuses=ACTIVE, limit=MOST_TAKEN_UP)
        return await self._database.run(lambda connection: records.list_requests(connection, wanted))
