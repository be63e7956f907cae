"""The bridge between the asynchronous edge and the synchronous engine: admission, and work in threads."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from traceback import clear_frames
from typing import Any, TypeVar

from fluxvision.errors import Busy
from fluxvision.types import Watch

T = TypeVar("T")

SMOOTHING = 0.3
FIRST_GUESS = 5.0
"""Seconds that a job is taken to last before any has ended."""


class Admission:
    """Two limits: how many jobs work at once, and how many more may wait. A job over both is refused at once."""

    def __init__(self, workers: int, queue: int) -> None:
        """Allow `workers` jobs at work and `queue` waiting."""
        self._workers = asyncio.Semaphore(workers)
        self._parallel, self._room = workers, workers + queue
        self.running = 0
        self.inside = 0
        self._seconds = FIRST_GUESS

    @property
    def waiting(self) -> int:
        """Jobs admitted and not yet at work."""
        return self.inside - self.running

    def full(self) -> float | None:
        """Return the seconds after which there may be room, None when there is room now."""
        if self.inside < self._room:
            return None
        return max(1.0, round(self._seconds * max(1, self.waiting) / self._parallel, 1))

    @contextlib.asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a worker and hold it; raises `Busy` at once when the queue is full."""
        seconds = self.full()
        if seconds is not None:
            raise Busy("The queue is full. Nothing was started; try again later.", retry_after=seconds)
        self.inside += 1
        try:
            async with self._workers:
                self.running += 1
                started = time.monotonic()
                try:
                    yield
                finally:
                    self.running -= 1
                    self._seconds += SMOOTHING * (time.monotonic() - started - self._seconds)
        finally:
            self.inside -= 1


async def in_thread(pool: ThreadPoolExecutor, watch: Watch, work: Callable[[], T]) -> T:
    """Run blocking work in a thread of `pool`.

    When the task is cancelled the watch is told, and the thread is awaited: nothing goes on in the background.
    """
    return await _to_its_end(asyncio.get_running_loop().run_in_executor(pool, _without_locals, work), watch.cancel.set)


async def to_thread(work: Callable[..., T], *given: Any) -> T:
    """Run short blocking work in a thread, as `asyncio.to_thread` does, but never leave it behind.

    When the task is cancelled the thread is awaited: the files that it works on may belong to somebody else afterwards.
    """
    return await _to_its_end(asyncio.get_running_loop().run_in_executor(None, work, *given), lambda: None)


async def _to_its_end(future: asyncio.Future[T], cancel: Callable[[], None]) -> T:
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        cancel()
        while not future.done():  # a second cancellation waits, too
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await asyncio.shield(future)
        raise
    finally:
        # The error of the work refers to this frame, and this frame to the error: neither would be freed for a while.
        del future


def _without_locals(work: Callable[[], T]) -> T:
    """Run `work`; an error that it raises does not keep alive what its functions held, such as pictures."""
    try:
        return work()
    except BaseException as error:
        following: BaseException | None = error
        while following is not None:
            clear_frames(following.__traceback__)
            following = following.__cause__ or following.__context__
        raise
