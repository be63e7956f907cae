"""A clock for expiry times: seconds since the epoch, unaffected by changes of the wall clock."""

from __future__ import annotations

import time
from collections.abc import Callable

COUNTER = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""The monotonic clock that also counts while the machine sleeps, if the system has one."""


def seconds_since_boot() -> float:
    """Return the seconds of a monotonic clock, which cannot be set."""
    return time.clock_gettime(COUNTER)


class SteadyClock:
    """The wall clock's time at the start plus the seconds of a monotonic clock since then."""

    def __init__(
        self, wall: Callable[[], float] = time.time, counter: Callable[[], float] = seconds_since_boot
    ) -> None:
        """Read the wall clock once."""
        self._counter = counter
        self._offset = wall() - counter()

    def __call__(self) -> float:
        """Return seconds since the epoch."""
        return self._offset + self._counter()
