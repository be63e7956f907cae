"""JobService: enters jobs, runs them as workflows, and lets any number of callers wait for, follow or cancel them.

The module is long because the states of a job, from entry to end, are told in one place.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Connection

from fluxvision.accounts.ledger import Ledger
from fluxvision.core.callbacks import JobCallbacks, SubmissionStore
from fluxvision.core.errors import Cancelled, Error, InternalError, InvalidRequest, NotFound, Unavailable
from fluxvision.core.job_status import ACTIVE, CANCELLED, CANCELLING, COMPLETED, FAILED, QUEUED, RUNNING
from fluxvision.core.key_limits import RequestRate
from fluxvision.gateway.execution import ExecutionReport, PreparedJob
from fluxvision.gateway.gateway import Gateway
from fluxvision.jobs import batch_records, deliveries, records
from fluxvision.jobs.batch_lines import LineSource
from fluxvision.jobs.batch_store import BatchStore
from fluxvision.jobs.batch_types import RESULT_SECONDS, BatchLine
from fluxvision.jobs.batches import BatchFeeder
from fluxvision.jobs.heartbeat import HEARTBEAT_SECONDS, GatewayHeartbeat
from fluxvision.jobs.job_files import JobFiles
from fluxvision.jobs.live_job import JobObserver, LiveJob, ResultStore
from fluxvision.jobs.provider_submissions import StoredSubmissions
from fluxvision.jobs.records import RequestRow
from fluxvision.jobs.request_types import (
    KEY_SECONDS,
    EndedRequest,
    Entry,
    RequestFilter,
    RequestIdentity,
    Webhook,
)
from fluxvision.jobs.webhooks import WebhookSender
from fluxvision.jobs.workflows import Workflows
from fluxvision.storage.database import Database
from fluxvision.storage.workspace import Workspace

if TYPE_CHECKING:  # not imported at run time, because it needs an extra
    from fluxvision.storage.bucket import Bucket

T = TypeVar("T")

_CANCELLED = Cancelled("The request was cancelled.")
_NOT_STARTED = InternalError("The job could not be started. Nothing was charged.")
FIRST_LOOK, LONGEST_LOOK = 0.1, 1.0
"""Seconds between two looks at a job that another process runs, at first and at most."""
RETRY_SECONDS = 1.0
"""Pause before the database is asked again for what must not be lost."""
END_SECONDS = 30.0
"""How long the end of the process waits for jobs whose end is being stored: an upload that is cut off was paid for."""
SWEEP_SECONDS = 3600.0
"""How often pictures that belong to no unfinished job are deleted."""
MOST_NOTES = 10_000
"""Requests that wait to be noted while the database does not answer; the oldest are dropped."""
MOST_TAKEN_UP = 10_000
MOST_AHEAD = 16
"""Requests of a batch that wait in addition to those that fill every place twice."""
BATCH_WEIGHT = 0.1
"""Share of a provider's time that the batches of a key get beside a key whose requests are waited for."""


class JobService:
    """The jobs of one gateway process; several share a database."""

    def __init__(
        self,
        database: Database,
        gateway: Gateway,
        workspace: Workspace,
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
        self.ledger = Ledger(database, now)
        self.batch_store = BatchStore(database, now)
        self._gateway = gateway
        self._workspace = workspace
        self._results = results
        self._observer = observer
        self._now = now
        self._files = JobFiles((workspace.run if workspace.temporary else workspace.root) / "jobs", bucket)
        self._executor = GatewayHeartbeat(workspace)
        self._workflows = Workflows(database.url, self._executor.id, self._run, parallel)
        self.batches = BatchFeeder(
            database,
            self._executor.id,
            lines,
            enter=self.enter,
            cancel=self.cancel,
            describe_error=results.error,
            on_unexpected_error=observer.fails,
            most=2 * parallel + MOST_AHEAD,
            shares_files=bucket is not None or not database.locks_rows,
            now=now,
        )
        self._live: dict[str, LiveJob] = {}
        self._notes: list[EndedRequest] = []
        self._heart: asyncio.Task[None] | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._closing = False

    async def start(self) -> None:
        """Note that this gateway is alive, and take up what others left; called in the event loop."""
        await self.database.run(lambda connection: self._executor.beat(connection, self._now()))
        self._heart = asyncio.create_task(self._beat())
        self._sweeper = asyncio.create_task(self._sweep())
        self.webhooks.start()
        self.batches.start()

    async def close(self) -> None:
        """Leave unfinished jobs to the next process, without cancelling what providers work on."""
        if self._heart is None or self._sweeper is None:
            return
        self._closing = True
        for task in (self._heart, self._sweeper):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await self.webhooks.close()
        await self.batches.close()
        tasks = {live.task for live in self._live.values() if live.task is not None}
        for live in self._live.values():
            if live.submissions is not None:
                live.submissions.keeps_work = True
            if live.task is not None and not live.is_ending:
                live.task.cancel()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=END_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await self._workflows.close()
        with suppress(Error):
            await self._write_notes()
            await self.database.run(self._executor.leave)

    async def count(self, prepared: PreparedJob) -> RequestRate | None:
        """Admit a job of a limited caller that is not stored; `settle` must follow. Raises as the ledger does."""
        admit = self._admission(prepared)
        return await self.database.run(
            lambda connection: admit(connection, request_id=prepared.job.id, status=RUNNING, background=False)
        )

    async def settle(self, ended: EndedRequest) -> None:
        """Settle a job that was counted."""
        await self.database.run(
            lambda connection: self.ledger.settle(
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
        self._notes.append(ended)

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
                batch_records.advance(connection, line, self._executor.id)
            return Entry(job.id, is_new=True, rate=rate)

        if not background:
            self._live[job.id] = LiveJob()
        entry = None
        try:
            entry = await self.database.run(enter)
        finally:
            if entry is None or not entry.is_new:
                self._forget(job.id)
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
                await self._retry(
                    request_id,
                    lambda connection: self._settle_unstarted(connection, request_id, FAILED, _NOT_STARTED),
                    is_left=lambda: self._closing,
                )
            self._forget(request_id)
            raise
        if not is_here:  # another gateway was faster
            self._forget(request_id)

    def _forget(self, request_id: str) -> None:
        """Let nobody wait for a job that this process does not run."""
        live = self._live.get(request_id)
        if live is not None and live.task is None:
            del self._live[request_id]
            live.ended.set()

    async def wait(self, request_id: str, follower: JobCallbacks | None = None) -> RequestRow:
        """Wait until a job has ended and return its row; `follower` gets its progress where this process runs it."""
        pause = FIRST_LOOK
        while True:
            live = self._live.get(request_id)
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
        live = self._live.get(request_id)
        return (0, 0) if live is None else live.progress

    async def cancel(self, request_id: str) -> None:
        """Cancel a job; the gateway that runs it notices within seconds, this one at once."""

        def cancel(connection: Connection) -> None:
            if records.set_status(connection, request_id, CANCELLING, QUEUED):  # nothing has begun: that was all
                self._settle_unstarted(connection, request_id, CANCELLED, _CANCELLED)
            else:
                records.set_status(connection, request_id, CANCELLING, RUNNING)

        await self.database.run(cancel)
        self.webhooks.wake()
        self._cancel_live(request_id)

    async def purge(self, request_id: str) -> None:
        """Delete what an ended request asked for and was answered, pictures included; its cost stays in the ledger."""
        row = await self.find(request_id)
        if row.status in ACTIVE:
            raise InvalidRequest("This request is still running; cancel it first.")
        await self._results.delete(row.response or {})
        await self._files.delete(request_id)
        await self.database.run(lambda connection: records.clear(connection, request_id))

    def _settle_unstarted(self, connection: Connection, request_id: str, status: str, error: Error) -> None:
        """Settle a job that has not begun."""
        columns = records.ended_columns(True, None, self._results.error(error, ()))
        self._settle(connection, request_id, status=status, cost=0, provider=None, **columns)

    def _admission(self, prepared: PreparedJob) -> Callable[..., RequestRate | None]:
        job, caller = prepared.job, prepared.job.caller

        def admit(connection: Connection, **columns: Any) -> RequestRate | None:
            return self.ledger.admit(
                connection,
                key_id=caller.id,
                model=job.model,
                reserved=prepared.most_cost(),
                limits=caller.limits,
                now=self._now(),
                **columns,
            )

        return admit

    async def _run(self, request_id: str) -> None:
        """Run a job to its end; the body of its workflow, which must not raise: it would not be taken up again."""
        live = self._live.setdefault(request_id, LiveJob())
        live.task = asyncio.current_task()
        try:
            if self._closing:  # the next process takes it up
                raise asyncio.CancelledError
            row = await self._retry(request_id, lambda connection: records.find_request(connection, request_id, None))
            if row is not None and row.status in ACTIVE:
                await self._run_row(row, live)
            await self._files.delete_folder(request_id)
            live.ended.set()  # the answer does not wait for the object store
            await self._files.delete_objects(request_id)
        finally:
            self._live.pop(request_id, None)
            live.ended.set()

    async def _run_row(self, row: RequestRow, live: LiveJob) -> None:
        store = live.submissions = StoredSubmissions(self.database, row.id, self._now)
        begins = await self._retry(
            row.id, lambda connection: records.set_status(connection, row.id, RUNNING, QUEUED, RUNNING)
        )
        accepted = await self._retry(row.id, store.read_providers)
        report, folder, whole = ExecutionReport((), error=_CANCELLED), None, False
        try:
            if begins or accepted:  # what was bought is followed, and cancelled at the provider, too
                folder = self._workspace.folder()
                report = await self._execute(row, live, folder, accepted)
        except Exception as error:  # noqa: BLE001 - the job has it
            report = ExecutionReport((), error=error)
        try:
            whole = not isinstance(report.error, asyncio.CancelledError)
            if not whole and not live.is_cancelled:  # this process ends
                raise asyncio.CancelledError
            live.is_ending = True
            await self._end(row, report, is_bought=bool(accepted))
        finally:
            if folder is not None:
                self._workspace.release(folder, whole=whole)

    async def _execute(
        self, row: RequestRow, live: LiveJob, folder: Path, accepted: Collection[str]
    ) -> ExecutionReport:
        """Run a job, first at the providers that have `accepted` it already."""
        callbacks = JobCallbacks(
            progress=live.show_progress,
            preview=live.show_preview,
            submissions=live.submissions or SubmissionStore(),
            on_unexpected_error=partial(self._observer.fails, row.id),
        )
        self._observer.begins()
        report = ExecutionReport(())
        try:
            job = await self._files.load(row.job)
            if row.batch_id is not None:  # it takes its turns beside other requests of its key, not among them
                job = replace(job, caller=replace(job.caller, id=f"{row.key_id}:batches", weight=BATCH_WEIGHT))
            prepared = self._gateway.prepare(job)
            prepared.prefer(accepted, waits=row.background or row.status != QUEUED)
            if live.is_cancelled and not accepted:
                report = ExecutionReport((), error=_CANCELLED)
            else:
                live.is_executing = True
                report = await prepared.run(callbacks, folder)
        finally:
            live.is_executing = False
            callbacks.cancel.set()
            self._observer.ends(report)
        return report

    async def _retry(
        self, request_id: str, work: Callable[[Connection], T], *, is_left: Callable[[], bool] = lambda: False
    ) -> T:
        """Use the database, again and again until it answers: what was bought must not be lost.

        Raises its error where the work `is_left` to the next process.
        """
        while True:
            try:
                return await self.database.run(work)
            except Unavailable as error:
                if is_left():
                    raise
                self._observer.fails(request_id, error)
                await asyncio.sleep(RETRY_SECONDS)

    async def _end(self, row: RequestRow, report: ExecutionReport, *, is_bought: bool) -> None:
        """Store the result or error and the cost, in one transaction.

        The cost is unknown where a job that a provider had accepted could not be followed.
        """
        error, response, provider = report.error, None, None
        cost = None if is_bought and not report.attempts else report.cost
        if report.result is not None:
            provider = report.result.provider
            try:
                seconds = KEY_SECONDS if row.batch_id is None else RESULT_SECONDS
                response = await self._results.response(report.result, seconds)
            except Exception as failure:  # noqa: BLE001 - it is logged below
                error = failure
        status = COMPLETED if response is not None else FAILED
        if isinstance(error, asyncio.CancelledError | Cancelled):
            status, error = CANCELLED, _CANCELLED
        elif error is not None and not isinstance(error, Error):
            self._observer.fails(row.id, error)
            error = InternalError("Something went wrong on this server.")
        told = None if error is None else self._results.error(error, report.attempts)
        columns = records.ended_columns(cost == 0, response, told)

        def settle(connection: Connection) -> None:
            self._settle(connection, row.id, status=status, cost=cost, provider=provider, **columns)
            records.delete_submissions(connection, row.id)

        await self._retry(row.id, settle)
        self.webhooks.wake()

    def _settle(self, connection: Connection, request_id: str, **columns: Any) -> None:
        """End a stored job, and enter the delivery of its webhook."""
        now = self._now()
        if self.ledger.settle(connection, request_id, ended_at=now, **columns):
            deliveries.enter(connection, request_id, now)

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
            return self._executor.beat(connection, self._now())

        dead = await self.database.run(beat)
        if dead or first:
            rows = await self.list(RequestFilter(key_id=None, statuses=ACTIVE, limit=MOST_TAKEN_UP))
            left = [row for row in rows if row.job is not None and row.id not in self._live]
            if left:
                await self._workflows.take_up(dead)
                for row in left:  # also those whose workflow had not been started yet
                    is_patient = row.batch_id is not None
                    await self._workflows.start(row.id, background=row.background, is_patient=is_patient)
            await self.database.run(lambda connection: self._executor.remove(connection, dead))
        if self._live:
            ids = [*self._live]
            for request_id in await self.database.run(lambda connection: records.cancelling(connection, ids)):
                self._cancel_live(request_id)

    async def _sweep(self) -> None:
        """Delete pictures of no unfinished job, now and every hour; apart from the heartbeat, for a bucket may hang."""
        while True:
            try:
                rows = await self.list(RequestFilter(key_id=None, statuses=ACTIVE, limit=MOST_TAKEN_UP))
                if len(rows) <= MOST_TAKEN_UP:  # otherwise it is not known which are unfinished
                    await self._files.sweep({row.id for row in rows})
            except Exception as error:  # noqa: BLE001 - it is repeated
                self._observer.fails("", error)
            await asyncio.sleep(SWEEP_SECONDS)

    async def _write_notes(self) -> None:
        notes, self._notes = self._notes, []
        if not notes:
            return
        try:
            await self.database.run(lambda connection: records.insert_ended(connection, notes))
        except Unavailable:
            self._notes = [*notes, *self._notes][-MOST_NOTES:]
            raise

    def _cancel_live(self, request_id: str) -> None:
        """Cancel a job that this process runs; one that is about to run is asked again at the next heartbeat."""
        live = self._live.get(request_id)
        if live is None:
            return
        live.is_cancelled = True
        if live.is_executing and live.task is not None:
            live.is_executing = False
            live.task.cancel()
