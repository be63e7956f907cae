"""Backends for workers in other processes: the mock's pixels, with something happening before."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from uuid import uuid4

from fluxvision.engine.backends import load


class Eventful:
    """The mock, but `event` is called before each batch."""

    def __init__(self, event):
        """Keep the event."""
        self._mock, self._event = load("mock"), event

    def base(self, tile):
        """Enlarge as the mock does."""
        return self._mock.base(tile)

    def detail(self, windows):
        """Invent as the mock does, after the event."""
        self._event()
        return self._mock.detail(windows)


def slow(seconds):
    """Return a backend that takes its time."""
    return Eventful(lambda: time.sleep(seconds))


def deadly(folder, deaths):
    """Return a backend that kills its own process the first `deaths` times, in all processes together."""

    def die():
        for number in range(deaths):
            try:
                Path(folder, str(number)).touch(exist_ok=False)
            except FileExistsError:
                continue
            os.kill(os.getpid(), signal.SIGKILL)

    return Eventful(die)


def broken(message):
    """Return a backend that raises."""

    def fail():
        raise ValueError(message)

    return Eventful(fail)


def noted(folder):
    """Return a backend that leaves a file for each batch."""
    return Eventful(lambda: Path(folder, uuid4().hex).touch())


class Spoken(Eventful):
    """The mock, darker by the number of letters in a tile's words."""

    def detail(self, windows):
        """Invent as the mock does, and look at the words."""
        made = super().detail(windows)
        return [tile - 0.01 * len(window.words) for tile, window in zip(made, windows, strict=True)]


def spoken():
    """Return a backend that is guided by words."""
    return Spoken(lambda: None)


def waiting(folder, *, stop):
    """Return a backend that waits until the batch is not wanted any more, and leaves a file then."""

    def wait():
        Path(folder, "began").touch()
        try:
            while True:
                stop()
                time.sleep(0.01)
        finally:
            Path(folder, "stopped").touch()

    return Eventful(wait)
