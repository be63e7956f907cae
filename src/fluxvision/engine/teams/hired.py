"""A worker on a cluster, as the server sees it: the actor, what it is at, and whether it still lives."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, TypeVar

import numpy as np

from fluxvision.engine.teams.lending import POLL, Lost
from fluxvision.engine.teams.recipe import Batch, Recipe
from fluxvision.engine.tile import Stop

PULSES = 4
"""How often an actor is asked for a sign of life in the time after which it is taken for hung."""

T = TypeVar("T")


class Gone(Exception):
    """The cluster itself does not answer."""


class Worker:
    """One actor, and the call that tells when it runs. One that is `leaving` is lent no more."""

    def __init__(self, ray: Any, kind: Any) -> None:
        """Ask the cluster for it."""
        self._ray = ray
        self.actor = kind.remote()
        self.starting = self.actor.ready.remote()
        self.free_since = self.turn = time.monotonic()
        self.leaving = False
        self._numbers = count(1)
        self._answer: Any = None
        self._pulse: Any = None
        self._asked = self._heard = self._patience = 0.0

    def run(self, recipe: Recipe, work: Any, numbers: Sequence[int], stop: Stop) -> Batch:
        """Have a batch made; raises `Lost` when the actor dies or hangs, and what `stop` or the batch raised."""
        number = next(self._numbers)
        self._heard, self._patience = time.monotonic(), recipe.patience
        self._answer = self._reach(lambda: self.actor.make.remote(number, recipe, work, tuple(numbers)))
        try:
            while not self._answered(POLL):
                stop()
        except (Lost, Gone):
            raise
        except BaseException:
            self._reach(lambda: self.actor.stop.remote(number))
            raise
        made, fault = self._taken()
        if fault is not None:
            raise fault  # may be anything, also what would stand for a lost cluster
        return Batch([np.array(tile) for tile in made.tiles], made.notes)  # Ray's own memory cannot be written to

    def rests(self) -> bool:
        """Return whether it has ended what it was told to give up. Raises `Lost` where it never will."""
        if self.leaving:
            return False
        if self._answer is not None and self._answered(0):
            self._taken()
        return self._answer is None

    def end(self) -> None:
        """End the actor, running or not."""
        self._ray.kill(self.actor)

    def _taken(self) -> tuple[Any, BaseException | None]:
        """Return the batch that is there, or what it raised; raises `Lost`."""
        answer, self._answer, self._pulse = self._answer, None, None
        self.free_since = time.monotonic()
        errors = self._ray.exceptions
        try:
            return self._reach(lambda: self._ray.get(answer)), None
        except errors.RayTaskError as error:  # not Ray's fault: the batch raised it
            return None, error.cause
        except errors.RayError as error:
            raise Lost from error

    def _answered(self, seconds: float) -> bool:
        """Wait for the answer. Raises `Lost` where there was no sign of life for too long."""
        if self._reach(lambda: self._ray.wait([self._answer], timeout=seconds)[0]):
            return True
        now = time.monotonic()
        if self._pulse is not None and self._reach(lambda: self._ray.wait([self._pulse], timeout=0)[0]):
            pulse, self._pulse = self._pulse, None
            try:
                self._heard = max(self._heard, now - self._reach(lambda: self._ray.get(pulse)))
            except self._ray.exceptions.RayError:  # the answer will say the same
                return False
        elif self._pulse is None and now - max(self._heard, self._asked) > self._patience / PULSES:
            self._pulse, self._asked = self._reach(self.actor.silence.remote), now
        if now - self._heard > self._patience:
            raise Lost
        return False

    def _reach(self, act: Callable[[], T]) -> T:
        """Call Ray; raises `Gone` where not even an error of Ray's own comes back."""
        try:
            return act()
        except self._ray.exceptions.RayError:
            raise
        except Exception as reason:  # a client that was cut off raises anything
            raise Gone from reason
