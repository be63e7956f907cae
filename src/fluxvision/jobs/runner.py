"""JobRunner: runs stored jobs, each from its stored input to its stored end, as the body of its workflow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection

from fluxvision.accounts.quota import QuotaStore
from fluxvision.core.callbacks import JobCallbacks, SubmissionStore
from fluxvision.core.errors import Cancelled, Error, InternalError, Unavailable
from fluxvision.core.job_status import ACTIVE, CANCELLED, COMPLETED, FAILED, QUEUED, RUNNING
from fluxvision.gateway.execution import ExecutionReport
from fluxvision.gateway.gateway import Gateway
from fluxvision.jobs import deliveries, records
from fluxvision.jobs.batch_types import RESULT_SECONDS
from fluxvision.jobs.job_files import JobFiles
from fluxvision.jobs.live_job import JobObserver, LiveJob, ResultStore
from fluxvision.jobs.provider_submissions import StoredSubmissions
from fluxvision.jobs.records import RequestRow
from fluxvision.jobs.request_types import KEY_SECONDS
from fluxvision.storage.data_dir import DataDir
from fluxvision.storage.database import Database

T = TypeVar("T")

CANCELLED_ERROR = Cancelled("The request was cancelled.")
RETRY_SECONDS = 1.0
"""Pause before the database is asked again for what must not be lost."""
END_SECONDS = 30.0
"""How long the end of the process waits for jobs whose end is being stored: an upload that is cut off was paid for."""
STORE_SECONDS = 300.0
"""How long a paid result waits for an object store that does not answer; a process that ends meanwhile leaves it to the
next one, which fetches it from the provider again."""
BATCH_WEIGHT = 0.1
"""Share of a provider's time that the batches of a key get beside a key whose requests are waited for."""


class JobRunner:
    """The stored jobs that this process runs."""

    def __init__(
        self,
        database: Database,
        gateway: Gateway,
        data_dir: DataDir,
        *,
        files: JobFiles,
        quotas: QuotaStore,
        results: ResultStore,
        observer: JobObserver,
        on_end: Callable[[], None],
        now: Callable[[], float],
    ) -> None:
        """Run jobs at `gateway`, whose pictures are in `files`; `results` keeps what they make.

        `on_end` is called when the end of a job has been stored.
        """
        self.live: dict[str, LiveJob] = {}
        self.is_closing = False
        self._database = database
        self._gateway = gateway
        self._data_dir = data_dir
        self._files = files
        self._quotas = quotas
        self._results = results
        self._observer = observer
        self._on_end = on_end
        self._now = now

    async def close(self) -> None:
        """Leave unfinished jobs to the next process, without cancelling what providers work on."""
        tasks = {live.task for live in self.live.values() if live.task is not None}
        for live in self.live.values():
            if live.submissions is not None:
                live.submissions.keeps_work = True
            if live.task is not None and not live.is_ending:
                live.task.cancel()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=END_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def run(self, request_id: str) -> None:
        """Run a job to its end; the body of its workflow, which must not raise: it would not be taken up again."""
        live = self.live.setdefault(request_id, LiveJob())
        live.task = asyncio.current_task()
        try:
            if self.is_closing:  # the next process takes it up
                raise asyncio.CancelledError
            row = await self.retry(request_id, lambda connection: records.find_request(connection, request_id, None))
            if row is not None and row.status in ACTIVE:
                await self._run_row(row, live)
            await self._files.delete_folder(request_id)
            live.ended.set()  # the answer does not wait for the object store
            await self._files.delete_objects(request_id)
        finally:
            self.live.pop(request_id, None)
            live.ended.set()

    def forget(self, request_id: str) -> None:
        """Let nobody wait for a job that this process does not run."""
        live = self.live.get(request_id)
        if live is not None and live.task is None:
            del self.live[request_id]
            live.ended.set()

    def cancel(self, request_id: str) -> None:
        """Cancel a job that this process runs; one that is about to run is asked again at the next heartbeat."""
        live = self.live.get(request_id)
        if live is None:
            return
        live.is_cancelled = True
        if live.is_executing and live.task is not None:
            live.is_executing = False
            live.task.cancel()

    async def retry(
        self, request_id: str, work: Callable[[Connection], T], *, is_left: Callable[[], bool] = lambda: False
    ) -> T:
        """Use the database, again and again until it answers: what was bought must not be lost.

        Raises its error where the work `is_left` to the next process.
        """
        while True:
            try:
                return await self._database.run(work)
            except Unavailable as error:
                if is_left():
                    raise
                self._observer.fails(request_id, error)
                await asyncio.sleep(RETRY_SECONDS)

    def settle(self, connection: Connection, request_id: str, **columns: Any) -> None:
        """End a stored job, and enter the delivery of its webhook."""
        now = self._now()
        if self._quotas.settle(connection, request_id, ended_at=now, **columns):
            deliveries.enter(connection, request_id, now)

    def settle_unstarted(self, connection: Connection, request_id: str, status: str, error: Error) -> None:
        """Settle a job that has not begun."""
        columns = records.ended_columns(True, None, self._results.error(error, ()))
        self.settle(connection, request_id, status=status, cost=0, provider=None, **columns)

    async def _run_row(self, row: RequestRow, live: LiveJob) -> None:
        store = live.submissions = StoredSubmissions(self._database, row.id, self._now)
        begins = await self.retry(
            row.id, lambda connection: records.set_status(connection, row.id, RUNNING, QUEUED, RUNNING)
        )
        accepted = await self.retry(row.id, store.read_providers)
        report, folder, whole = ExecutionReport((), error=CANCELLED_ERROR), None, False
        try:
            if begins or accepted:  # what was bought is followed, and cancelled at the provider, too
                folder = self._data_dir.folder()
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
                self._data_dir.release(folder, whole=whole)

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
                report = ExecutionReport((), error=CANCELLED_ERROR)
            else:
                live.is_executing = True
                report = await prepared.run(callbacks, folder)
        finally:
            live.is_executing = False
            callbacks.cancel.set()
            self._observer.ends(report)
        return report

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
                patience = 0.0 if cost == 0 else STORE_SECONDS
                response = await self._results.response(report.result, seconds, patience)
            except Exception as failure:  # noqa: BLE001 - it is logged below
                error = failure
        status = COMPLETED if response is not None else FAILED
        if isinstance(error, asyncio.CancelledError | Cancelled):
            status, error = CANCELLED, CANCELLED_ERROR
        elif error is not None and not isinstance(error, Error):
            self._observer.fails(row.id, error)
            error = InternalError("Something went wrong on this server.")
        told = None if error is None else self._results.error(error, report.attempts)
        columns = records.ended_columns(cost == 0, response, told)

        def settle(connection: Connection) -> None:
            self.settle(connection, row.id, status=status, cost=cost, provider=provider, **columns)
            records.delete_submissions(connection, row.id)

        await self.retry(row.id, settle)
        self._on_end()
