"""One job from its start to its end, whoever waits for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from starlette.types import Scope

from fluxvision.core.money import sum_costs
from fluxvision.core.types import Attempt, Job, JobCallbacks, JobResult
from fluxvision.http.observability import format_trace
from fluxvision.http.state import AppState, record_of


async def run_job(edge: AppState, scope: Scope, job: Job, watch: JobCallbacks, work: Path) -> JobResult:
    """Do the job, and note for headers, log and numbers who made the pictures at what cost.

    However this ends, the work has been told to stop. The gateway keeps the deadline.
    """
    edge.metrics.job(1)
    found = record_of(scope)
    attempts = found.attempts = list[Attempt]()
    watch = replace(
        watch, broke=lambda error: edge.log.error("unexpected", request_id=job.id, trace=format_trace(error))
    )
    try:
        with edge.workspace.watch(work):
            delivery = await edge.gateway.run(job, watch, work, attempts)
    except BaseException as error:  # a caller that went away may have cost money, too
        found.cost = sum_costs(attempt.cost for attempt in attempts)
        edge.playground.failed(job, error, found.cost)
        edge.metrics.attempts(attempts)
        raise
    finally:
        watch.cancel.set()
        edge.metrics.job(-1)
    found.provider, found.cost = delivery.provider, delivery.cost
    edge.metrics.delivery(delivery)
    return edge.playground.delivered(delivery)
