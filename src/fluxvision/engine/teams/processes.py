"""The team `processes`: processes on this machine, one for each GPU or as many as asked for.

They are started afresh, never forked: this process has threads. A batch goes to a worker as a small message with two
blocks of shared memory, one with the pictures and one for the tiles.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Sequence
from contextlib import suppress

import numpy as np

from fluxvision.core.errors import Unavailable
from fluxvision.engine.resample import Array
from fluxvision.engine.teams import Recipe, Terms
from fluxvision.engine.teams.child import Child
from fluxvision.engine.teams.lending import POLL, Desk, Lost, in_order, insist
from fluxvision.engine.teams.memory import Block
from fluxvision.engine.teams.orders import Answer, Shelf, Sign, Stopped
from fluxvision.engine.teams.recipe import Batch
from fluxvision.engine.teams.squad import Squad, Tell
from fluxvision.engine.teams.wire import Channel
from fluxvision.engine.tile import Stop, TileJob

MODULE = "fluxvision.engine.teams.worker"
CLOSED = "This server is stopping."
NOBODY = "No worker process can be started on this machine."


class Worker:
    """One process. A dead one is found out when it is given something to do."""

    def __init__(self, device: str | None) -> None:
        """Start it, with one GPU to see where `device` names it."""
        self.child = Child(MODULE, {} if device is None else {"CUDA_VISIBLE_DEVICES": device})
        self.device = device
        self._number = self._answered = 0
        self._heard = self._patience = 0.0

    def run(self, recipe: Recipe, shelf: Shelf, numbers: Sequence[int], stop: Stop) -> Batch:
        """Have a batch made; raises `Lost` when the process dies or hangs, what `stop` and what the batch raised."""
        self._number += 1
        order = shelf.order(self._number, recipe, numbers)
        room = Block.fresh(order.room)
        self._heard, self._patience = time.monotonic(), recipe.patience
        try:
            self._channel.send(order, [shelf.block.number, room.number])
            answer = self._answer(stop)
            if answer.error is None:
                return Batch([np.array(tile) for tile in room.arrays(order.room)], answer.notes)
        except EOFError:
            raise Lost from None
        finally:
            room.close()
        raise answer.error

    def rests(self) -> bool:
        """Return whether it has answered everything, what was stopped included. Raises `Lost` when it never will."""
        try:
            while self._answered < self._number and self._channel.ready(0):
                self._take()
        except EOFError:
            raise Lost from None
        self._insist()
        return self._answered == self._number

    @property
    def _channel(self) -> Channel:
        return self.child.channel

    def _answer(self, stop: Stop) -> Answer:
        """Wait for the answer to the latest order."""
        try:
            while True:
                while not self._channel.ready(POLL):
                    self._insist()
                    stop()
                answer = self._take()
                if answer is not None:
                    return answer
        except (EOFError, Lost):
            raise
        except BaseException:
            with suppress(EOFError):
                self._channel.send(Stopped(self._number))
            raise

    def _take(self) -> Answer | None:
        """Take a message; return the answer to the latest order if it is that."""
        message: Answer | Sign = self._channel.receive()[0]
        self._heard = time.monotonic()
        if not isinstance(message, Answer):
            return None
        self._answered = message.number
        return message if message.number == self._number else None

    def _insist(self) -> None:
        """Raise `Lost` where the process has given no sign of life for too long."""
        if self._answered < self._number and time.monotonic() - self._heard > self._patience:
            raise Lost


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
            return tuple(worker.child.process.pid for worker in self._workers)

    def crew(self, recipe: Recipe) -> Squad:
        """Return the crew of a job."""
        return Squad(self, recipe)

    def make(
        self, recipe: Recipe, work: TileJob, stop: Stop, batches: Sequence[range], tell: Tell
    ) -> Generator[list[Array], None, None]:
        """Yield the batches of a work in order; `tell` is called with the notes of each."""
        self._gather()
        shelf = Shelf(work)

        def one(batch: range, check: Stop) -> list[Array]:
            def run(worker: Worker, check: Stop) -> list[Array]:
                made = worker.run(recipe, shelf, batch, check)
                tell(made.notes)
                return made.tiles

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
            worker.child.process.terminate()
        for worker in workers:
            worker.child.end()

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
        for worker in self._desk.remove(lambda worker: not worker.child.alive):
            self._replace(worker)

    def _replace(self, worker: Worker) -> None:
        """Start a worker in place of one that is dead or hangs."""
        worker.child.process.kill()
        worker.child.end()
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
