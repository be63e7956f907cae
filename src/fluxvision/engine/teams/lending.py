"""Work for many hands: workers are lent to whoever has waited longest, and what they made comes out in order.

Nothing is divided beforehand: a worker that is free gets the next batch of a job that waits.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from fluxvision.engine.resample import Array
from fluxvision.engine.tiles import Stop
from fluxvision.errors import Cancelled, UpstreamError

POLL = 0.05
"""Seconds after which whoever waits looks whether the work was stopped."""
LIVES = 3
"""Workers that one batch may end before it is taken for the reason."""
AHEAD = 2
"""Batches per worker that may be at work or wait to be taken: what bounds memory."""
MOST = 1024
"""Batches that may be at work or wait in all."""
POISON = "The same part of the picture has ended three workers, one after the other."


class Lost(Exception):
    """A worker died with a batch."""


W = TypeVar("W")


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

    def lend(self, stop: Stop) -> W:
        """Wait for a worker; the one that was given back last is the first to be lent. `stop` may raise."""
        ticket = object()
        with self._changed:
            self._queue.append(ticket)
            try:
                while not (self._free and self._queue[0] is ticket):
                    self._changed.wait(POLL)
                    stop()
                return self._free.pop()
            finally:
                self._queue.remove(ticket)
                self._changed.notify_all()

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

    `run` raises `Lost` when the worker dies. Raises `UpstreamError` when it happens again and again.
    """
    deaths = 0
    while deaths < LIVES:
        worker = desk.lend(stop)
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

    waiting: deque[Future[list[Array]]] = deque()
    with ThreadPoolExecutor(MOST, thread_name_prefix="batch") as pool:
        try:
            for batch in batches:
                waiting.append(pool.submit(run, batch, check))
                if len(waiting) >= min(MOST, AHEAD * max(1, size())):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            ended.set()
            for future in waiting:
                future.cancel()
