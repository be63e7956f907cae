"""The bridge between the asynchronous edge and the synchronous engine: work in threads."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from traceback import clear_frames
from typing import Any, TypeVar

from fluxvision.core.types import JobCallbacks

T = TypeVar("T")


async def run_in_pool(pool: ThreadPoolExecutor, watch: JobCallbacks, work: Callable[[], T]) -> T:
    """Run blocking work in a thread of `pool`.

    When the task is cancelled the watch is told, and the thread is awaited: nothing goes on in the background.
    """
    return await _wait_to_the_end(
        asyncio.get_running_loop().run_in_executor(pool, _without_locals, work), watch.cancel.set
    )


async def run_in_thread(work: Callable[..., T], *given: Any) -> T:
    """Run short blocking work in a thread, as `asyncio.to_thread` does, but never leave it behind.

    When the task is cancelled the thread is awaited: the files that it works on may belong to somebody else afterwards.
    """
    return await _wait_to_the_end(asyncio.get_running_loop().run_in_executor(None, work, *given), lambda: None)


async def _wait_to_the_end(future: asyncio.Future[T], cancel: Callable[[], None]) -> T:
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
