"""What runs on the nodes of a cluster: an actor that makes batches. It knows nothing of Ray itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from fluxvision.core.errors import Cancelled
from fluxvision.engine.teams.recipe import Batch, Maker, Recipe
from fluxvision.engine.tile import TileJob


class Actor:
    """Makes one batch after the other; `stop` and `silence` are answered meanwhile."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._at = self._stopped = 0
        self._heard = time.monotonic()
        self._turn = threading.Lock()
        self._maker = Maker(self._check)

    def ready(self) -> bool:
        """Say that it runs."""
        return True

    def make(self, number: int, recipe: Recipe, work: TileJob, numbers: Sequence[int]) -> Batch:
        """Make the tiles of these numbers. `number` counts the orders."""
        with self._turn:  # the order before may still be giving up, and has to see its own number until then
            self._at = number
            self._check()
            return self._maker.make(recipe, work, numbers)

    def stop(self, number: int) -> None:
        """Give up the order of this number: nobody wants it any more."""
        self._stopped = max(self._stopped, number)

    def silence(self) -> float:
        """Return how many seconds ago the batch that is made gave a sign of life."""
        return time.monotonic() - self._heard

    def _check(self) -> None:
        self._heard = time.monotonic()
        if self._at <= self._stopped:
            raise Cancelled("The work was cancelled.")
