"""Corrects a finished raster until its LR-PSNR against the source reaches a value, blend and rounding included.

Tiles are held to the source one by one. Where two of them are cross-faded, what each has imagined is joined, and what
was consistent in both may not be so in between. So the picture itself is measured, and where it misses the value, it is
corrected in its file, strip by strip. That depends on the finished picture alone, not on how its tiles were made.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

import numpy as np
from numpy.typing import NDArray

from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.images import RawImage
from fluxvision.engine import back_projection
from fluxvision.engine.back_projection import AxisMapping, enlarge_window, shrink_window
from fluxvision.engine.fidelity import measure_fidelity
from fluxvision.engine.resample import Array, one_blas_thread
from fluxvision.engine.tile_inference import Samples

MOST = 8
"""Most corrections of a finished picture."""
GAIN, LEAST_GAIN = 0.9, 0.05
"""Share of the difference that one whole correction is expected to take away at first, and at least."""
MARGIN = 0.1
"""Decibels above the value at which a correction aims, so that rounding does not make another one necessary."""
SHARES = 8
"""A correction adds a multiple of this part of the difference, so that rounded sums do not decide how much."""
CHUNK = 1_000_000
"""Pixels of the result that are corrected at a time."""
LEAST_ROWS = 16
"""Fewest source rows of a strip: more than one correction reaches."""
REACH = 3
"""Source pixels that an enlargement looks beyond a border."""
SOFT_REACH = REACH + 2**back_projection.FEATHER_LEVELS
"""The same with a mask's soft edge."""

PLASTIC = (0.7548776662466927, 0.5698402909980532)
"""Steps along rows and columns of a sequence that fills 0..1 evenly (the plastic number's inverse and its square)."""


def correct_fidelity(
    raster: RawImage,
    color: Samples,
    wanted: float,
    callbacks: JobCallbacks,
    *,
    alpha: Samples | None = None,
    mask: NDArray[np.uint8] | None = None,
    most: int = MOST,
) -> float:
    """Correct a finished raster, `most` times at most, until its LR-PSNR is `wanted` or grows no more; return it.

    Each correction adds only the share of the difference that `wanted` needs, as far as the one before can tell.
    `color` is (rows, columns, 1 or 3), the source; of `alpha` only opaque pixels are measured. Nothing changes where
    the `mask` allows no detail. Raises `Cancelled` between strips when `callbacks.cancel` is set.
    """
    one_blas_thread()
    before, found, gain = 0.0, _measure(raster, color, alpha, callbacks), GAIN
    for _ in range(most):
        if found >= wanted or found <= before:
            break
        share = min(1.0, ceil(SHARES * (1 - _amplitude(wanted + MARGIN - found)) / gain) / SHARES)
        _correct_once(raster, color, mask, callbacks, share)
        before, found = found, _measure(raster, color, alpha, callbacks)
        gain = max(LEAST_GAIN, (1 - _amplitude(found - before)) / share)
    return found


def _amplitude(decibels: float) -> float:
    """Return what is left of a difference that is so many dB smaller."""
    return float(10 ** (-decibels / 20))


def _measure(raster: RawImage, color: Samples, alpha: Samples | None, callbacks: JobCallbacks) -> float:
    found = measure_fidelity(raster, color, alpha=alpha, callbacks=callbacks)
    assert found is not None  # noqa: S101, a result is as large as its source at least
    return found.lr_psnr_db


def _correct_once(
    raster: RawImage, color: Samples, mask: NDArray[np.uint8] | None, callbacks: JobCallbacks, share: float
) -> None:
    """Add a share of the missing difference once, from top to bottom.

    A strip is written after the difference of the next one was computed, so no strip is compared after a part of it has
    changed.
    """
    shape = (raster.height, raster.width, raster.bands)
    pixels = np.memmap(raster.path, np.dtype(f"u{raster.bits // 8}"), "r+", shape=shape)
    fine = pixels[..., : color.shape[2]]
    before: Array | None = None
    now: tuple[int, Array] | None = None
    for low, difference in _difference_strips(fine, color, callbacks):
        following = low, difference * np.float32(share)
        if now is not None:
            _add_correction(fine, color, mask, now[0], (before, now[1], following[1]))
            before = now[1]
        now = following
    assert now is not None  # noqa: S101, a picture has rows
    _add_correction(fine, color, mask, now[0], (before, now[1], None))
    pixels.flush()


def _difference_strips(fine: Samples, color: Samples, callbacks: JobCallbacks) -> Iterator[tuple[int, Array]]:
    """Yield strips of the source less the reduced result, each with its first source row."""
    height, width = color.shape[:2]
    ratio = fine.shape[0] / height
    reach = ceil(2 * ratio) + 2
    across = AxisMapping(width, fine.shape[1], 0, width, 0, fine.shape[1])
    step = max(LEAST_ROWS, round(CHUNK / fine.shape[1] / ratio))
    for low in range(0, height, step):
        callbacks.check_cancelled()
        high = min(height, low + step)
        first, last = max(0, int(low * ratio) - reach), min(fine.shape[0], ceil(high * ratio) + reach)
        down = AxisMapping(height, fine.shape[0], low, high, first, last)
        yield low, _to_floats(color[low:high]) - shrink_window(_to_floats(fine[first:last]), down, across)


def _add_correction(
    fine: Samples,
    color: Samples,
    mask: NDArray[np.uint8] | None,
    low: int,
    strips: tuple[Array | None, Array, Array | None],
) -> None:
    """Correct the result's rows that belong to the middle one of three strips; it begins at source row `low`."""
    (height, width), (tall, wide) = color.shape[:2], fine.shape[:2]
    above, middle, below = strips
    high = low + middle.shape[1]
    parts = [middle] if above is None else [above[:, -REACH:], middle]
    top = low - (parts[0].shape[1] if above is not None else 0)
    parts += [] if below is None else [below[:, :REACH]]
    joined = np.concatenate(parts, axis=1)
    # A row belongs to the source row in which it begins.
    first, last = -(-low * tall // height), -(-high * tall // height)
    across = AxisMapping(width, wide, 0, width, 0, wide)
    more = enlarge_window(joined, AxisMapping(height, tall, top, top + joined.shape[1], first, last), across)
    if mask is not None:
        start, end = max(0, low - SOFT_REACH), min(height, high + SOFT_REACH)
        soft = back_projection.feather_mask(_to_floats(mask[start:end, :, None]))
        more *= enlarge_window(soft, AxisMapping(height, tall, start, end, first, last), across) > 0
    peak = np.iinfo(fine.dtype).max
    # Rounded to the nearest, corrections below half a step would all be lost: what is above the threshold goes up.
    threshold = (np.arange(first, last)[:, None, None] * PLASTIC[0] + np.arange(wide)[:, None] * PLASTIC[1]) % 1
    raised = np.floor(fine[first:last] + more.transpose(1, 2, 0) * peak + threshold)
    fine[first:last] = np.clip(raised, 0, peak).astype(fine.dtype)


def _to_floats(samples: Samples) -> Array:
    peak = np.float32(np.iinfo(samples.dtype).max)
    return np.ascontiguousarray(samples.transpose(2, 0, 1), np.float32) / peak
