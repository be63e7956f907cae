"""Opens the database and the service of jobs when they are first needed, because importing both takes a second."""

from __future__ import annotations

import asyncio
import gc
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from fluxvision.core.concurrency import Once
from fluxvision.core.errors import ConfigError, Unavailable
from fluxvision.jobs.request_types import EndedRequest

if TYPE_CHECKING:
    from fluxvision.jobs.service import JobService


MOST_EARLY = 10_000
"""Requests that are noted once the service is open; the oldest are dropped."""


class LazyJobService:
    """The service of jobs, opened once."""

    def __init__(self, create: Callable[[], JobService]) -> None:
        """Call `create` in a thread at the first need."""
        self._create = create
        self._once = Once(self._open)
        self._early: deque[EndedRequest] = deque(maxlen=MOST_EARLY)

    @property
    def opened(self) -> JobService | None:
        """The running service, None before the first need."""
        return self._once.result

    async def get(self) -> JobService:
        """Return the running service; raises `Unavailable` where its database cannot be used."""
        return await self._once.get()

    def note(self, ended: EndedRequest) -> None:
        """Note a job that was not stored, once the service is open."""
        service = self.opened
        if service is not None:
            service.note(ended)
            return
        self._early.append(ended)
        self._once.begin().add_done_callback(_ignore_failure)

    async def close(self) -> None:
        """Close the service if it was opened."""
        service = await self._once.wait()
        if service is not None:
            await service.close()

    async def _open(self) -> JobService:
        try:
            service = await asyncio.to_thread(self._create)
        except ConfigError as error:
            raise error.__cause__ or Unavailable("The server's database cannot be used.", retry_after=5.0) from None
        await service.start()
        gc.freeze()  # what was imported stays: no collection has to look at it
        for ended in self._early:
            service.note(ended)
        self._early.clear()
        return service


def _ignore_failure(task: asyncio.Task[JobService]) -> None:
    """Mark the error of a task as seen: the next request that needs the service tries again, and is told."""
    if not task.cancelled():
        task.exception()
