"""MemoryBudget: the steps by which a FLUX job reduces its memory use after a device has run out of memory.

First fewer tiles per batch, then the networks beside the transformer, then its precision, at last the size of tiles. A
step is never undone, because the next job would run out of memory too. Importable without torch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

BATCH = 4
"""Tiles per batch if they fit; more do not use a large GPU better."""
SHARES = (0.75, 0.5)
"""The sides of smaller tiles, relative to the row's: 768 and 512 of 1024 pixels."""
CELL = 16
"""The sides of tiles are multiples of this."""
SIGNS = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory", "alloc_failed")
"""Parts of the out-of-memory messages of PyTorch, its allocators and the libraries below."""


class RetryWithSmallerTiles(Exception):
    """Tiles of this size do not fit: divide the picture again by the budget's new tile size."""


@dataclass(frozen=True, slots=True)
class FallbackStep:
    """One step that frees memory: its name in the result, and a function that returns False when it frees nothing."""

    name: str
    apply: Callable[[], bool | None]


class OffloadsText(Protocol):
    """Networks whose text encoder can be moved to the CPU."""

    def offload_text(self) -> bool:
        """Move it; return whether anything changed."""
        ...


class MemoryBudget:
    """What fits into the memory of a device: `batch` tiles of `tile` pixels per side, after `taken_steps`."""

    def __init__(self, tile: int, steps: Sequence[FallbackStep] = (), batch: int = BATCH) -> None:
        """Start without reductions; `steps` are taken when a single tile does not fit, before tiles become smaller."""
        self.tile, self.batch = tile, batch
        self.taken_steps: list[str] = []
        self._steps = deque(steps)
        sizes = {int(tile * share) // CELL * CELL for share in SHARES}
        self._tiles = deque(sorted(sizes - {0}, reverse=True))

    def release_next(self) -> bool:
        """Take the next step; return False when none is left. The caller must have freed its own memory before."""
        if self.batch > 1:
            self.batch //= 2
            self.taken_steps.append(f"batch {self.batch}")
            return True
        while self._steps:
            step = self._steps.popleft()
            if _apply(step):
                self.taken_steps.append(step.name)
                return True
        if not self._tiles:
            return False
        self.tile = self._tiles.popleft()
        self.taken_steps.append(f"tile {self.tile}")
        return True


def device_budget(networks: OffloadsText) -> MemoryBudget:
    """Return the budget of one of several devices, with only those steps that do not change the bytes of tiles."""
    return MemoryBudget(0, (FallbackStep("text encoder on the CPU", networks.offload_text),))


def is_out_of_memory(reason: BaseException) -> bool:
    """Return whether an error means that memory ran out."""
    if isinstance(reason, MemoryError):
        return True
    return isinstance(reason, RuntimeError) and any(sign in str(reason).lower() for sign in SIGNS)


def _apply(step: FallbackStep) -> bool:
    try:
        return step.apply() is not False
    except (RuntimeError, MemoryError) as reason:
        if is_out_of_memory(reason):  # there was no room to make room
            return False
        raise
