"""Runs a prepared job for a request, and records its provider, attempts and cost for headers, log and metrics."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from starlette.types import Scope

from fluxvision.core.types import JobCallbacks, JobResult
from fluxvision.gateway.execution import PreparedJob
from fluxvision.http.observability import format_trace
from fluxvision.http.state import AppState, record_of


async def run_job(
    edge: AppState, scope: Scope, prepared: PreparedJob, callbacks: JobCallbacks, folder: Path
) -> JobResult:
    """Run the job, and record provider, attempts and cost for headers, log and metrics.

    Raises the job's error. The work is told to stop in any case. The gateway enforces the deadline.
    """
    job, found = prepared.job, record_of(scope)

    def log_unexpected(error: Exception) -> None:
        edge.log.error("unexpected", request_id=job.id, trace=format_trace(error))

    edge.metrics.job(1)
    try:
        with edge.workspace.watch(folder):
            report = await prepared.run(replace(callbacks, on_unexpected_error=log_unexpected), folder)
            found.attempts, found.cost = report.attempts, report.cost
            try:
                result = report.unwrap()
            finally:
                del report  # its error's traceback has this frame: they would hold each other, and the pictures
    except BaseException as error:  # a caller that went away may have cost money, too
        edge.playground.failed(job, error, found.cost)
        edge.metrics.attempts(found.attempts)
        raise
    finally:
        callbacks.cancel.set()
        edge.metrics.job(-1)
    found.provider = result.provider
    edge.metrics.delivery(result)
    return edge.playground.delivered(result)
