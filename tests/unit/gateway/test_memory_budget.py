"""Bytes of memory are lent within a budget, in order."""

from __future__ import annotations

import asyncio

from fluxvision.gateway.job_resources import JobMemoryBudget


async def take(budget, size, log, name, ends):
    """Hold some bytes until `ends` is set."""
    async with budget.hold(size):
        log.append(name)
        await ends.wait()


async def begin(budget, *sizes):
    """Let work of these sizes begin in this order; return the tasks, what ends each, and who has begun."""
    log, ends = [], [asyncio.Event() for _ in sizes]
    tasks = [asyncio.create_task(take(budget, size, log, n, ends[n])) for n, size in enumerate(sizes)]
    await asyncio.sleep(0.01)
    return tasks, ends, log


async def test_work_begins_when_its_bytes_are_free():
    """The third waits until the first has ended."""
    tasks, ends, log = await begin(JobMemoryBudget(100), 60, 40, 30)
    assert log == [0, 1]
    ends[0].set()
    await asyncio.sleep(0.01)
    assert log == [0, 1, 2]
    for end in ends:
        end.set()
    await asyncio.gather(*tasks)


async def test_large_work_is_not_passed_by():
    """What comes after it waits behind it, except for what is very little."""
    tasks, ends, log = await begin(JobMemoryBudget(100), 60, 80, 30, 2)
    assert log == [0, 3]
    for end in ends:
        end.set()
    await asyncio.gather(*tasks)
    assert log == [0, 3, 1, 2]


async def test_more_than_there_is_counts_as_all():
    """Work of more bytes than the budget has begins alone instead of never."""
    budget = JobMemoryBudget(100)
    tasks, ends, log = await begin(budget, 500)
    assert (log, budget.free) == ([0], 0)
    ends[0].set()
    await asyncio.gather(*tasks)
    assert budget.free == 100


async def test_cancelled_work_gives_back_what_it_held_or_waited_for():
    """After all is cancelled the budget is whole, and what waited behind the first begins."""
    budget = JobMemoryBudget(100)
    tasks, ends, log = await begin(budget, 60, 80, 40)
    tasks[1].cancel()
    await asyncio.sleep(0.01)
    assert log == [0, 2]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert budget.free == 100
    assert not ends[0].is_set()


async def test_work_cancelled_in_the_turn_in_which_other_work_ends_takes_nothing():
    """The work that ended is none the worse for it, the next begins, and in the end the budget is whole."""
    budget = JobMemoryBudget(100)
    tasks, ends, log = await begin(budget, 60, 80, 70)
    ends[0].set()
    tasks[1].cancel()
    await asyncio.sleep(0.01)
    assert tasks[0].exception() is None
    assert log == [0, 2]
    ends[2].set()
    await tasks[2]
    assert budget.free == 100


async def test_what_is_paid_for_goes_first():
    """It passes by whatever waits, and waits for free bytes alone."""
    budget, log = JobMemoryBudget(100), []
    tasks, ends, _ = await begin(budget, 60, 80)

    async def finish(size):
        async with budget.hold(size, first=True):
            log.append(size)

    await finish(40)
    assert log == [40]
    waiting = asyncio.create_task(finish(50))
    await asyncio.sleep(0.01)
    assert log == [40]
    ends[0].set()
    await waiting
    assert log == [40, 50]
    ends[1].set()
    await asyncio.gather(*tasks)
    assert budget.free == 100
