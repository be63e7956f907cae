"""One job from its start to its end, whoever waits for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from starlette.types import Scope

from fluxvision.core.money import summed
from fluxvision.core.types import Attempt, Delivery, Job, Watch
from fluxvision.http.observability import trace
from fluxvision.http.state import Edge, record


async def perform(edge: Edge, scope: Scope, job: Job, watch: Watch, work: Path) -> Delivery:
    """Do the job, and note for headers, log and numbers who made the pictures at what cost.

    However this ends, the work has been told to stop. The gateway keeps the deadline.
    """
    edge.metrics.job(1)
    found = record(scope)
    attempts = found.attempts = list[Attempt]()
    watch = replace(watch, broke=lambda error: edge.log.error("unexpected", request_id=job.id, trace=trace(error)))
    try:
        with edge.workspace.watch(work):
            delivery = await edge.gateway.run(job, watch, work, attempts)
    except BaseException as error:  # a caller that went away may have cost money, too
        found.cost = summed(attempt.cost for attempt in attempts)
        edge.playground.failed(job, error, found.cost)
        edge.metrics.attempts(attempts)
        raise
    finally:
        watch.cancel.set()
        edge.metrics.job(-1)
    found.provider, found.cost = delivery.provider, delivery.cost
    edge.metrics.delivery(delivery)
    return edge.playground.delivered(delivery)
