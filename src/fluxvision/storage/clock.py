"""A clock for expiries: seconds since the epoch that no change of the wall clock moves."""

from __future__ import annotations

import time
from collections.abc import Callable

COUNTER = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Counts while the machine sleeps, too, where the system has such a counter."""


def seconds_since_boot() -> float:
    """Return seconds from some moment on, which nobody can set."""
    return time.clock_gettime(COUNTER)


class SteadyClock:
    """The wall clock as it was at the start, carried on by a counter: setting the wall clock does not change it."""

    def __init__(
        self, wall: Callable[[], float] = time.time, counter: Callable[[], float] = seconds_since_boot
    ) -> None:
        """Read the wall clock, this once."""
        self._counter = counter
        self._offset = wall() - counter()

    def __call__(self) -> float:
        """Return seconds since the epoch."""
        return self._offset + self._counter()
