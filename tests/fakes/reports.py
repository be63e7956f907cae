"""How jobs end: reports of faked ones, results of real ones."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.types import Attempt, Job, JobResult
from fluxvision.gateway.execution import ExecutionReport
from fluxvision.gateway.gateway import Gateway


async def report(run: Callable[[list[Attempt]], Awaitable[JobResult]]) -> ExecutionReport:
    """Return how a faked run ended, as `PreparedJob.run` does; `run` adds its attempts to the list."""
    attempts: list[Attempt] = []
    try:
        result = await run(attempts)
    except BaseException as error:  # noqa: BLE001, the report has it
        return ExecutionReport(attempts, error=error)
    return ExecutionReport(result.attempts, result)


async def run_job(gateway: Gateway, job: Job, callbacks: JobCallbacks, folder: Path) -> JobResult:
    """Prepare and run a job; raises the report's error, with the report's `attempts`."""
    found = await gateway.prepare(job).run(callbacks, folder)
    if found.error is not None:
        found.error.attempts = found.attempts
    return found.unwrap()
