"""The team `processes`: processes on this machine, one for each GPU or as many as asked for.

They are started afresh, never forked: this process has threads. A batch goes to a worker as a small message with two
blocks of shared memory, one with the pictures and one for the tiles.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Generator, Sequence
from contextlib import suppress

import numpy as np

from fluxvision.engine.resample import Array
from fluxvision.engine.teams import Recipe, Terms
from fluxvision.engine.teams.lending import POLL, Desk, Lost, in_order, insist
from fluxvision.engine.teams.memory import Block
from fluxvision.engine.teams.orders import Answer, Shelf, Stopped
from fluxvision.engine.teams.wire import Channel
from fluxvision.engine.tiles import Stop, Work
from fluxvision.errors import Unavailable

MODULE = "fluxvision.engine.teams.worker"
CLOSED = "This server is stopping."
NOBODY = "No worker process can be started on this machine."
PATIENCE = 5.0
"""Seconds that a worker gets to end by itself."""


class Worker:
    """One process. A dead one is found out when it is given something to do."""

    def __init__(self, device: str | None) -> None:
        """Start it, with one GPU to see where `device` names it."""
        here, there = socket.socketpair()
        seen = {} if device is None else {"CUDA_VISIBLE_DEVICES": device}
        paths = {"PYTHONPATH": os.pathsep.join(sys.path)}  # it finds what this process finds
        try:
            self.process = subprocess.Popen(  # noqa: S603, this program itself
                [sys.executable, "-P", "-m", MODULE, str(there.fileno())],
                env=os.environ | paths | seen,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # this process may be writing a picture there
                pass_fds=[there.fileno()],
            )
        except OSError:
            here.close()
            raise
        finally:
            there.close()
        self.device = device
        self._channel = Channel(here)
        self._number = 0

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def run(self, recipe: Recipe, shelf: Shelf, numbers: Sequence[int], stop: Stop) -> list[Array]:
        """Have a batch made; raises `Lost` when the process dies, whatever `stop` raises, and what the batch raised."""
        self._number += 1
        order = shelf.order(self._number, recipe, numbers)
        room = Block.fresh(order.room)
        try:
            self._channel.send(order, [shelf.block.number, room.number])
            error = self._answer(stop).error
            if error is None:
                return [np.array(tile) for tile in room.arrays(order.room)]
        except EOFError:
            raise Lost from None
        finally:
            room.close()
        raise error

    def _answer(self, stop: Stop) -> Answer:
        """Wait for the latest order's answer; those before it were stopped."""
        while True:
            try:
                while not self._channel.ready(POLL):
                    stop()
            except BaseException:
                with suppress(EOFError):
                    self._channel.send(Stopped(self._number))
                raise
            answer: Answer = self._channel.receive()[0]
            if answer.number == self._number:
                return answer

    def end(self) -> None:
        """End the process, at once where it does not go by itself."""
        self._channel.close()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Processes:
    """Worker processes, started with the first job; those that die are replaced."""

    def __init__(self, terms: Terms) -> None:
        """Have `workers` of them, or one for each device."""
        size = terms.workers or len(terms.devices) or 1
        self._devices = [terms.devices[index % len(terms.devices)] if terms.devices else None for index in range(size)]
        self._desk: Desk[Worker] = Desk()
        self._workers: list[Worker] = []
        self._lock = threading.Lock()
        self._closed = False

    @property
    def size(self) -> int:
        """How many workers there are."""
        return len(self._devices)

    @property
    def processes(self) -> tuple[int, ...]:
        """The workers' process ids."""
        with self._lock:
            return tuple(worker.process.pid for worker in self._workers)

    def crew(self, recipe: Recipe) -> _Crew:
        """Return the crew of a job."""
        return _Crew(self, recipe)

    def make(
        self, recipe: Recipe, work: Work, stop: Stop, batches: Sequence[range]
    ) -> Generator[list[Array], None, None]:
        """Yield the batches of a work in order."""
        self._gather()
        shelf = Shelf(work)

        def one(batch: range, check: Stop) -> list[Array]:
            def run(worker: Worker, check: Stop) -> list[Array]:
                return worker.run(recipe, shelf, batch, check)

            def goes_on() -> None:
                check()
                self._check()

            return insist(self._desk, run, self._replace, goes_on)

        try:
            yield from in_order(batches, one, lambda: self.size, stop)
        finally:
            shelf.close()

    def close(self) -> None:
        """End all processes."""
        with self._lock:
            self._closed = True
            workers, self._workers = self._workers, []
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.end()

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable(CLOSED)

    def _check(self) -> None:
        """Raise `Unavailable` where nobody will make what a job waits for.

        Without the lock: whoever waits at the desk asks, and whoever has the lock may want the desk.
        """
        self._check_open()
        if not self._workers:  # a system without room for a process let none be replaced
            raise Unavailable(NOBODY)

    def _gather(self) -> None:
        """Have all workers there: the first time, and where some died while they had nothing to do."""
        with self._lock:
            self._check_open()
            missing = [] if self._workers else list(self._devices)
            for device in missing:
                self._start(device)
        for worker in self._desk.remove(lambda worker: not worker.alive):
            self._replace(worker)

    def _replace(self, worker: Worker) -> None:
        """Start a worker in place of a dead one."""
        worker.process.kill()
        worker.end()
        with self._lock:
            self._check_open()
            try:
                self._start(worker.device)
            finally:
                if worker in self._workers:
                    self._workers.remove(worker)

    def _start(self, device: str | None) -> None:
        try:
            worker = Worker(device)
        except OSError as reason:
            raise Unavailable(NOBODY) from reason
        self._workers.append(worker)
        self._desk.give_back(worker)


class _Crew:
    """The team at one job."""

    def __init__(self, team: Processes, recipe: Recipe) -> None:
        self._team, self._recipe = team, recipe

    def make(
        self, work: Work, stop: Stop, batches: Sequence[range] | None = None
    ) -> Generator[list[Array], None, None]:
        """Yield finished batches in order, while later ones are at work."""
        return self._team.make(self._recipe, work, stop, work.batches if batches is None else batches)
