"""MemoryBudget: the steps by which a FLUX job asks for less when a device runs out of memory.

Fewer tiles at once, then what lies beside the transformer, then its precision, at last the size of the tiles. A rung
that was taken stays taken: what did not fit once will not fit the next time. Importable without torch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

BATCH = 4
"""Tiles that go through the network together where they fit: from here on a large card is busy with each."""
SHARES = (0.75, 0.5)
"""The sides of smaller tiles, of the row's own: 768 and 512 of 1024 pixels."""
CELL = 16
"""Sides of tiles are multiples of it."""
SIGNS = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory", "alloc_failed")
"""How PyTorch, its allocators and the libraries beneath it say that memory ran out."""


class RetryWithSmallerTiles(Exception):
    """Tiles of this size do not fit: the picture is to be divided anew, by the room's new tile."""


@dataclass(frozen=True, slots=True)
class FallbackStep:
    """Something to give up: what is told of it, and how it is done. False returned: there was nothing to give."""

    name: str
    apply: Callable[[], bool | None]


class OffloadsText(Protocol):
    """Networks whose text encoder can be moved away."""

    def offload_text(self) -> bool:
        """Move it; return whether anything changed."""
        ...


class MemoryBudget:
    """What a device has room for: `batch` tiles of `tile` pixels per side, after `taken` was given up."""

    def __init__(self, tile: int, steps: Sequence[FallbackStep] = (), batch: int = BATCH) -> None:
        """Begin with everything; `rungs` are given up when one tile alone does not fit, before it becomes smaller."""
        self.tile, self.batch = tile, batch
        self.taken_steps: list[str] = []
        self._steps = deque(steps)
        sizes = {int(tile * share) // CELL * CELL for share in SHARES}
        self._tiles = deque(sorted(sizes - {0}, reverse=True))

    def release_next(self) -> bool:
        """Give up the next thing; False when there is nothing left. The caller has let go of what it held there."""
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
    """Return what one of several devices gives up by itself: nothing that changes a byte."""
    return MemoryBudget(0, (FallbackStep("text encoder on the CPU", networks.offload_text),))


def is_out_of_memory(reason: BaseException) -> bool:
    """Tell whether an error says that memory ran out."""
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
