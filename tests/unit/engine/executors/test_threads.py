"""Threads of this process, some for each device: the same bytes however many there are, in order, and no more ahead."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from dataclasses import replace

import pytest

from fakes.tile_jobs import PICTURES, expected, go_on, samples, until, work
from fakes.tiles import Eventful, broken, spoken
from fluxvision.core.errors import Cancelled
from fluxvision.engine.executors.threads import ThreadExecutor


class Device(Eventful):
    """A device of its own: counts its batches, and how many were at work at once."""

    def __init__(self, seconds=0.0):
        """Take some time for each batch."""
        super().__init__(self._busy)
        self._seconds, self._lock = seconds, threading.Lock()
        self.made = self.now = self.most = 0
        self.meet = lambda: None

    def _busy(self):
        with self._lock:
            self.made += 1
            self.now += 1
            self.most = max(self.most, self.now)
        self.meet()
        time.sleep(self._seconds)
        with self._lock:
            self.now -= 1


@pytest.mark.parametrize(("picture", "batch"), [("colour", 1), *((name, 3) for name in PICTURES)])
def test_the_number_of_devices_changes_no_byte(picture, batch):
    """Any picture and any size of a batch come out of two or three devices as from one thread, in order."""
    of = work(picture, batch)
    right = expected(of)
    assert samples(ThreadExecutor([Device()], 1), of) == right
    for devices in (2, 3):
        assert samples(ThreadExecutor([Device() for _ in range(devices)], 2), of) == right, devices


def test_devices_work_at_the_same_time():
    """Two devices meet in every batch, each with `at_once` batches at most."""
    meet = threading.Barrier(2)
    devices, of = [Device(), Device()], work(batch=1)
    for device in devices:
        device.meet = lambda: meet.wait(30)
    some = of.batches[: len(of.batches) // 2 * 2]
    assert samples(ThreadExecutor(devices, 1), of, batches=some) == expected(of)[: len(some)]
    assert [(device.made, device.most) for device in devices] == [(len(some) // 2, 1)] * 2


def test_what_is_made_ahead_is_bounded():
    """A job whose tiles nobody takes stops after a few batches: memory does not grow with the picture."""
    devices, of = [Device(), Device()], work(batch=1)
    with closing(ThreadExecutor(devices, 1).make(of, go_on)) as batches:
        next(batches)
        time.sleep(0.3)
        assert sum(device.made for device in devices) <= 3 < of.total


def test_a_slow_device_does_not_hold_up_the_other():
    """A batch goes to whichever device is free."""
    slow, quick = Device(0.2), Device()
    of = work(batch=1)
    assert samples(ThreadExecutor([slow, quick], 1), of) == expected(of)
    assert slow.made < quick.made


def test_some_batches_come_out_as_they_do_among_all():
    """An executor makes the batches that it is asked for, and no others."""
    of = work()
    assert samples(ThreadExecutor([Device(), Device()], 1), of, batches=of.batches[1::3]) == expected(of)[1::3]


def test_stop_and_close_end_the_work():
    """What `stop` raises comes out; after a closed iterator no thread is left."""
    devices, of = [Device(0.01), Device(0.01)], work(batch=1)

    def stop():
        if sum(device.made for device in devices) > 2:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        samples(ThreadExecutor(devices, 1), of, stop)
    batches = ThreadExecutor(devices, 1).make(of, go_on)
    next(batches)
    batches.close()
    until(lambda: not any(one.name.startswith("tile") for one in threading.enumerate()))


def test_an_error_of_one_device_comes_out():
    """What a backend raises is raised here."""
    with pytest.raises(ValueError, match="no such luck"):
        samples(ThreadExecutor([Device(), broken("no such luck")], 1), work(batch=1))


def test_words_go_with_their_tiles():
    """Every tile is guided by its own, on whatever device it is made."""
    of = work()
    of = replace(of, prompts=tuple("x" * (number % 7) for number in range(of.total)))
    made = samples(ThreadExecutor([spoken(), spoken()], 1), of)
    assert made == samples(ThreadExecutor([spoken()], 1), of) != expected(of)
