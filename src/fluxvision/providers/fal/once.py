"""Work that several callers want at the same time, or one after the other, is done once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Entry(Generic[T]):
    """One piece of work, how many wait for it, and until when its result is good."""

    task: asyncio.Task[T]
    waiting: int = 0
    until: float = float("inf")


class Once(Generic[T]):
    """Remembers results by key, the newest `most` of them, for `seconds` each. Failures are not remembered."""

    def __init__(self, seconds: float, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Take the time from `clock`, in seconds."""
        self._seconds, self._most, self._clock = seconds, most, clock
        self._entries: dict[Hashable, _Entry[T]] = {}

    async def get(self, key: Hashable, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return what `make` returns, made now, before or for another caller, or raise what it raised for all of them.

        A caller who is cancelled does not disturb the others; with the last one the work is cancelled, too, and ends.
        """
        entry = self._entries.get(key)
        if entry is None or entry.until <= self._clock():
            entry = self._entries[key] = _Entry(asyncio.create_task(make()))
            entry.task.add_done_callback(partial(self._settle, key, entry))
        entry.waiting += 1
        try:
            await asyncio.wait([entry.task])
        finally:
            entry.waiting -= 1
            if not entry.waiting and not entry.task.done():
                if self._entries.get(key) is entry:
                    self.forget(key)
                entry.task.cancel()
                await asyncio.gather(entry.task, return_exceptions=True)
        return entry.task.result()

    def forget(self, key: Hashable) -> None:
        """Make it anew for the next caller; who waits still gets what is under way."""
        self._entries.pop(key, None)

    def _settle(self, key: Hashable, entry: _Entry[T], task: asyncio.Task[T]) -> None:
        """Keep a result, as the newest, and forget a failure."""
        failed = task.cancelled() or task.exception() is not None
        if self._entries.get(key) is not entry:
            return
        self.forget(key)
        if not failed:
            entry.until = self._clock() + self._seconds
            self._entries[key] = entry
        settled = [name for name, one in self._entries.items() if one.task.done()]
        for name in settled[: -self._most]:
            self.forget(name)
