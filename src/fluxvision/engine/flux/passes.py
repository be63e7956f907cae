"""Plans in how many passes FLUX enlarges a picture, and the size and creativity of each."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Literal

Passes = Literal["auto", "1", "2"]

MOST = 4
BETWEEN = 2
"""Scale factor of the first of two passes."""
CALMER = 0.7
"""The second pass's creativity relative to the first's: it refines detail instead of inventing it again."""


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass of a picture through the network."""

    width: int
    """Of the result."""
    height: int
    factor: int
    """Scale factor of the tiles."""
    creativity: float
    stream: int = 0
    """Number of its noise field."""


def plan_passes(source: tuple[int, int], target: tuple[int, int], creativity: float, mode: Passes) -> tuple[Pass, ...]:
    """Return the passes from a picture of (width, height) to another of 1 to 4 times its size.

    "auto" makes two when the factor is 4, "2" when it is above 2. With creativity 0 there is always one.
    """
    (width, height), (wide, high) = source, target
    factor = min(MOST, ceil(max(wide / width, high / height)))
    last = Pass(wide, high, factor, creativity)
    least = {"auto": MOST, "1": MOST + 1, "2": BETWEEN + 1}[mode]
    if not creativity or factor < least:
        return (last,)
    first = Pass(width * BETWEEN, height * BETWEEN, BETWEEN, creativity)
    return first, Pass(wide, high, factor, creativity * CALMER, stream=1)
