"""One job from its start to its end, whoever waits for it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from starlette.types import Scope

from fluxvision.errors import InternalError
from fluxvision.http.edge import Edge, record
from fluxvision.types import Delivery, Job, Watch

SPARE_SECONDS = 5.0
"""The gateway keeps the deadline itself and explains it better; this is the net below."""


async def perform(edge: Edge, scope: Scope, job: Job, watch: Watch, work: Path) -> Delivery:
    """Do the job, and note for headers, log and numbers who made the pictures at what cost.

    However this ends, the work has been told to stop.
    """
    edge.metrics.job(1)
    try:
        async with asyncio.timeout(edge.settings.deadline + SPARE_SECONDS) as clock:
            delivery = await edge.gateway.run(job, watch, work)
    except TimeoutError:
        if not clock.expired():
            raise
        message = f"The picture was not finished within {edge.settings.deadline:g} seconds."
        raise InternalError(message) from None
    finally:
        watch.cancel.set()
        edge.metrics.job(-1)
    found = record(scope)
    found.provider, found.cost = delivery.provider, delivery.cost
    edge.metrics.delivery(delivery)
    return delivery
