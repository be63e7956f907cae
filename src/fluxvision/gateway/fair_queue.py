"""Which job a provider gets next: a fair share for each caller, small jobs first within it, and none waits for ever.

Start-time fair queueing (P. Goyal, H. Vin & H. Cheng, 1996): each caller has a virtual time that advances by the cost
of its jobs over its weight, and the caller whose time is least goes next. Costs are megapixels. All methods but
`yield_turn` belong to the event loop.
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
"""What a job costs beside its megapixels."""
AGING = 0.05
"""Megapixels by which a waiting job counts as smaller each second: 20 s make up for a small one."""
PATIENCE = 120.0
"""Seconds of waiting after which a caller's jobs go first in the order in which they came, however large."""
SHORTEST = 0.01
"""Seconds below which a job has not worked, and tells nothing of how fast work goes."""
PAUSE = 0.5
"""Seconds that a large job waits for small ones at most before each step of its tiles: the two networks."""
SMOOTHING = 0.3
FIRST_GUESS = 3.0
"""Seconds that a megapixel is taken to need before any has been made."""
LONGEST_WAIT = 600.0
"""The most seconds after which a refused caller is told to try again: small jobs tell little of how long large ones
take."""


@dataclass(slots=True, eq=False)
class _Entry:
    """A job that waits, then runs. Times are on the queue's clock."""

    caller: Caller
    cost: float
    since: float
    turn: asyncio.Future[None] = field(repr=False)
    lane: _Lane | None = None
    started: float = 0.0

    @property
    def small(self) -> bool:
        return self.cost <= SMALL + OVERHEAD


@dataclass(slots=True, eq=False)
class _Lane:
    """Places for jobs that run: `small_only`, or for all."""

    places: int
    small_only: bool = False
    running: set[_Entry] = field(default_factory=set)

    def admits(self, entry: _Entry) -> bool:
        """Whether a job may begin here now. Callers of less weight never have all places where there are several."""
        if len(self.running) >= self.places or (self.small_only and not entry.small):
            return False
        if entry.caller.weight >= 1:
            return True
        most = max(1, int(self.places * entry.caller.weight))
        return sum(other.caller == entry.caller for other in self.running) < most


@dataclass(slots=True)
class _TurnOrder:
    """The virtual times: of the queue, and by caller of the next job."""

    now: float = 0.0
    callers: dict[str, float] = field(default_factory=dict)

    def next(self, entries: Iterable[_Entry], clock: float) -> _Entry | None:
        """Return whose turn it is: the caller with the least time, and its smallest job, each second of waiting off."""

        def order(entry: _Entry) -> tuple[float, float]:
            waited = clock - entry.since
            return self.start(entry.caller), -waited if waited > PATIENCE else entry.cost - AGING * waited

        return min(entries, key=order, default=None)

    def start(self, caller: Caller) -> float:
        return max(self.now, self.callers.get(caller.id, 0.0))

    def take(self, entry: _Entry) -> None:
        """Note that a job begins."""
        self.now = self.start(entry.caller)
        self.callers[entry.caller.id] = self.now + entry.cost / entry.caller.weight
        self.callers = {name: at for name, at in self.callers.items() if at > self.now}  # the others begin at `now`

    def copy(self) -> _TurnOrder:
        return _TurnOrder(self.now, dict(self.callers))


class FairQueue:
    """Admission to one provider: jobs that run, jobs that wait, and a refusal at once for one that is too many."""

    def __init__(
        self, workers: int, queue: int, *, small_workers: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Let `workers` jobs run and `small_workers` small ones beside them; `queue` more wait for each caller.

        A caller of less than full weight has that share of the queue.
        """
        self._all = _Lane(workers)
        self._lanes = (_Lane(small_workers, small_only=True), self._all)
        self._queue = queue
        self._clock = clock
        self._waiting: list[_Entry] = []
        self._turns = _TurnOrder()
        self._seconds = FIRST_GUESS
        self._calm = threading.Event()
        self._calm.set()

    @property
    def running(self) -> int:
        """Jobs that run."""
        return sum(len(lane.running) for lane in self._lanes)

    @property
    def waiting(self) -> int:
        """Jobs that were admitted and do not run yet."""
        return len(self._waiting)

    def retry_after(self, caller: Caller) -> float | None:
        """Return the seconds after which a refused caller may try again; None where its next job is admitted."""
        own = sum(entry.caller == caller for entry in self._waiting)
        if own < self._room(caller) or any(len(lane.running) < lane.places for lane in self._lanes):
            return None
        return self._seconds_to_room(caller)

    @asynccontextmanager
    async def slot(self, caller: Caller = ANYBODY, megapixels: float = 0.0) -> AsyncIterator[None]:
        """Wait for a place and hold it; raises `Busy` at once when the caller's share of the queue is full."""
        entry = _Entry(caller, megapixels + OVERHEAD, self._clock(), asyncio.get_running_loop().create_future())
        own = sum(other.caller == caller for other in self._waiting)
        if own >= self._room(caller) and not any(lane.admits(entry) for lane in self._lanes):
            message = "The queue is full. Nothing was started; try again later."
            raise Busy(message, retry_after=self._seconds_to_room(caller))
        self._waiting.append(entry)
        self._dispatch()
        done = False
        try:
            await entry.turn
            yield
            done = True
        finally:
            self._leave(entry, done=done)

    def yield_turn(self) -> None:
        """Wait in a thread of a large job until no small one runs, for `PAUSE` seconds at most."""
        self._calm.wait(PAUSE)

    def _room(self, caller: Caller) -> int:
        return ceil(self._queue * min(1.0, caller.weight))

    def _dispatch(self) -> None:
        """Give free places to those whose turn it is."""
        for lane in self._lanes:
            while True:
                now = self._clock()
                able = (entry for entry in self._waiting if lane.admits(entry) and not entry.turn.cancelled())
                entry = self._turns.next(able, now)
                if entry is None:
                    break
                self._waiting.remove(entry)
                self._turns.take(entry)
                entry.lane, entry.started = lane, now
                lane.running.add(entry)
                entry.turn.set_result(None)
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
        """Estimate when the first of a caller's waiting jobs begins, or one that runs ends, from how fast work goes."""
        now = self._clock()
        running = [max(0.1 * one.cost, one.cost - (now - one.started) / self._seconds) for one in self._all.running]
        cost, left, turns = min(running, default=0.0), list(self._waiting), self._turns.copy()
        while any(entry.caller == caller for entry in left):
            entry = turns.next(left, now)
            assert entry is not None  # noqa: S101, there is one of the caller's
            if entry.caller == caller:
                break
            left.remove(entry)
            turns.take(entry)
            cost += entry.cost / self._all.places
        return min(LONGEST_WAIT, max(1.0, round(cost * self._seconds, 1)))
