"""Lays one finished picture over another by a map of weights, in one streaming pass."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyvips
from numpy.typing import NDArray

from fluxvision.core.errors import InternalError
from fluxvision.core.types import Raster, Watch
from fluxvision.imaging.alpha import Floats
from fluxvision.imaging.fitting import sized
from fluxvision.imaging.raster import INTERPRETATION, open_raster
from fluxvision.imaging.transform import deep
from fluxvision.imaging.vips import translated
from fluxvision.imaging.writing import writing

SHRINK = 2
"""Source pixels inside a mask's edge that stay as they are, so that its enlargement does not reach over the edge."""


def softened(mask: NDArray[np.uint8]) -> Floats:
    """Return weights from 0 to 1: 0 wherever the mask is 0, rising to the mask's own value over three pixels.

    Takes 16 bytes for each pixel at its peak.
    """
    weight = mask.astype(np.float32) / np.float32(255)
    for axis in (0, 1):
        least = weight.copy()
        for by in range(-SHRINK, SHRINK + 1):
            np.minimum(least, _moved(weight, by, axis), out=least)
        weight = least
    for axis in (0, 1):
        near = _moved(weight, -1, axis)
        near += _moved(weight, 1, axis)
        near *= np.float32(0.25)
        near += np.float32(0.5) * weight
        weight = near
    return weight


def _moved(weight: Floats, by: int, axis: int) -> Floats:
    """Return the neighbours so many pixels away; the border goes on outside."""
    size = weight.shape[axis]
    return weight.take(np.clip(np.arange(size) + by, 0, size - 1), axis)


def blended(under: Raster, over: Raster, weight: Floats, target: Path, watch: Watch | None = None) -> Raster:
    """Write a picture as a raw file: `under` where the weight is 0, `over` where it is 1, mixed between.

    Both have one size and the same colours; the weights, of any size, are enlarged smoothly. Alpha is that of `over`.
    The result has the bits of the deeper one, and is exactly `under` where the enlarged weight is 0.

    Raises `InternalError`, `Unavailable` where the disk is full, and `Cancelled` when the watch says so; `target` is
    gone after each.
    """
    with translated(InternalError("The finished pixels could not be blended.")), writing(target, watch):
        bits = max(under.bits, over.bits)
        low, high = deep(open_raster(under), bits), deep(open_raster(over), bits)
        shares = sized(pyvips.Image.new_from_array(weight), over.width, over.height, kernel="cubic").clamp()
        fresh = high.extract_band(0, n=under.bands)
        mixed = ((fresh - low) * shares + low + 0.5).cast(low.format)
        if over.bands > under.bands:
            mixed = mixed.bandjoin(high[over.bands - 1])
        mixed.copy(interpretation=INTERPRETATION[under.bands, bits]).rawsave(str(target))
    return Raster(target, over.width, over.height, over.bands, bits)
