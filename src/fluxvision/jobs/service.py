"""JobService: enters jobs, starts their workflows, and lets any number of callers wait for, follow or cancel them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from fluxvision.accounts.quota import QuotaStore
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.errors import Error, InternalError, InvalidRequest, NotFound
from fluxvision.core.job_status import ACTIVE, CANCELLED, CANCELLING, FAILED, QUEUED, RUNNING
from fluxvision.core.key_limits import RequestRate
from fluxvision.gateway.execution import PreparedJob
from fluxvision.gateway.gateway import Gateway
from fluxvision.jobs import batch_records, records
from fluxvision.jobs.batch_lines import LineSource
from fluxvision.jobs.batch_store import BatchStore
from fluxvision.jobs.batch_types import BatchLine
from fluxvision.jobs.batches import BatchFeeder
from fluxvision.jobs.heartbeat import GatewayHeartbeat
from fluxvision.jobs.job_files import JobFiles
from fluxvision.jobs.live_job import JobObserver, LiveJob, ResultStore
from fluxvision.jobs.maintenance import JobMaintenance
from fluxvision.jobs.records import RequestRow
from fluxvision.jobs.request_types import (
    EndedRequest,
    Entry,
    RequestFilter,
    RequestIdentity,
    Webhook,
)
from fluxvision.jobs.runner import CANCELLED_ERROR, JobRunner
from fluxvision.jobs.webhooks import WebhookSender
from fluxvision.jobs.workflows import Workflows
from fluxvision.storage.data_dir import DataDir
from fluxvision.storage.database import Database

if TYPE_CHECKING:  # not imported at run time, because it needs an extra
    from fluxvision.storage.bucket import Bucket

_NOT_STARTED = InternalError("The job could not be started. Nothing was charged.")
FIRST_LOOK, LONGEST_LOOK = 0.1, 1.0
"""Seconds between two looks at a job that another process runs, at first and at most."""
MOST_AHEAD = 16
"""Requests of a batch that wait in addition to those that fill every place twice."""


class JobService:
    """The jobs of one gateway process; several share a database."""

    def __init__(
        self,
        database: Database,
        gateway: Gateway,
        data_dir: DataDir,
        results: ResultStore,
        observer: JobObserver,
        *,
        webhooks: WebhookSender,
        lines: LineSource,
        parallel: int,
        bucket: Bucket | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Run jobs at `gateway`, at most `parallel` background jobs at once; `results` keeps what they make.

        Where there is a `bucket`, the pictures of unfinished jobs are there too, for other gateways.
        `lines` makes jobs of the lines of batches.
        """
        self.database = database
        self.webhooks = webhooks
        self.quotas = QuotaStore(database, now)
        self.batch_store = BatchStore(database, now)
        self._results = results
        self._now = now
        self._files = JobFiles((data_dir.run if data_dir.temporary else data_dir.root) / "jobs", bucket)
        own: dict[str, Any] = {"files": self._files, "observer": observer, "now": now}
        self._runner = JobRunner(
            database, gateway, data_dir, quotas=self.quotas, results=results, on_end=webhooks.wake, **own
        )
        heartbeat = GatewayHeartbeat(data_dir)
        self._workflows = Workflows(database.url, heartbeat.id, self._runner.run, parallel)
        self._maintenance = JobMaintenance(database, self._runner, self._workflows, heartbeat=heartbeat, **own)
        self.batches = BatchFeeder(
            database,
            heartbeat.id,
            lines,
            enter=self.enter,
            cancel=self.cancel,
            describe_error=results.error,
            on_unexpected_error=observer.fails,
            most=2 * parallel + MOST_AHEAD,
            shares_files=bucket is not None or not database.locks_rows,
            now=now,
        )

    async def start(self) -> None:
        """Note that this gateway is alive, and take up what others left; called in the event loop."""
        await self._maintenance.start()
        self.webhooks.start()
        self.batches.start()

    async def close(self) -> None:
        """Leave unfinished jobs to the next process, without cancelling what providers work on."""
        self._runner.is_closing = True
        if not await self._maintenance.stop():
            return
        await self.webhooks.close()
        await self.batches.close()
        await self._runner.close()
        await self._workflows.close()
        await self._maintenance.leave()

    async def count(self, prepared: PreparedJob) -> RequestRate | None:
        """Admit a job of a limited caller that is not stored, as `QuotaStore.admit` does; `settle` must follow."""
        admit = self._admission(prepared)
        return await self.database.run(
            lambda connection: admit(connection, request_id=prepared.job.id, status=RUNNING, background=False)
        )

    async def settle(self, ended: EndedRequest) -> None:
        """Settle a job that was counted."""
        await self.database.run(
            lambda connection: self.quotas.settle(
                connection,
                ended.id,
                status=ended.status,
                cost=ended.cost,
                provider=ended.provider,
                ended_at=ended.ended_at,
            )
        )

    def note(self, ended: EndedRequest) -> None:
        """Note a job that was neither stored nor counted; it is written with others, a little later."""
        self._maintenance.notes.append(ended)

    async def enter(
        self,
        prepared: PreparedJob,
        identity: RequestIdentity,
        *,
        background: bool = False,
        webhook: Webhook | None = None,
        line: BatchLine | None = None,
    ) -> Entry:
        """Store a new job and start it, or return the one that this request repeats; `webhook` is told its end.

        The job may be the request of a batch's `line`. Raises `IdempotencyConflict`, and `InsufficientBalance`,
        `TooMany` or `BatchMoved` with nothing started.
        """
        job = prepared.job

        def find(connection: Connection) -> RequestRow | None:
            return records.find_same(connection, job.caller.id, identity, self._now())

        known = await self.database.run(find)
        if known is not None:
            return Entry(known.id, is_new=False)
        facts = await self._files.save(job)
        admit = self._admission(prepared)

        def enter(connection: Connection) -> Entry:
            records.lock_caller(connection, self.database, job.caller.id)
            known = find(connection)
            if known is not None:
                return Entry(known.id, is_new=False)
            rate = admit(
                connection,
                request_id=job.id,
                background=background,
                idempotency_key=identity.key,
                fingerprint=identity.fingerprint,
                is_retry=identity.is_retry,
                job=facts,
                webhook=None if webhook is None else asdict(webhook),
                **({} if line is None else line.columns),
            )
            if line is not None:
                batch_records.advance(connection, line, self.batches.executor_id)
            return Entry(job.id, is_new=True, rate=rate)

        if not background:
            self._runner.live[job.id] = LiveJob()
        entry = None
        try:
            entry = await self.database.run(enter)
        finally:
            if entry is None or not entry.is_new:
                self._runner.forget(job.id)
                await self._files.delete(job.id)
        if entry.is_new:
            await self._start(job.id, background=background, is_patient=line is not None)
        return entry

    async def _start(self, request_id: str, *, background: bool, is_patient: bool) -> None:
        """Start the workflow of a job that was entered; raises an error with the job ended.

        Where the database does not answer until this process ends, the next one starts it.
        """
        try:
            is_here = await self._workflows.start(request_id, background=background, is_patient=is_patient)
        except Exception:
            with suppress(Error):
                await self._runner.retry(
                    request_id,
                    lambda connection: self._runner.settle_unstarted(connection, request_id, FAILED, _NOT_STARTED),
                    is_left=lambda: self._runner.is_closing,
                )
            self._runner.forget(request_id)
            raise
        if not is_here:  # another gateway was faster
            self._runner.forget(request_id)

    async def wait(self, request_id: str, follower: JobCallbacks | None = None) -> RequestRow:
        """Wait until a job has ended and return its row; `follower` gets its progress where this process runs it."""
        pause = FIRST_LOOK
        while True:
            live = self._runner.live.get(request_id)
            if live is not None:
                if follower is not None and follower not in live.followers:
                    live.followers.append(follower)
                    if live.progress != (0, 0):
                        follower.progress(*live.progress)
                try:
                    await live.ended.wait()
                finally:
                    if follower in live.followers:
                        live.followers.remove(follower)
            row = await self.find(request_id)
            if row.status not in ACTIVE:
                return row
            await asyncio.sleep(pause)
            pause = min(LONGEST_LOOK, pause * 1.5)

    async def find(self, request_id: str, key_id: str | None = None) -> RequestRow:
        """Return the row of a request, of this caller or (None) of anybody; raises `NotFound`."""
        row = await self.database.run(lambda connection: records.find_request(connection, request_id, key_id))
        if row is None:
            raise NotFound("There is no request with this id, or it is another key's.")
        return row

    async def list(self, wanted: RequestFilter) -> Sequence[RequestRow]:
        """Return one request more than wanted, where there are more."""
        return await self.database.run(lambda connection: records.list_requests(connection, wanted))

    def progress(self, request_id: str) -> tuple[int, int]:
        """Return the finished tiles and all tiles of a job that this process runs, otherwise zeros."""
        live = self._runner.live.get(request_id)
        return (0, 0) if live is None else live.progress

    async def cancel(self, request_id: str) -> None:
        """Cancel a job; the gateway that runs it notices within seconds, this one at once."""

        def cancel(connection: Connection) -> None:
            if records.set_status(connection, request_id, CANCELLING, QUEUED):  # nothing has begun: that was all
                self._runner.settle_unstarted(connection, request_id, CANCELLED, CANCELLED_ERROR)
            else:
                records.set_status(connection, request_id, CANCELLING, RUNNING)

        await self.database.run(cancel)
        self.webhooks.wake()
        self._runner.cancel(request_id)

    async def purge(self, request_id: str) -> None:
        """Delete what an ended request asked for and was answered, pictures included; its cost stays in the ledger."""
        row = await self.find(request_id)
        if row.status in ACTIVE:
            raise InvalidRequest("This request is still running; cancel it first.")
        await self._results.delete(row.response or {})
        await self._files.delete(request_id)
        await self.database.run(lambda connection: records.clear(connection, request_id))

    def _admission(self, prepared: PreparedJob) -> Callable[..., RequestRate | None]:
        job, caller = prepared.job, prepared.job.caller

        def admit(connection: Connection, **columns: Any) -> RequestRate | None:
            return self.quotas.admit(
                connection,
                key_id=caller.id,
                model=job.model,
                reserved=prepared.most_cost(),
                limits=caller.limits,
                now=self._now(),
                **columns,
            )

        return admit
