"""Plans where tiles lie along one axis, and their halos and overlaps. Pure.

A tile is a window of the source with a halo on every side. All windows of one axis have the same length, so that one
network shape serves the whole job; a window that leaves the picture is filled by reflection.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Span:
    """One tile along one axis.

    `source` is the first source pixel of the window (may be negative: reflection). `start` and `stop` bound the target
    pixels that the tile delivers, overlap included. `rise` and `fall` are the lengths of the cross-fades at its two
    ends, in target pixels, 0 at the picture's own edge.
    """

    source: int
    start: int
    stop: int
    rise: int
    fall: int

    @property
    def length(self) -> int:
        """Target pixels delivered."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Axis:
    """The tiling of one axis: `source` pixels become `target` pixels through windows of `window` source pixels."""

    source: int
    target: int
    window: int
    spans: tuple[Span, ...]

    @property
    def borders(self) -> tuple[int, ...]:
        """Return the target coordinates at which one tile hands over to the next: the middle of each cross-fade."""
        return tuple(span.start + span.rise // 2 for span in self.spans[1:])


def plan_axis(source: int, target: int, *, tile: int, halo: int, overlap: int) -> Axis:
    """Divide an axis of `source` pixels that becomes `target` pixels.

    Args:
        source: pixels of the source, at least 1.
        target: pixels of the result, at least 1.
        tile: most source pixels that one window may have, halo included.
        halo: source pixels on each side whose values a tile may see and not deliver.
        overlap: source pixels on each side of a border over which two tiles are cross-faded; at most `halo`.

    Raises:
        ValueError: when a window has no room for anything but its halo.
    """
    core = tile - 2 * halo
    if core < 1 or not 0 <= overlap <= halo:
        message = f"a tile of {tile} has no room for a halo of {halo} with overlap {overlap}"
        raise ValueError(message)
    count = ceil(source / core)
    ratio = Fraction(target, source)
    borders = [round(Fraction(target * index, count)) for index in range(count + 1)]
    # A tile's two fades do not meet, however small its core is.
    fade = min(floor(overlap * ratio), min(high - low for low, high in pairwise(borders)) // 2)
    bounds = [(max(0, low - fade), min(target, high + fade)) for low, high in pairwise(borders)]
    firsts = [floor(start / ratio) - (halo - overlap) for start, _ in bounds]
    lasts = [ceil(stop / ratio) + (halo - overlap) for _, stop in bounds]
    # Picture edges have the full halo: what lies beyond is reflection, and networks pad with zeros.
    firsts[0], lasts[-1] = -halo, source + halo
    window = max(last - first for first, last in zip(firsts, lasts, strict=True))
    # Shift rather than shrink: the last window ends where the picture's reflection does.
    firsts = [min(first, source + halo - window) if count > 1 else -halo for first in firsts]
    spans = tuple(
        Span(
            source=first,
            start=start,
            stop=stop,
            rise=2 * fade if index else 0,
            fall=2 * fade if index < count - 1 else 0,
        )
        for index, (first, (start, stop)) in enumerate(zip(firsts, bounds, strict=True))
    )
    return Axis(source, target, window, spans)


def reflect_indices(first: int, length: int, size: int) -> NDArray[np.intp]:
    """Return `length` pixel indices from `first` on, mirrored at the edges of `size` pixels (edge not repeated)."""
    if size == 1:
        return np.zeros(length, np.intp)
    period = 2 * (size - 1)
    index = np.abs(np.arange(first, first + length)) % period
    return np.where(index >= size, period - index, index).astype(np.intp)
