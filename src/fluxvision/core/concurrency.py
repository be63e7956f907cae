"""Runs blocking work in threads from asynchronous code; a cancelled task waits until its thread has ended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from traceback import clear_frames
from typing import Any, Generic, TypeVar

from fluxvision.core.callbacks import JobCallbacks

T = TypeVar("T")


async def run_in_pool(pool: ThreadPoolExecutor, callbacks: JobCallbacks, work: Callable[[], T]) -> T:
    """Run blocking work in a thread of `pool`.

    When the task is cancelled, `callbacks.cancel` is set and the thread is awaited, so no work continues afterwards.
    """
    return await _wait_to_the_end(
        asyncio.get_running_loop().run_in_executor(pool, _without_locals, work), callbacks.cancel.set
    )


async def run_in_thread(work: Callable[..., T], *given: Any) -> T:
    """Run short blocking work in a thread, as `asyncio.to_thread` does.

    When the task is cancelled the thread is awaited, because others may use its files afterwards.
    """
    return await _wait_to_the_end(asyncio.get_running_loop().run_in_executor(None, work, *given), lambda: None)


async def run_to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Await `work`, which a cancellation of this task does not stop; the task then ends when it has ended."""
    return await _wait_to_the_end(asyncio.ensure_future(work), lambda: None)


class Once(Generic[T]):
    """Work that is done once for all who wait for it, and again after a failure; nobody's cancellation stops it."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, T]]) -> None:
        """Call `work` when the result is first needed."""
        self._work = work
        self._task: asyncio.Task[T] | None = None

    @property
    def result(self) -> T | None:
        """The result, None until it is there."""
        task = self._task
        return None if task is None or not task.done() or task.cancelled() or task.exception() else task.result()

    def begin(self) -> asyncio.Task[T]:
        """Begin the work if nobody has, and return its task."""
        if self._task is None or (self._task.done() and self.result is None):
            self._task = asyncio.create_task(self._work())
        return self._task

    async def get(self) -> T:
        """Return the result; raises the work's error."""
        return await asyncio.shield(self.begin())

    async def wait(self) -> T | None:
        """Wait for work that has begun, and return its result; None where it has not begun or has failed."""
        if self._task is not None:
            await asyncio.wait({self._task})
        return self.result


async def _wait_to_the_end(future: asyncio.Future[T], cancel: Callable[[], None]) -> T:
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        cancel()
        while not future.done():  # a second cancellation also waits
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await asyncio.shield(future)
        raise
    finally:
        # Break the reference cycle between the error and this frame, so that both are freed at once.
        del future


def _without_locals(work: Callable[[], T]) -> T:
    """Run `work`; clear the local variables (such as pictures) from the traceback of an error that it raises."""
    try:
        return work()
    except BaseException as error:
        following: BaseException | None = error
        while following is not None:
            clear_frames(following.__traceback__)
            following = following.__cause__ or following.__context__
        raise
