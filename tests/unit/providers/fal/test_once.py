"""Work for several callers is done once, whoever of them stays."""

from __future__ import annotations

import asyncio

import pytest

from fluxvision.providers.fal.storage import SingleFlight


class Work:
    """Work that can be counted and held."""

    def __init__(self):
        """Wait for `go`."""
        self.begun = self.ended = 0
        self.go = asyncio.Event()
        self.fault = None

    async def __call__(self):
        """Return how often it was begun."""
        self.begun += 1
        try:
            await self.go.wait()
            if self.fault is not None:
                raise self.fault
            return self.begun
        finally:
            self.ended += 1


@pytest.fixture
async def work():
    return Work()


async def callers(once, work, count):
    tasks = [asyncio.create_task(once.get("key", work)) for _ in range(count)]
    await asyncio.sleep(0.01)
    return tasks


async def test_all_who_ask_get_the_same(work):
    """Callers at the same time and afterwards share one piece of work; another key is another one."""
    once = SingleFlight(60.0, 8)
    tasks = await callers(once, work, 3)
    work.go.set()
    assert await asyncio.gather(*tasks) == [1, 1, 1]
    assert await once.get("key", work) == 1
    assert await once.get("other", work) == 2


async def test_one_who_leaves_does_not_disturb(work):
    """The work goes on while anybody waits, also without the one who began it."""
    first, second = await callers(SingleFlight(60.0, 8), work, 2)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    work.go.set()
    assert await second == 1


async def test_the_last_who_leaves_ends_it(work):
    """Nothing is under way when all have left, and the next caller begins anew."""
    once = SingleFlight(60.0, 8)
    tasks = await callers(once, work, 2)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (work.begun, work.ended) == (1, 1)
    work.go.set()
    assert await once.get("key", work) == 2


async def test_a_failure_is_for_those_who_wait(work):
    """It reaches all of them and nobody else."""
    once = SingleFlight(60.0, 8)
    work.fault = ValueError("broken")
    tasks = await callers(once, work, 2)
    work.go.set()
    assert await asyncio.gather(*tasks, return_exceptions=True) == [work.fault] * 2
    work.fault = None
    assert await once.get("key", work) == 2


async def test_results_grow_old(work):
    """After their time they are made anew."""
    now = 0.0
    once = SingleFlight(60.0, 8, clock=lambda: now)
    work.go.set()
    assert await once.get("key", work) == 1
    now = 59.9
    assert await once.get("key", work) == 1
    now = 60.0
    assert await once.get("key", work) == 2


async def test_only_so_many_are_known(work):
    """The oldest is forgotten first."""
    once = SingleFlight(60.0, 2)
    work.go.set()
    assert [await once.get(key, work) for key in "abc"] == [1, 2, 3]
    assert [await once.get(key, work) for key in "bca"] == [2, 3, 4]
    assert len(once._entries) == 2


async def test_what_was_forgotten_under_way_is_delivered_and_not_kept(work):
    """Who waits gets it; the next caller makes it anew, and it stays his."""
    once = SingleFlight(60.0, 8)
    tasks = await callers(once, work, 1)
    once.forget("key")
    newer = await callers(once, work, 1)
    work.go.set()
    assert await asyncio.gather(*tasks, *newer) == [2, 2]
    assert work.begun == 2
    assert await once.get("key", work) == 2
