"""Extends the colour of visible pixels under the transparent ones, so that an enlargement has no fringe."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Samples: TypeAlias = NDArray[np.unsignedinteger[Any]]
"""Pixels as files have them: uint8 or uint16."""
Floats = NDArray[np.float32]

_STRIP = 64


def extended(colour: Samples, alpha: Samples) -> Samples:
    """Return colour (H, W, C) with new values where alpha (H, W) is 0, taken from the nearest visible pixels.

    Visible pixels keep their values. A picture with nothing or everything visible is returned as it is.
    """
    hidden = alpha == 0
    if not hidden.any() or hidden.all():
        return colour
    coarse = _filled(*_halved(colour, alpha))
    result = colour.copy()
    for top in range(0, colour.shape[0], _STRIP):
        rows = slice(top, min(top + _STRIP, colour.shape[0]))
        if hidden[rows].any():
            fresh = _enlarged(coarse, rows, colour.shape[1])
            fresh += 0.5
            np.copyto(result[rows], fresh.astype(colour.dtype), where=hidden[rows, :, None])
    return result


def _halved(colour: Samples | Floats, weight: Samples | Floats) -> tuple[Floats, Floats]:
    """Return the weighted mean colour of 2 x 2 blocks and the sum of their weights."""
    height, width = weight.shape
    size = ((height + 1) // 2, (width + 1) // 2)
    total, mass = np.zeros((*size, colour.shape[2]), np.float32), np.zeros(size, np.float32)
    for down in (0, 1):
        for across in (0, 1):
            part = weight[down::2, across::2].astype(np.float32)
            rows, columns = part.shape
            mass[:rows, :columns] += part
            total[:rows, :columns] += colour[down::2, across::2] * part[..., None]
    total /= np.maximum(mass, np.finfo(np.float32).tiny)[..., None]
    return total, mass


def _filled(colour: Floats, weight: Floats) -> Floats:
    """Return colour with every block of weight 0 taken from the next coarser level."""
    hidden = weight == 0
    if hidden.any():
        # Equal weights: a coarser block is the mean of what is visible in it, however faint that is.
        coarse = _filled(*_halved(colour, (~hidden).astype(np.float32)))
        np.copyto(colour, _enlarged(coarse, slice(0, colour.shape[0]), colour.shape[1]), where=hidden[..., None])
    return colour


def _enlarged(coarse: Floats, rows: slice, width: int) -> Floats:
    """Return the given rows of a coarse level at twice its size, between pixels by linear interpolation."""
    down, share_down = _neighbours(np.arange(rows.start, rows.stop), coarse.shape[0])
    across, share_across = _neighbours(np.arange(width), coarse.shape[1])
    tall = coarse[down[0]] * (1 - share_down)[:, None, None] + coarse[down[1]] * share_down[:, None, None]
    mixed = tall[:, across[0]] * (1 - share_across)[:, None] + tall[:, across[1]] * share_across[:, None]
    return mixed.astype(np.float32, copy=False)


def _neighbours(at: NDArray[np.intp], size: int) -> tuple[tuple[NDArray[np.intp], NDArray[np.intp]], Floats]:
    """Return the two coarse positions around each fine one and the share of the second."""
    first = (at - 1) // 2
    share = np.where(at % 2 == 0, 0.75, 0.25).astype(np.float32)
    return (np.clip(first, 0, size - 1), np.clip(first + 1, 0, size - 1)), share
