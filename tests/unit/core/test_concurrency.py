"""Work in threads: nothing goes on behind a caller's back, and nothing of it stays."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.concurrency import Once, run_in_pool, run_in_thread, run_to_the_end
from fluxvision.core.errors import Cancelled


async def test_a_cancelled_task_stops_its_thread_and_waits_for_it():
    """The watch is told, and when the cancellation arrives the thread has ended."""
    callbacks, ended = JobCallbacks(), threading.Event()

    def work():
        while not callbacks.cancel.is_set():
            time.sleep(0.001)
        time.sleep(0.05)
        ended.set()

    with ThreadPoolExecutor(1) as pool:
        task = asyncio.create_task(run_in_pool(pool, callbacks, work))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended.is_set()


async def test_a_second_cancellation_waits_too():
    """Whoever cancels again while the thread ends does not leave it behind."""
    callbacks, ended = JobCallbacks(), threading.Event()

    def work():
        while not callbacks.cancel.is_set():
            time.sleep(0.001)
        time.sleep(0.1)
        ended.set()

    with ThreadPoolExecutor(1) as pool:
        task = asyncio.create_task(run_in_pool(pool, callbacks, work))
        await asyncio.sleep(0.02)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0.01)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended.is_set()


async def test_a_plain_thread_is_not_left_behind():
    """A cancelled task waits for what it began, and gets values and exceptions as they are."""
    ended = threading.Event()

    def work(seconds):
        time.sleep(seconds)
        ended.set()

    task = asyncio.create_task(run_in_thread(work, 0.1))
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
    assert await run_in_thread(max, 3, 4) == 4
    with pytest.raises(ZeroDivisionError):
        await run_in_thread(lambda: 1 // 0)


async def test_results_and_errors_come_through():
    """A thread's value or exception is that of the await."""
    with ThreadPoolExecutor(1) as pool:
        assert await run_in_pool(pool, JobCallbacks(), lambda: 7) == 7
        with pytest.raises(ZeroDivisionError):
            await run_in_pool(pool, JobCallbacks(), lambda: 1 // 0)


async def test_what_cancelled_work_held_is_freed_at_once():
    """An error of work that was cancelled keeps no picture alive, though nobody collects cycles."""
    callbacks, held = JobCallbacks(), []

    def work():
        picture = np.zeros(1000)
        held.append(weakref.ref(picture))
        while not callbacks.cancel.is_set():
            time.sleep(0.001)
        raise Cancelled("The work was cancelled.") from ValueError(str(picture.size))

    gc.collect()
    gc.disable()
    try:
        with ThreadPoolExecutor(1) as pool:
            task = asyncio.create_task(run_in_pool(pool, callbacks, work))
            await asyncio.sleep(0.02)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert held[0]() is None
    finally:
        gc.enable()


async def test_what_failed_work_held_is_freed_though_its_error_is_kept():
    """An error that goes on to the next provider takes no picture along."""
    held = []

    def work():
        picture = np.zeros(1000)
        held.append(weakref.ref(picture))
        raise ValueError(picture.size)

    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(ValueError, match="1000") as caught:
            await run_in_pool(pool, JobCallbacks(), work)
        assert held[0]() is None
        assert caught.value.__traceback__ is not None


async def test_work_goes_on_to_its_end():
    """A cancelled task ends when the work that it began has ended, and as cancelled."""
    ended = []

    async def work():
        await asyncio.sleep(0.05)
        ended.append("all")

    task = asyncio.create_task(run_to_the_end(work()))
    await asyncio.sleep(0.01)
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0.01)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["all"]


async def test_work_is_done_once():
    """All callers get the result of one piece of work, though the first one is cancelled meanwhile."""
    begun = []

    async def work():
        begun.append("once")
        await asyncio.sleep(0.05)
        return 7

    once = Once(work)
    assert (await once.wait(), once.result) == (None, None)
    first, second = asyncio.create_task(once.get()), asyncio.create_task(once.get())
    await asyncio.sleep(0.01)
    first.cancel()
    assert (await second, await once.wait(), once.result, begun) == (7, 7, 7, ["once"])
    assert first.cancelled()


async def test_failed_work_is_done_again():
    """Whoever asks after a failure begins anew; those who waited get the error."""
    faults = [ValueError("one")]

    async def work():
        if faults:
            raise faults.pop()
        return 7

    once = Once(work)
    with pytest.raises(ValueError, match="one"):
        await once.get()
    assert (await once.wait(), once.result) == (None, None)
    assert await once.get() == 7
