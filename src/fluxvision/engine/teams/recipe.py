"""How a worker gets its backend: a recipe that can be sent, and what cooks it where the tiles are made."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, cast

from fluxvision.engine.backends.registry import Detailer
from fluxvision.engine.resample import Array, one_blas_thread
from fluxvision.engine.tile import Stop, TileJob, make_tiles


@dataclass(frozen=True, slots=True)
class Recipe:
    """`entry` is "module:function", which makes a backend of `arguments`; all of it can be pickled and compared.

    The function keeps what is heavy by its own key. `stops`: it takes the worker's `stop` by this name, which raises
    once nobody wants the batch any more. `patience` is how many seconds a worker may go without calling its `stop`
    before it is taken for hung.
    """

    entry: str
    arguments: tuple[Any, ...] = ()
    stops: bool = False
    patience: float = 600.0

    def backend(self, stop: Stop) -> Detailer:
        """Return the backend."""
        module, _, function = self.entry.partition(":")
        further = {"stop": stop} if self.stops else {}
        return cast("Detailer", getattr(import_module(module), function)(*self.arguments, **further))


Notes = tuple[tuple[str, str], ...]
"""What a worker tells of how it made its tiles: pairs of a kind and a text."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Tiles, and the `notes` of the backend that made them, where it has this attribute."""

    tiles: list[Array]
    notes: Notes = ()


class Maker:
    """Makes batches in a worker, one at a time, and keeps the backend of the latest recipe."""

    def __init__(self, stop: Stop) -> None:
        """Ask `stop` whether to go on."""
        one_blas_thread()
        self._stop, self._lock = stop, threading.Lock()
        self._recipe: Recipe | None = None
        self._backend: Detailer | None = None

    def make(self, recipe: Recipe, work: TileJob, numbers: Sequence[int]) -> Batch:
        """Make the tiles of these numbers."""
        with self._lock:
            if self._backend is None or recipe != self._recipe:
                self._backend, self._recipe = None, None  # the old one may hold memory that the new one needs
                self._backend = recipe.backend(self._stop)
                self._recipe = recipe
            tiles = make_tiles(work, self._backend, numbers, self._stop)
            return Batch(tiles, tuple(getattr(self._backend, "notes", ())))
