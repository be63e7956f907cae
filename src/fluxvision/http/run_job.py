"""Runs a prepared job, and records provider, attempts and cost for headers, log, metrics and ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from starlette.types import Scope

from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.concurrency import run_to_the_end
from fluxvision.core.errors import Cancelled
from fluxvision.core.job_status import CANCELLED, COMPLETED, FAILED
from fluxvision.core.key_limits import RequestRate
from fluxvision.core.money import sum_costs
from fluxvision.core.types import Attempt, Job, JobResult
from fluxvision.gateway.execution import ExecutionReport, PreparedJob
from fluxvision.http.job_tracker import JobTracker
from fluxvision.http.observability import Metrics, format_trace
from fluxvision.http.state import AppState, record_of
from fluxvision.jobs.request_types import EndedRequest

GRACE = 0.1
"""Seconds after the deadline in which a job may end by itself, so that its answer has what its attempts have cost."""


class JobObserver:
    """Counts and logs the stored jobs that this process runs."""

    def __init__(self, metrics: Metrics, log: Any, running: JobTracker) -> None:
        """Count in `metrics` and `running`, and log to `log`."""
        self._metrics = metrics
        self._log = log
        self._running = running

    def begins(self) -> None:
        """Count a job that begins."""
        self._running.begin_stored()
        self._metrics.job(1)

    def ends(self, report: ExecutionReport) -> None:
        """Count a job that ends, its attempts and cost."""
        self._running.end_stored()
        self._metrics.job(-1)
        if report.result is None:
            self._metrics.attempts(report.attempts)
        else:
            self._metrics.delivery(report.result)

    def fails(self, request_id: str, error: BaseException) -> None:
        """Log an unexpected error; the id is empty where it is no job's."""
        self._log.error("unexpected", request_id=request_id, trace=format_trace(error))


async def run_job(
    state: AppState,
    scope: Scope,
    prepared: PreparedJob,
    callbacks: JobCallbacks,
    folder: Path,
    *,
    on_late: Callable[[], None],
) -> JobResult:
    """Run the job, and record provider, attempts and cost for headers, log and metrics.

    Raises the job's error. The work is told to stop in any case. The gateway enforces the deadline; `on_late` is called
    when the work has not ended `GRACE` seconds after it, because a tile is made to its end.
    """
    job, found = prepared.job, record_of(scope)

    def log_unexpected(error: Exception) -> None:
        state.log.error("unexpected", request_id=job.id, trace=format_trace(error))

    is_counted, created_at, status = job.caller.limited, state.now(), FAILED
    if is_counted:
        found.rate = await run_to_the_end(_count(state, prepared))
    state.metrics.job(1)
    late = asyncio.get_running_loop().call_later(state.gateway.deadline + GRACE, on_late)
    try:
        with state.data_dir.watch(folder):
            report = await prepared.run(replace(callbacks, on_unexpected_error=log_unexpected), folder)
            found.attempts, found.cost = report.attempts, report.cost
            try:
                result = report.unwrap()
            finally:
                del report  # its error's traceback has this frame: they would hold each other, and the pictures
        status = COMPLETED
    except BaseException as error:  # a caller that went away may have cost money, too
        status = CANCELLED if isinstance(error, asyncio.CancelledError | Cancelled) else FAILED
        state.playground.failed(job, error, found.cost)
        state.metrics.attempts(found.attempts)
        raise
    finally:
        late.cancel()
        callbacks.cancel.set()
        state.metrics.job(-1)
        await _end(state, scope, job, status, created_at)
    found.provider = result.provider
    state.metrics.delivery(result)
    return state.playground.delivered(result)


async def run_jobs(
    state: AppState,
    scope: Scope,
    jobs: Sequence[tuple[PreparedJob, Path]],
    callbacks: JobCallbacks,
    *,
    on_late: Callable[[], None],
) -> list[JobResult]:
    """Run the jobs of one request one after another, each in its folder, and record what all of them have cost.

    Raises the first error: what the jobs before it have cost is recorded all the same.
    """
    found, results = record_of(scope), list[JobResult]()
    costs, attempts = list[int | None](), list[Attempt]()
    for prepared, folder in jobs:
        stop = JobCallbacks(progress=callbacks.progress, preview=callbacks.preview)
        try:
            results.append(await run_job(state, scope, prepared, stop, folder, on_late=on_late))
        finally:
            costs.append(found.cost)
            attempts += found.attempts
            found.attempts, found.cost = attempts, sum_costs(costs)
    return results


async def _count(state: AppState, prepared: PreparedJob) -> RequestRate | None:
    return await (await state.jobs.get()).count(prepared)


async def _end(state: AppState, scope: Scope, job: Job, status: str, created_at: float) -> None:
    """Settle a job that was counted; note another one where a history is kept."""
    found = record_of(scope)
    if not (job.caller.limited or state.keeps_history):
        return
    cost = None if found.cost is None and found.attempts else found.cost or 0
    provider = next((attempt.provider for attempt in found.attempts if attempt.outcome == "ok"), None)
    ended = EndedRequest(job.id, job.caller.id, job.model, status, provider, cost, created_at, state.now())
    if not job.caller.limited:
        state.jobs.note(ended)
        return
    service = await state.jobs.get()
    await run_to_the_end(service.settle(ended))
