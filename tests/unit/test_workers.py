"""Admission is exact, and nothing goes on behind a caller's back."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from fluxvision.errors import Busy
from fluxvision.types import Watch
from fluxvision.workers import Admission, in_thread, to_thread


async def test_a_job_over_both_limits_is_refused_at_once():
    """With 2 workers and room for 1, two run, one waits, the fourth is refused with a time to wait."""
    admission = Admission(2, 1)
    release = asyncio.Event()

    async def job():
        async with admission.slot():
            await release.wait()

    jobs = [asyncio.create_task(job()) for _ in range(3)]
    await asyncio.sleep(0.01)
    assert (admission.running, admission.waiting) == (2, 1)
    assert admission.full() >= 1
    with pytest.raises(Busy) as caught:
        await job()
    assert caught.value.retry_after >= 1
    release.set()
    await asyncio.gather(*jobs)
    assert (admission.running, admission.waiting) == (0, 0)
    assert admission.full() is None


async def test_a_waiting_job_that_leaves_gives_its_place_back():
    """Cancelling a job in the queue makes room for another."""
    admission = Admission(1, 1)

    async def job():
        async with admission.slot():
            await asyncio.sleep(60)

    running, waiting = asyncio.create_task(job()), asyncio.create_task(job())
    await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert admission.full() is None
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert admission.inside == 0


async def test_a_cancelled_task_stops_its_thread_and_waits_for_it():
    """The watch is told, and when the cancellation arrives the thread has ended."""
    watch, ended = Watch(), threading.Event()

    def work():
        while not watch.cancel.is_set():
            time.sleep(0.001)
        time.sleep(0.05)
        ended.set()

    with ThreadPoolExecutor(1) as pool:
        task = asyncio.create_task(in_thread(pool, watch, work))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended.is_set()


async def test_a_second_cancellation_waits_too():
    """Whoever cancels again while the thread ends does not leave it behind."""
    watch, ended = Watch(), threading.Event()

    def work():
        while not watch.cancel.is_set():
            time.sleep(0.001)
        time.sleep(0.1)
        ended.set()

    with ThreadPoolExecutor(1) as pool:
        task = asyncio.create_task(in_thread(pool, watch, work))
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

    task = asyncio.create_task(to_thread(work, 0.1))
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
    assert await to_thread(max, 3, 4) == 4
    with pytest.raises(ZeroDivisionError):
        await to_thread(lambda: 1 // 0)


async def test_results_and_errors_come_through():
    """A thread's value or exception is that of the await."""
    with ThreadPoolExecutor(1) as pool:
        assert await in_thread(pool, Watch(), lambda: 7) == 7
        with pytest.raises(ZeroDivisionError):
            await in_thread(pool, Watch(), lambda: 1 // 0)
