"""What happens to one tile between the networks and the blend: admit detail, lock colour, hold consistency.

All arrays are float32 (3, rows, columns); a fine array has `factor` times the rows and columns of its coarse one.
"""

from __future__ import annotations

import numpy as np

from fluxvision.engine.resample import Array, Band, band

FEATHER_LEVELS = 2
"""À-trous levels of a mask's soft edge: three source pixels."""
WAVELET_LEVELS = 4
"""À-trous levels of the colour lock at source resolution; the low band changes over 2**4 source pixels or more."""


def reduce(fine: Array, factor: int) -> Array:
    """Shrink by a whole factor with an anti-aliased cubic: the model of how the source came from the result."""
    _, rows, columns = fine.shape
    down = band(rows, float(factor), count=rows // factor)
    across = band(columns, float(factor), count=columns // factor)
    return across.columns(down.rows(fine))


def expand(coarse: Array, factor: int) -> Array:
    """Enlarge by a whole factor with a cubic."""
    down, across = _expansion(coarse, factor)
    return down.rows(across.columns(coarse))


def _expansion(coarse: Array, factor: int) -> tuple[Band, Band]:
    _, rows, columns = coarse.shape
    return band(rows, 1 / factor, count=rows * factor), band(columns, 1 / factor, count=columns * factor)


def low_band(coarse: Array, levels: int) -> Array:
    """Return the low wavelet band: B3-spline à-trous smoothing (Starck & Murtagh) over `levels` dyadic levels."""
    for level in range(levels):
        step = 2**level
        for axis in (1, 2):
            size = coarse.shape[axis]
            index = np.arange(size)
            left, right = np.clip(index - step, 0, size - 1), np.clip(index + step, 0, size - 1)
            coarse = 0.5 * coarse + 0.25 * (coarse.take(left, axis) + coarse.take(right, axis))
    return coarse


def feather(mask: Array) -> Array:
    """Return a mask that rises from 0 at its edge to 1 a few source pixels inside, so that no line shows."""
    return np.clip(2 * low_band(mask, FEATHER_LEVELS) - 1, 0, 1)


def hold(fine: Array, source: Array, factor: int, *, iterations: int, weight: float) -> Array:
    """Return `fine` corrected so that it shrinks to `source` again.

    Iterative back-projection (Irani & Peleg, 1991). The low band of the difference is the colour lock and is always
    corrected in full; the rest is corrected with `weight` (0 to 1), less for compressed sources, whose blocks a full
    correction would print back.
    """
    for _ in range(iterations):
        difference = source - reduce(fine, factor)
        if weight < 1:
            low = low_band(difference, WAVELET_LEVELS)
            difference = low + weight * (difference - low)
        down, across = _expansion(difference, factor)
        down.add_rows(across.columns(difference), fine)
    return fine


def admit(base: Array, detail: Array, amount: float | Array) -> Array:
    """Blend detail into the base in place of `detail`; `amount` is 0 to 1, or a map of the fine rows and columns."""
    detail -= base
    detail *= amount
    detail += base
    return detail
