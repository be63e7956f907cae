"""Jobs begin in a fair order: by key, small ones first, none for ever last."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from fluxvision.core.errors import Busy
from fluxvision.core.types import Caller
from fluxvision.gateway.fair_queue import LONGEST_WAIT, PAUSE, FairQueue

VISITORS = Caller("visitors", 0.25)
ALICE, BOB = Caller("alice"), Caller("bob")


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self):
        """Begin."""
        self.now = 100.0

    def __call__(self):
        """Return the time."""
        return self.now


class Site:
    """A queue, and jobs in it that end when they are told to; `begun` has their names in the order of their start."""

    def __init__(self, workers=1, queue=16, **facts):
        """Begin empty."""
        self.clock = Clock()
        self.queue = FairQueue(workers, queue, clock=self.clock, **facts)
        self.begun = []
        self.ends = {}
        self.tasks = {}

    async def add(self, name, caller=ALICE, megapixels=10.0):
        """Let a job come; it begins if there is a place."""
        self.ends[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._job(name, caller, megapixels))
        await settle()

    async def _job(self, name, caller, megapixels):
        async with self.queue.slot(caller, megapixels):
            self.begun.append(name)
            await self.ends[name].wait()

    async def end(self, name):
        """Let a job that runs end, and the next begin."""
        self.ends[name].set()
        await settle()

    async def close(self):
        """Break off whatever there is."""
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)


async def settle():
    """Let everything happen that can."""
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
async def site():
    """One place, and sixteen that wait for each caller."""
    made = Site()
    yield made
    await made.close()


async def test_a_job_over_both_limits_is_refused_at_once():
    """With 2 workers and room for 1, two run, one waits, the fourth is refused with a time to wait."""
    site = Site(2, 1)
    for number in range(4):
        await site.add(number)
    assert (site.queue.running, site.queue.waiting) == (2, 1)
    refused = site.tasks[3].exception()
    assert isinstance(refused, Busy)
    assert refused.retry_after >= 1
    assert site.queue.retry_after(ALICE) >= 1
    for number in range(3):
        await site.end(number)
    assert (site.queue.running, site.queue.waiting) == (0, 0)
    assert site.queue.retry_after(ALICE) is None


async def test_a_waiting_job_that_leaves_gives_its_place_back():
    """Cancelling a job in the queue makes room for another."""
    site = Site(1, 1)
    await site.add("running")
    await site.add("waiting")
    site.tasks["waiting"].cancel()
    await settle()
    assert site.queue.retry_after(ALICE) is None
    await site.close()
    assert (site.queue.running, site.queue.waiting) == (0, 0)


async def test_a_job_cancelled_in_the_turn_in_which_it_begins_gives_its_place_back(site):
    """The place that it was given a moment before goes to the next one."""
    for name in ("first", "second", "third"):
        await site.add(name)
    site.ends["first"].set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    site.tasks["second"].cancel()
    await settle()
    assert site.begun[-1] == "third"
    assert site.queue.running == 1


async def test_a_job_cancelled_in_the_turn_in_which_another_ends_is_passed_over(site):
    """The job that ended is none the worse for it, and the next one begins."""
    for name in ("first", "second", "third"):
        await site.add(name)
    site.ends["first"].set()
    site.tasks["second"].cancel()
    await settle()
    assert site.tasks["first"].exception() is None
    assert (site.begun, site.queue.running, site.queue.waiting) == (["first", "third"], 1, 0)


async def test_two_keys_take_turns(site):
    """A key that sent ten jobs first does not keep another one waiting for more than one of them."""
    for number in range(5):
        await site.add(f"alice {number}")
    await site.add("bob 0", BOB)
    await site.add("bob 1", BOB)
    for _ in range(6):
        await site.end(site.begun[-1])
    assert site.begun[:5] == ["alice 0", "bob 0", "alice 1", "bob 1", "alice 2"]


async def test_visitors_have_a_quarter_of_a_keys_share(site):
    """While both wait, four jobs of a key are done for each one of all visitors."""
    await site.add("first")
    for number in range(4):
        await site.add(f"visitor {number}", VISITORS)
    for number in range(12):
        await site.add(f"key {number}")
    for _ in range(11):
        await site.end(site.begun[-1])
    done = [name.split()[0] for name in site.begun[1:11]]
    assert 2 <= done.count("visitor") <= 3  # what they begin with is theirs


async def test_visitors_fill_their_own_share_of_the_queue_alone():
    """Where visitors are refused, a key's job waits."""
    site = Site(1, 8)
    await site.add("running", VISITORS)
    for number in range(3):
        await site.add(number, VISITORS)
    assert isinstance(site.tasks[2].exception(), Busy)
    assert site.queue.retry_after(VISITORS) is not None
    assert site.queue.retry_after(ALICE) is None
    await site.add("key")
    assert site.queue.waiting == 3
    await site.close()


async def test_visitors_never_hold_all_of_several_places():
    """Of eight places they have two."""
    site = Site(8, 16)
    for number in range(4):
        await site.add(number, VISITORS)
    await site.add("key")
    assert site.begun == [0, 1, "key"]
    await site.close()


async def test_small_jobs_of_a_key_go_first(site):
    """The order of arrival counts among jobs of one size only."""
    await site.add("running")
    for name, megapixels in (("large", 50), ("middle", 5), ("small", 0.1)):
        await site.add(name, megapixels=megapixels)
    for _ in range(3):
        await site.end(site.begun[-1])
    assert site.begun == ["running", "small", "middle", "large"]


async def test_a_large_job_does_not_wait_for_ever(site):
    """One that has waited long goes before small ones that came later."""
    await site.add("running")
    await site.add("large", megapixels=50)
    site.clock.now += 1000
    await site.add("small", megapixels=0.1)
    await site.end("running")
    assert site.begun == ["running", "large"]


async def test_a_large_job_is_not_passed_by_for_ever(site):
    """After two minutes of waiting it goes next, though middle ones come all the time."""
    await site.add("running")
    await site.add("large", megapixels=100)
    for number in range(13):
        site.clock.now += 10
        await site.add(number, megapixels=1)
        await site.end(site.begun[-1])
    assert "large" in site.begun


async def test_a_small_job_begins_beside_a_large_one():
    """Where there are places for small jobs, a large one does not keep them waiting; a large one waits."""
    site = Site(1, 16, small_workers=1)
    await site.add("large")
    await site.add("second", megapixels=20)
    await site.add("small", megapixels=0.2)
    assert site.begun == ["large", "small"]
    await site.close()


async def test_a_large_job_lets_small_ones_go_first_between_its_tiles():
    """It waits while one runs, but never longer than the pause, and not at all without."""
    site = Site(1, 16, small_workers=1)
    await site.add("large")
    started = time.monotonic()
    site.queue.yield_turn()
    assert time.monotonic() - started < PAUSE / 2
    await site.add("small", megapixels=0.1)
    thread = threading.Thread(target=site.queue.yield_turn)
    thread.start()
    thread.join(PAUSE / 5)
    assert thread.is_alive()
    await site.end("small")
    thread.join(PAUSE / 2)
    assert not thread.is_alive()
    await site.close()


async def test_the_time_to_wait_follows_what_was_measured():
    """A queue whose jobs took two seconds a megapixel says twice as much as one whose jobs took one."""
    waits = []
    for seconds in (1.0, 2.0):
        site = Site(1, 1)
        for number in range(20):
            await site.add(number, megapixels=9.9)
            site.clock.now += 10 * seconds
            await site.end(number)
        await site.add("running", megapixels=9.9)
        await site.add("waiting", megapixels=9.9)
        waits.append(site.queue.retry_after(ALICE))
        await site.close()
    assert waits == [pytest.approx(10, rel=0.05), pytest.approx(20, rel=0.05)]


async def test_the_time_to_wait_counts_the_jobs_of_others_that_go_first():
    """A caller whose own job waits behind two of another waits for these, too."""
    site = Site(1, 2)
    await site.add("running")
    await site.add("alice")
    alone = site.queue.retry_after(ALICE) or 0
    await site.add("alice 2")
    first = site.queue.retry_after(ALICE)
    await site.add("bob", BOB)
    assert site.queue.retry_after(ALICE) > first > alone
    await site.close()


async def test_the_time_to_wait_is_never_out_of_all_proportion():
    """Small jobs that took 15 seconds each do not make it hours for a large one."""
    site = Site(1, 0)
    for number in range(20):
        await site.add(number, megapixels=0.05)
        site.clock.now += 15
        await site.end(number)
    await site.add("large", megapixels=100)
    await site.add("refused")
    assert site.tasks["refused"].exception().retry_after == LONGEST_WAIT
    await site.close()
