"""JobTracker counts the jobs that run now, and lets a server that shuts down wait for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from fluxvision.core.errors import Unavailable


@dataclass(slots=True)
class JobTracker:
    """The running jobs, those that only send their response, and whether new ones are accepted.

    `begun` is the number of jobs so far, and `stored` that of the stored ones that run, whether or not a request waits
    for them; a drain does not.
    """

    draining: bool = False
    begun: int = 0
    stored: int = 0
    jobs: set[asyncio.Task[Any]] = field(default_factory=set)
    answering: set[asyncio.Task[Any]] = field(default_factory=set)

    @contextmanager
    def job(self) -> Iterator[Callable[[], None]]:
        """Count the current task as a job that a drain waits for; raises `Unavailable` while draining.

        Yields a function to call when only the response remains to be sent, which frees the job's place.
        """
        if self.draining:
            raise draining_error()
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        self.jobs.add(task)
        self.begun += 1

        def leave() -> None:
            if task in self.jobs:
                self.jobs.discard(task)
                self.answering.add(task)

        try:
            yield leave
        finally:
            self.jobs.discard(task)
            self.answering.discard(task)

    @property
    def is_idle(self) -> bool:
        """Whether no job runs and no response is sent."""
        return not (self.jobs or self.answering or self.stored)

    def begin_stored(self) -> None:
        """Count a stored job that begins."""
        self.begun += 1
        self.stored += 1

    def end_stored(self) -> None:
        """Count a stored job that ends."""
        self.stored -= 1

    async def drain(self, patience: float) -> int:
        """Refuse new jobs, wait `patience` seconds for the others, then cancel them; return how many."""
        self.draining = True
        jobs = self.jobs | self.answering
        if not jobs:
            return 0
        _, late = await asyncio.wait(jobs, timeout=patience)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=1.0)
        return len(late)


def draining_error() -> Unavailable:
    """Return the error of a server that is shutting down."""
    return Unavailable("The server is shutting down; try again in a moment.", retry_after=5.0)
