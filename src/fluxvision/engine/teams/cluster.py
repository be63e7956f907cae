"""The team `ray`: actors on a Ray cluster. Ray places them, watches them and carries the pictures, once to each node.

Actors are anonymous and end with this process: several gateways may share a cluster, and each sees its own alone. One
that has had nothing to do for a while, and one that has had its turn, is ended, so that others get the room.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from itertools import count
from typing import Any

import numpy as np

from fluxvision.engine.resample import Array
from fluxvision.engine.teams import Recipe, Terms, session
from fluxvision.engine.teams.lending import POLL, Desk, Lost, in_order, insist
from fluxvision.engine.tiles import Stop, Work
from fluxvision.errors import Unavailable

TICK = 0.25
"""Seconds between two looks at what the cluster has."""
IDLE = 300.0
"""Seconds after which a worker with nothing to do is ended."""
TURN = 600.0
"""Seconds after which a worker's room is offered to others."""
PATIENCE = 60.0
"""Seconds that a job waits for a cluster in which there is no room at all."""
GRACE = 20.0
"""Seconds in which no worker may start before it is taken for a fault of the cluster."""
CLOSED = "This server is stopping."
NO_ROOM = "The cluster that the setting cluster names has no machine with a {kind}."
NO_START = "No worker starts on the cluster that the setting cluster names. Is fluxvision installed on its machines?"
GONE = "The cluster that the setting cluster names does not answer any more."


class Worker:
    """One actor, and the call that tells when it runs."""

    def __init__(self, ray: Any, kind: Any) -> None:
        """Ask the cluster for it."""
        self._ray = ray
        self.actor = kind.remote()
        self.starting = self.actor.ready.remote()
        self.free_since = self.turn = time.monotonic()
        self._numbers = count(1)

    def run(self, recipe: Recipe, work: Any, numbers: Sequence[int], stop: Stop) -> list[Array]:
        """Have a batch made; raises `Lost` when the actor or its node dies, and what `stop` or the batch raised."""
        ray, number = self._ray, next(self._numbers)
        answer = self.actor.make.remote(number, recipe, work, tuple(numbers))
        try:
            while not ray.wait([answer], timeout=POLL)[0]:
                stop()
        except BaseException:
            self.actor.stop.remote(number)
            raise
        try:
            tiles = ray.get(answer)
        except ray.exceptions.RayTaskError as error:  # not Ray's fault: the batch raised it
            raise error.cause from None  # may be anything but what stands for a lost cluster
        except ray.exceptions.RayError as error:
            raise Lost from error
        finally:
            self.free_since = time.monotonic()
        return [np.array(tile) for tile in tiles]  # Ray's own memory cannot be written to

    def end(self) -> None:
        """End the actor, running or not."""
        self._ray.kill(self.actor)


class Cluster:
    """Actors, as many as the cluster has room for or fewer; joined with the first job."""

    def __init__(self, terms: Terms) -> None:
        """Take at most `workers` actors with `gpus` GPUs each, or a processor core where that is 0."""
        self._terms = terms
        self._needs = {"num_gpus": terms.gpus, "num_cpus": 0} if terms.gpus else {"num_cpus": 1}
        self._resource, self._each = ("GPU", terms.gpus) if terms.gpus else ("CPU", 1.0)
        self._ray: Any = None
        self._desk: Desk[Worker] = Desk()
        self._workers: list[Worker] = []
        self._jobs = 0
        self._failing_since = 0.0
        self._room_since = time.monotonic()
        self._broken: str | None = None
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._keeper: threading.Thread | None = None

    @property
    def size(self) -> int:
        """How many workers run or are asked for."""
        return len(self._workers)

    @property
    def ready(self) -> tuple[Worker, ...]:
        """The workers that run."""
        return tuple(worker for worker in self._workers if worker.starting is None)

    def crew(self, recipe: Recipe) -> _Crew:
        """Return the crew of a job."""
        return _Crew(self, recipe)

    def make(
        self, recipe: Recipe, work: Work, stop: Stop, batches: Sequence[range]
    ) -> Generator[list[Array], None, None]:
        """Yield the batches of a work in order."""
        ray = self._join()
        try:
            pictures = ray.put(work)

            def one(batch: range, check: Stop) -> list[Array]:
                def run(worker: Worker, check: Stop) -> list[Array]:
                    return worker.run(recipe, pictures, batch, check)

                def goes_on() -> None:
                    check()
                    self._check()

                return insist(self._desk, run, self._drop, goes_on)

            yield from in_order(batches, one, lambda: self.size, stop)
        except (ConnectionError, ray.exceptions.RayError) as reason:
            self._broken = GONE
            raise Unavailable(GONE, param="cluster") from reason
        finally:
            with self._lock:
                self._jobs -= 1

    def close(self) -> None:
        """End all actors, and leave the cluster."""
        self._ended.set()
        if self._keeper is not None:
            self._keeper.join()
        with self._lock:
            if self._ray is not None:
                self._leave()

    def _join(self) -> Any:
        """Begin a job: join the cluster where that was not done, or where it broke. Return Ray."""
        with self._lock:
            if self._ended.is_set():
                raise Unavailable(CLOSED)
            if self._broken is not None and not self._jobs:
                self._leave()
            if self._ray is None:
                self._ray = session.join(self._terms.cluster)
                self._broken, self._failing_since, self._room_since = None, 0.0, time.monotonic()
            if self._keeper is None:
                self._keeper = threading.Thread(target=self._keep, name="cluster", daemon=True)
                self._keeper.start()
            self._jobs += 1
            return self._ray

    def _leave(self) -> None:
        for worker in self._workers:
            self._quietly(worker.end)
        self._workers.clear()
        self._desk.remove(lambda _worker: True)
        self._ray = None
        self._quietly(lambda: session.leave(self._terms.cluster))

    def _check(self) -> None:
        """Raise `Unavailable` where nobody will make what a job waits for."""
        if self._ended.is_set():
            raise Unavailable(CLOSED)
        if self._broken is not None:
            raise Unavailable(self._broken, param="cluster")

    def _keep(self) -> None:
        """Have as many workers as there is room for while there is work, and none that is not needed."""
        while not self._ended.wait(TICK):
            with self._lock:
                if self._ray is None or self._broken is not None:
                    continue
                try:
                    self._tend()
                except Exception:  # noqa: BLE001, a lost connection shows as errors of many kinds
                    self._broken = GONE

    def _tend(self) -> None:
        self._greet()
        now = time.monotonic()
        for worker in self._desk.remove(lambda one: now - one.free_since > IDLE or now - one.turn > TURN):
            self._workers.remove(worker)
            worker.end()
        if not self._jobs:
            self._room_since = now
            return
        room = int(self._ray.cluster_resources().get(self._resource, 0) / self._each)
        if room:
            self._room_since = now
        elif now - self._room_since > PATIENCE:
            self._broken = NO_ROOM.format(kind="GPU" if self._terms.gpus else "free processor core")
        kind = self._kind()
        while len(self._workers) < min(self._terms.workers or room, room):
            self._workers.append(Worker(self._ray, kind))

    def _greet(self) -> None:
        """Let those work that have started; forget those that could not."""
        ray = self._ray
        starting = {worker.starting: worker for worker in self._workers if worker.starting is not None}
        if not starting:
            return
        for done in ray.wait(list(starting), num_returns=len(starting), timeout=0)[0]:
            worker = starting[done]
            try:
                ray.get(done)
            except ray.exceptions.RayError:
                self._workers.remove(worker)
                now = time.monotonic()
                self._failing_since = self._failing_since or now
                # Ray may go on placing workers on a lost machine until it knows: that alone is no reason to give up.
                if now - self._failing_since > GRACE and not self.ready:
                    self._broken = NO_START
                continue
            self._failing_since = 0.0
            worker.starting = None
            worker.free_since = worker.turn = time.monotonic()
            self._desk.give_back(worker)

    def _kind(self) -> Any:
        from fluxvision.engine.teams.actor import Actor  # noqa: PLC0415, only what the cluster is sent

        # A batch, one that waits until it has given up, and the call that says so.
        return self._ray.remote(Actor).options(max_concurrency=3, scheduling_strategy="SPREAD", **self._needs)

    def _drop(self, worker: Worker) -> None:
        """Forget a dead worker; another one is asked for in the next look."""
        with self._lock:
            if worker in self._workers:
                self._workers.remove(worker)
        self._quietly(worker.end)

    @staticmethod
    def _quietly(act: Callable[[], object]) -> None:
        """Do what may fail because its other end has gone."""
        with suppress(Exception):
            act()


class _Crew:
    """The team at one job."""

    def __init__(self, team: Cluster, recipe: Recipe) -> None:
        self._team, self._recipe = team, recipe

    def make(
        self, work: Work, stop: Stop, batches: Sequence[range] | None = None
    ) -> Generator[list[Array], None, None]:
        """Yield finished batches in order, while later ones are at work."""
        return self._team.make(self._recipe, work, stop, work.batches if batches is None else batches)
