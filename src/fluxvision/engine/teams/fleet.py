"""The actors of one server on a Ray cluster. Ray places them, watches them and carries the pictures, once to each node.

Actors are anonymous and end with this process; the board alone has a name. Servers that share a cluster tell it what
they want, and give back what is more than their share.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from fluxvision.core.errors import Unavailable
from fluxvision.engine.resample import Array
from fluxvision.engine.teams import Recipe, Terms, session
from fluxvision.engine.teams.board import Claim, contested, crowded, share
from fluxvision.engine.teams.hired import Gone, Worker
from fluxvision.engine.teams.lending import Desk, in_order, insist
from fluxvision.engine.teams.neighbours import Neighbours
from fluxvision.engine.teams.squad import Squad, Tell
from fluxvision.engine.tile import Stop, TileJob

TICK = 0.25
"""Seconds between two looks at what the cluster has."""
CLOSED = "This server is stopping."
NO_ROOM = "The cluster that the setting cluster names has no machine with a {kind}."
NO_START = "No worker starts on the cluster that the setting cluster names. Is fluxvision installed on its machines?"
GONE = "The cluster that the setting cluster names does not answer any more."
TAKEN = "All {kind}s of the cluster that the setting cluster names are taken by others."
WAITS = "A picture waits for a {kind} on the cluster: all {room} are taken, other servers with work there: {others}."


class Fleet:
    """Actors, as many as the cluster has room for or fewer; joined with the first job."""

    def __init__(self, terms: Terms) -> None:
        """Take at most `workers` actors with `gpus` GPUs each, or a processor core where that is 0."""
        self._terms, self._limits = terms, terms.limits
        self._needs = {"num_gpus": terms.gpus, "num_cpus": 0} if terms.gpus else {"num_cpus": 1}
        self._resource, self._each = ("GPU", terms.gpus) if terms.gpus else ("CPU", 1.0)
        self._word = "GPU" if terms.gpus else "processor core"
        self._ray: Any = None
        self._neighbours: Neighbours | None = None
        self._desk: Desk[Worker] = Desk()
        self._workers: list[Worker] = []
        self._jobs = self._left = 0
        self._failing_since = 0.0
        self._room_since = self._served = time.monotonic()
        self._broken: str | None = None
        self._broke = 0.0
        self._until: float | None = None
        self.notice = ""
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

    @property
    def overdue(self) -> bool:
        """Whether the cluster has owed an answer for too long; who waits for it may wait for ever."""
        now, until, broke = time.monotonic(), self._until, self._broke
        waits = self._broken is not None and self._jobs > 0  # what nobody can stop
        return (until is not None and now > until) or (waits and now - broke > self._limits.lost)

    def crew(self, recipe: Recipe) -> Squad:
        """Return the crew of a job."""
        return Squad(self, recipe)

    def make(
        self, recipe: Recipe, work: TileJob, stop: Stop, batches: Sequence[range], tell: Tell
    ) -> Generator[list[Array], None, None]:
        """Yield the batches of a work in order; `tell` is called with the notes of each."""
        ray, left = self._join(len(batches)), len(batches)
        try:
            pictures = _reached(ray, lambda: ray.put(work))

            def one(batch: range, check: Stop) -> list[Array]:
                def run(worker: Worker, check: Stop) -> list[Array]:
                    made = worker.run(recipe, pictures, batch, check)
                    tell(made.notes)
                    return made.tiles

                def goes_on() -> None:
                    check()
                    self._check()

                return insist(self._desk, run, self._drop, goes_on)

            for tiles in in_order(batches, one, lambda: self.size, stop):
                left -= 1
                self._count(0, -1)
                yield tiles
        except (Gone, ConnectionError, ray.exceptions.RayError) as reason:
            self._break(GONE)
            raise Unavailable(GONE, param="cluster") from reason
        finally:
            self._count(-1, -left)

    def close(self) -> None:
        """End all actors, and leave the cluster."""
        self._ended.set()
        if self._keeper is not None:
            self._keeper.join()
        with self._lock:
            if self._ray is not None:
                self._leave()

    def _count(self, jobs: int, batches: int) -> None:
        with self._lock:
            self._jobs += jobs
            self._left += batches

    def _join(self, batches: int) -> Any:
        """Begin a job: join the cluster where that was not done, or where it broke. Return Ray."""
        with self._lock:
            if self._ended.is_set():
                raise Unavailable(CLOSED)
            if self._broken is not None and not self._jobs:
                self._leave()
            if self._ray is None:
                with self._within(self._limits.join):
                    self._ray = session.join(self._terms.cluster)
                    self._neighbours = Neighbours(self._ray, self._resource)
                self._broken, self._failing_since, self._room_since = None, 0.0, time.monotonic()
            if self._keeper is None:
                self._keeper = threading.Thread(target=self._keep, name="cluster", daemon=True)
                self._keeper.start()
            if not self._jobs:
                self._served = time.monotonic()
            self._jobs += 1
            self._left += batches
            return self._ray

    def _leave(self) -> None:
        for worker in self._workers:
            self._quietly(worker.end)
        self._workers.clear()
        self._desk.remove(lambda _worker: True)
        if self._neighbours is not None:
            self._quietly(self._neighbours.leave)
        self._ray = self._neighbours = None
        self._quietly(lambda: session.leave(self._terms.cluster))

    def _break(self, reason: str) -> None:
        """End the jobs at work with a reason."""
        self._broken, self._broke = self._broken or reason, time.monotonic()

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
                    with self._within(self._limits.lost):
                        self._tend()
                except Exception:  # noqa: BLE001, a lost connection shows as errors of many kinds
                    self._break(GONE)

    @contextmanager
    def _within(self, seconds: float) -> Iterator[None]:
        """Be overdue where what is done takes longer."""
        self._until = time.monotonic() + seconds
        try:
            yield
        finally:
            self._until = None

    def _tend(self) -> None:
        assert self._neighbours is not None  # noqa: S101, there since the cluster was joined
        self._greet()
        now = time.monotonic()
        room = int(self._ray.cluster_resources().get(self._resource, 0) / self._each)
        wants = min(self._terms.workers or room, room, self._left) if self._jobs else 0
        name, claims = self._neighbours.tell(Claim(wants, len(self.ready)))
        allowed = share(room, claims, name) if contested(claims, name) else max(wants, self.size)
        self._give_back(now, allowed, self._limits.short_turn if crowded(room, claims, name) else self._limits.turn)
        if not self._jobs:
            self._room_since = now
            return
        if room:
            self._room_since = now
        elif now - self._room_since > self._limits.nowhere:
            self._break(NO_ROOM.format(kind=self._word))
        kind = self._kind()
        while self.size < min(wants, allowed):
            self._workers.append(Worker(self._ray, kind))
        self._say(now, room, sum(bool(claim.wants) for one, claim in claims.items() if one != name))

    def _give_back(self, now: float, allowed: int, turn: float) -> None:
        """End workers: the idle, those that had their turn, and those that others have a right to."""
        for worker in self._workers:
            worker.leaving = worker.leaving or now - worker.turn > turn
        staying = [worker for worker in self._workers if not worker.leaving]
        staying.sort(key=lambda worker: worker.starting is None)  # what only waits goes first
        for worker in staying[: max(0, len(staying) - allowed)]:
            worker.leaving = True
        gone = self._desk.remove(lambda one: one.leaving or now - one.free_since > self._limits.idle)
        gone += [worker for worker in self._workers if worker.leaving and worker.starting is not None]
        for worker in gone:
            self._workers.remove(worker)
            worker.end()

    def _say(self, now: float, room: int, others: int) -> None:
        """Say what a job waits for, and end the jobs when that was too long."""
        if self.ready or not room:
            self._served = now
        if now - self._served > self._limits.queue:
            self._break(TAKEN.format(kind=self._word))
        taken = self._ray.available_resources().get(self._resource, 0) < self._each if self._served < now else False
        if not taken or now - self._served < self._limits.quiet:
            self.notice = ""
        else:
            self.notice = WAITS.format(kind=self._word, room=room, others=others)

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
                if now - self._failing_since > self._limits.start and not self.ready:
                    self._break(NO_START)
                continue
            self._failing_since = 0.0
            worker.starting = None
            worker.free_since = worker.turn = time.monotonic()
            self._desk.give_back(worker)

    def _kind(self) -> Any:
        from fluxvision.engine.teams.actor import Actor  # noqa: PLC0415, only what the cluster is sent

        # A batch, one that waits until it has given up, the call that says so, and one that asks for a sign of life.
        return self._ray.remote(Actor).options(max_concurrency=4, scheduling_strategy="SPREAD", **self._needs)

    def _drop(self, worker: Worker) -> None:
        """Forget a worker that is dead or hangs; another one is asked for in the next look."""
        with self._lock:
            if worker in self._workers:
                self._workers.remove(worker)
        self._quietly(worker.end)

    @staticmethod
    def _quietly(act: Callable[[], object]) -> None:
        """Do what may fail because its other end has gone."""
        with suppress(Exception):
            act()


def _reached(ray: Any, act: Callable[[], Any]) -> Any:
    """Call Ray; raises `Gone` where not even an error of Ray's own comes back."""
    try:
        return act()
    except ray.exceptions.RayError:
        raise
    except Exception as reason:  # a client that was cut off raises anything
        raise Gone from reason
