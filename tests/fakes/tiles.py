"""Backends for workers in other processes: the mock's pixels, with something happening before."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from pathlib import Path
from uuid import uuid4

from fluxvision.engine.backends.registry import load_backend


class Eventful:
    """The mock, but `event` is called before each batch."""

    def __init__(self, event):
        """Keep the event."""
        self._mock, self._event = load_backend("mock"), event

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
        return [tile - 0.01 * len(window.prompt) for tile, window in zip(made, windows, strict=True)]


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


def hanging(folder, how):
    """Return a backend that hangs the first time, whatever it is told: asleep, or stuck in foreign code."""

    def hang():
        try:
            with Path(folder, "hangs").open("x"):
                pass
        except FileExistsError:
            return
        Path(folder, "new").write_text(str(os.getpid()), encoding="ascii")
        Path(folder, "new").rename(Path(folder, "hung"))
        (time.sleep if how == "asleep" else ctypes.PyDLL(None).sleep)(
            600
        )  # PyDLL keeps all of Python's threads waiting

    return Eventful(hang)


def lasting(folder, seconds, *, stop):
    """Return a backend that takes its time, and asks now and then whether to go on; it leaves a file."""

    def last():
        Path(folder, uuid4().hex).touch()
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            stop()
            time.sleep(0.1)

    return Eventful(last)


def telling(kind, text):
    """Return a backend that has something to tell."""
    made = Eventful(lambda: None)
    made.notes = ((kind, text),)
    return made


def placed(folder, seconds):
    """Return a backend that takes its time, and leaves a file for each batch with its process in the name."""

    def work():
        Path(folder, f"{os.getpid()}-{uuid4().hex}").touch()
        time.sleep(seconds)

    return Eventful(work)
