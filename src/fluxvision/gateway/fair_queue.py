"""FairQueue, the queue of one provider: fair shares for callers, small jobs first within a share, aging.

Start-time fair queueing (P. Goyal, H. Vin & H. Cheng, 1996): each caller has a virtual time that advances by the cost
of its jobs divided by its weight, and the caller with the smallest time goes next. Costs are megapixels. All methods
except `yield_turn` are called from the event loop.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from math import ceil

from fluxvision.core.errors import Busy
from fluxvision.core.types import ANYBODY, Caller

SMALL = 0.25
"""Megapixels up to which a job is small: a second or two of work on two cores."""
OVERHEAD = 0.1
"""Cost of a job in addition to its megapixels."""
AGING = 0.05
"""Megapixels by which a waiting job counts as smaller for each second that it waits."""
PATIENCE = 120.0
"""Seconds of waiting after which a caller's job goes first regardless of its size, oldest first."""
SHORTEST = 0.01
"""Jobs that took fewer seconds are ignored when the speed of work is estimated."""
PAUSE = 0.5
"""Most seconds that a large job waits for small jobs before each step of its tiles."""
SMOOTHING = 0.3
FIRST_GUESS = 3.0
"""Assumed seconds per megapixel before the first job has ended."""
LONGEST_WAIT = 600.0
"""Upper limit of `retry_after` in seconds, because an estimate from small jobs is unreliable for large ones."""


@dataclass(slots=True, eq=False)
class _Entry:
    """A waiting or running job. Times are on the queue's clock."""

    caller: Caller
    cost: float
    since: float
    waiter: asyncio.Future[None] = field(repr=False)
    waits: bool = False
    """Whether it was admitted before."""
    lane: _Lane | None = None
    started: float = 0.0

    @property
    def small(self) -> bool:
        return self.cost <= SMALL + OVERHEAD


@dataclass(slots=True, eq=False)
class _Lane:
    """Places for running jobs: for small ones only (`small_only`), or for all."""

    places: int
    small_only: bool = False
    running: set[_Entry] = field(default_factory=set)

    def admits(self, entry: _Entry) -> bool:
        """Return whether a job may start here now; new jobs of less weight never get all of several places."""
        if len(self.running) >= self.places or (self.small_only and not entry.small):
            return False
        if entry.caller.weight >= 1 or entry.waits:
            return True
        most = max(1, int(self.places * entry.caller.weight))
        return sum(other.caller == entry.caller for other in self.running) < most


@dataclass(slots=True)
class _FairOrder:
    """The virtual times: `now` of the queue, and for each caller that of its next job."""

    now: float = 0.0
    callers: dict[str, float] = field(default_factory=dict)

    def next(self, entries: Iterable[_Entry], clock: float) -> _Entry | None:
        """Return the next job: of the caller with the smallest virtual time, the smallest after aging."""

        def rank(entry: _Entry) -> tuple[float, float]:
            waited = clock - entry.since
            return self.start(entry.caller), -waited if waited > PATIENCE else entry.cost - AGING * waited

        return min(entries, key=rank, default=None)

    def start(self, caller: Caller) -> float:
        return max(self.now, self.callers.get(caller.id, 0.0))

    def take(self, entry: _Entry) -> None:
        """Advance the virtual times because a job starts."""
        self.now = self.start(entry.caller)
        self.callers[entry.caller.id] = self.now + entry.cost / entry.caller.weight
        self.callers = {name: at for name, at in self.callers.items() if at > self.now}  # all others start at `now`

    def copy(self) -> _FairOrder:
        return _FairOrder(self.now, dict(self.callers))


class FairQueue:
    """Admission to one provider: limits running and waiting jobs, and refuses further ones at once."""

    def __init__(
        self, workers: int, queue: int, *, small_workers: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Let `workers` jobs and `small_workers` small jobs run at once; `queue` more may wait for each caller.

        A caller with a weight below 1 gets that share of the queue.
        """
        self._all = _Lane(workers)
        self._lanes = (_Lane(small_workers, small_only=True), self._all)
        self._queue = queue
        self._clock = clock
        self._waiting: list[_Entry] = []
        self._order = _FairOrder()
        self._seconds = FIRST_GUESS
        self._calm = threading.Event()
        self._calm.set()

    @property
    def running(self) -> int:
        """Number of running jobs."""
        return sum(len(lane.running) for lane in self._lanes)

    @property
    def waiting(self) -> int:
        """Number of admitted jobs that do not run yet."""
        return len(self._waiting)

    def retry_after(self, caller: Caller) -> float | None:
        """Return the seconds after which a caller may try again, None when its next job would be admitted."""
        own = sum(entry.caller == caller for entry in self._waiting)
        if own < self._room(caller) or any(len(lane.running) < lane.places for lane in self._lanes):
            return None
        return self._seconds_to_room(caller)

    @asynccontextmanager
    async def slot(
        self, caller: Caller = ANYBODY, megapixels: float = 0.0, *, waits: bool = False
    ) -> AsyncIterator[None]:
        """Wait for a place and hold it; raises `Busy` at once when the caller's share of the queue is full.

        A job that `waits` is never refused.
        """
        waiter = asyncio.get_running_loop().create_future()
        entry = _Entry(caller, megapixels + OVERHEAD, self._clock(), waiter, waits)
        own = sum(other.caller == caller for other in self._waiting)
        if not waits and own >= self._room(caller) and not any(lane.admits(entry) for lane in self._lanes):
            message = "The queue is full. Nothing was started; try again later."
            raise Busy(message, retry_after=self._seconds_to_room(caller))
        self._waiting.append(entry)
        self._dispatch()
        done = False
        try:
            await entry.waiter
            yield
            done = True
        finally:
            self._leave(entry, done=done)

    def yield_turn(self) -> None:
        """Block the calling thread of a large job until no small job runs, for at most `PAUSE` seconds."""
        self._calm.wait(PAUSE)

    def _room(self, caller: Caller) -> int:
        return ceil(self._queue * min(1.0, caller.weight))

    def _dispatch(self) -> None:
        """Start waiting jobs while places are free."""
        for lane in self._lanes:
            while True:
                now = self._clock()
                eligible = (entry for entry in self._waiting if lane.admits(entry) and not entry.waiter.cancelled())
                entry = self._order.next(eligible, now)
                if entry is None:
                    break
                self._waiting.remove(entry)
                self._order.take(entry)
                entry.lane, entry.started = lane, now
                lane.running.add(entry)
                entry.waiter.set_result(None)
        self._note_small()

    def _leave(self, entry: _Entry, *, done: bool) -> None:
        if entry.lane is None:
            self._waiting.remove(entry)
        else:
            entry.lane.running.discard(entry)
        seconds = self._clock() - entry.started
        if done and seconds > SHORTEST:
            self._seconds += SMOOTHING * (seconds / entry.cost - self._seconds)
        self._dispatch()

    def _note_small(self) -> None:
        small = any(entry.small for lane in self._lanes for entry in lane.running)
        (self._calm.clear if small else self._calm.set)()

    def _seconds_to_room(self, caller: Caller) -> float:
        """Estimate the seconds until one of a caller's waiting jobs starts or a running one ends."""
        now = self._clock()
        running = [max(0.1 * one.cost, one.cost - (now - one.started) / self._seconds) for one in self._all.running]
        cost, left, order = min(running, default=0.0), list(self._waiting), self._order.copy()
        while any(entry.caller == caller for entry in left):
            entry = order.next(left, now)
            assert entry is not None  # noqa: S101, there is one of the caller's
            if entry.caller == caller:
                break
            left.remove(entry)
            order.take(entry)
            cost += entry.cost / self._all.places
        return min(LONGEST_WAIT, max(1.0, round(cost * self._seconds, 1)))
