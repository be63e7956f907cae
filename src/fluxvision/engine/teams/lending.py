"""Work for many hands: workers are lent to whoever has waited longest, and what they made comes out in order.

Nothing is divided beforehand: a worker that is free gets the next batch of a job that waits.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Generic, Protocol, TypeVar

from fluxvision.core.errors import Cancelled, UpstreamError
from fluxvision.engine.resample import Array
from fluxvision.engine.tile import Stop

POLL = 0.05
"""Seconds after which whoever waits looks whether the work was stopped."""
LIVES = 3
"""Workers that one batch may end before it is taken for the reason."""
AHEAD = 2
"""Batches per worker that may be at work or wait to be taken: what bounds memory."""
MOST = 1024
"""Batches that may be at work or wait in all."""
GROWTH = 0.25
"""Seconds after which whoever waits for a batch looks whether there are more workers by now."""
POISON = "The same part of the picture has ended three workers, one after the other."


class Lost(Exception):
    """A worker died, or hangs: nothing more is to be had of it."""


class Hand(Protocol):
    """A worker that can be lent."""

    def rests(self) -> bool:
        """Return whether it has ended what it was told to give up. Raises `Lost` where it never will."""
        ...


W = TypeVar("W", bound=Hand)


class Desk(Generic[W]):
    """Free workers, lent in the order in which they were asked for."""

    def __init__(self) -> None:
        """Begin with none."""
        self._free: list[W] = []
        self._queue: deque[object] = deque()
        self._changed = threading.Condition()

    @property
    def waiting(self) -> int:
        """How many batches wait for a worker."""
        return len(self._queue)

    def lend(self, stop: Stop, replace: Callable[[W], None]) -> W:
        """Wait for a worker that rests; the one that was given back last is the first to be lent. `stop` may raise.

        `replace` sees to those that turn out to be lost.
        """
        ticket = object()
        with self._changed:
            self._queue.append(ticket)
        try:
            while True:
                with self._changed:
                    worker, lost = self._pick() if self._queue[0] is ticket else (None, False)
                    if worker is None:
                        self._changed.wait(POLL)
                if worker is not None and not lost:
                    return worker
                if worker is not None:
                    replace(worker)  # without the lock: whoever replaces gives back
                stop()
        finally:
            with self._changed:
                self._queue.remove(ticket)
                self._changed.notify_all()

    def _pick(self) -> tuple[W | None, bool]:
        """Take a worker that is lost where there is one, else one that rests; tell which."""
        found = None
        for worker in self._free:
            try:
                found = worker if worker.rests() else found
            except Lost:
                self._free.remove(worker)
                return worker, True
        if found is not None:
            self._free.remove(found)
        return found, False

    def give_back(self, worker: W) -> None:
        """Have a worker that is free."""
        with self._changed:
            self._free.append(worker)
            self._changed.notify_all()

    def remove(self, unwanted: Callable[[W], bool]) -> list[W]:
        """Take out free workers, and return them."""
        with self._changed:
            gone = [worker for worker in self._free if unwanted(worker)]
            self._free = [worker for worker in self._free if worker not in gone]
            return gone


def insist(
    desk: Desk[W], run: Callable[[W, Stop], list[Array]], replace: Callable[[W], None], stop: Stop
) -> list[Array]:
    """Run a batch on a worker, and on another when that one dies; `replace` sees to the dead.

    `run` raises `Lost` when the worker dies or hangs. Raises `UpstreamError` when it happens again and again.
    """
    deaths = 0
    while deaths < LIVES:
        worker = desk.lend(stop, replace)
        try:
            made = run(worker, stop)
        except Lost:
            deaths += 1
            replace(worker)
        except BaseException:
            desk.give_back(worker)
            raise
        else:
            desk.give_back(worker)
            return made
    raise UpstreamError(POISON)


def in_order(
    batches: Sequence[range], run: Callable[[range, Stop], list[Array]], size: Callable[[], int], stop: Stop
) -> Generator[list[Array], None, None]:
    """Yield what `run` makes of each batch, in order; batches are begun `AHEAD` for each of `size` workers, no more."""
    ended = threading.Event()

    def check() -> None:
        if ended.is_set():
            raise Cancelled("The work was cancelled.")
        stop()

    left = deque(batches)
    waiting: deque[Future[list[Array]]] = deque()
    with ThreadPoolExecutor(MOST, thread_name_prefix="batch") as pool:
        try:
            while left or waiting:
                while left and len(waiting) < min(MOST, AHEAD * max(1, size())):
                    waiting.append(pool.submit(run, left.popleft(), check))
                if wait([waiting[0]], GROWTH).done:
                    yield waiting.popleft().result()
        finally:
            ended.set()
            for future in waiting:
                future.cancel()
