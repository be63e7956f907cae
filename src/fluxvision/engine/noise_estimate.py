"""Estimates how strong the noise of a picture is from statistics of its blocks, by a small trained network.

Noise is measured in blocks of luma and of chroma by the mean absolute response of a Laplacian (J. Immerkær, "Fast
Noise Variance Estimation", 1996), at full size and at a half and a quarter of it, which coarse noise of phones and JPEG
answers to more. What these measures say of texture and what of noise is learned (`train/noise.py`) from percentiles
over the blocks: noise is everywhere and in chroma too, texture is in places and mostly in luma.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import pi, sqrt

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from fluxvision.core.errors import Unavailable
from fluxvision.core.system import resource_error
from fluxvision.engine.backends import weight_files
from fluxvision.engine.resample import Array

SIDE, STEP = 16, 8
"""Side of a block, and the distance of neighbouring ones, that of a JPEG's blocks."""
TO_YCC = np.array([[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]], np.float32)
GAUSSIAN = sqrt(pi / 2)
"""Standard deviation of a normal distribution over its mean absolute deviation."""
CLIPPED, CLIPPED_SHARE = 3, 0.05
"""Blocks with more samples than this share nearer to black or white show too little of the noise."""
FEW = 20
"""Fewer blocks than these say nothing about noise."""
PERCENTILES, RATIO_PERCENTILES, FLATTEST = (1, 5, 10, 25, 50, 75), (2, 10, 50, 90), 0.1
"""Of the measures, of ratios of measures, and the share of the blocks that are the flattest."""
MEASURES = 7
WHOLE, FINE, COARSE, COARSER, FINE_CHROMA, COARSE_CHROMA, _ = range(MEASURES)
"""The measures of a block: the deviation of luma, and those of the Laplacians."""
RATIOS = ((WHOLE, FINE), (COARSE, FINE), (COARSER, COARSE), (FINE_CHROMA, FINE), (COARSE_CHROMA, COARSE))
LEAST_DEVIATION = 0.25
"""Added to the measures before their logarithm is taken."""
FARTHEST = 5
"""Statistics are cut at so many of their deviations in training."""
OFFSET = 2
"""The network tells the logarithm of (noise + `OFFSET`) / (level + `OFFSET`); the level is what the Laplacian says of
the flattest blocks."""
BLOTCHY, LEVEL = 1.6, PERCENTILES.index(5)
"""Noise is blotchy where the Laplacian at half the size says so much more than that at full size, and no less than all
that varies in the flattest blocks."""
EQUAL = 0.5
"""Where more neighbours than this share are equal there is no noise: pixel art, screenshots."""
MOST = 1.1
"""Noise is at most so many times all that varies in the flattest blocks."""


def estimate_noise(windows: Sequence[Array], quality: int | None) -> tuple[float, bool]:
    """Return the standard deviation of the noise in luma, of 0..255, and whether it is coarse.

    `windows` are those of `noise_statistics`, `quality` that of the JPEG that the picture is or was.
    """
    found = noise_statistics(windows, quality)
    if found is None or _equal_share(windows) > EQUAL:
        return 0.0, False
    mean, deviation, *layers = _load_weights()
    values = np.clip((found - mean) / deviation, -FARTHEST, FARTHEST)
    for number, (kernel, bias) in enumerate(zip(layers[::2], layers[1::2], strict=True)):
        values = kernel @ (np.maximum(values, 0) if number else values) + bias
    fine, coarse = (found[measure * len(PERCENTILES) + LEVEL] for measure in (FINE, COARSE))
    flat_whole, flat_coarse = (_of_flattest(found, measure) for measure in (WHOLE, COARSE))
    most = MOST * (np.exp(flat_whole) - LEAST_DEVIATION)
    noise = min(np.exp(values[0] + level_of(found)) - OFFSET, most)
    blotchy = coarse - fine > np.log(BLOTCHY) and flat_whole < flat_coarse
    return max(0.0, float(noise)), bool(blotchy)


def _equal_share(windows: Sequence[Array]) -> float:
    """Return how many pixels that are not black or white equal their left neighbour."""
    equal = seen = 0
    for window in windows:
        right = window[:, 1:]
        inside = (right >= CLIPPED).any(axis=2) & (right <= 255 - CLIPPED).any(axis=2)
        equal += int(np.count_nonzero(inside & (right == window[:, :-1]).all(axis=2)))
        seen += int(np.count_nonzero(inside))
    return equal / max(1, seen)


@cache
def _load_weights() -> tuple[Array, ...]:
    """Return mean and deviation of the statistics, and kernel and bias of each layer.

    Raises `Unavailable` where the file is missing or damaged.
    """
    path = weight_files.OWN / "noise.npz"
    try:
        weight_files.verify(path)
        with np.load(path) as arrays:
            return tuple(arrays[name].astype(np.float32) for name in arrays.files)
    except (OSError, ValueError) as cause:
        message = "The engine cannot be used: the weights of its network noise are missing or damaged."
        raise resource_error(cause) or Unavailable(message, param="engine") from cause


def noise_statistics(windows: Sequence[Array], quality: int | None) -> Array | None:
    """Return what the network sees of a picture; None where it is too small or too much of it is black or white.

    Args:
        windows: (rows, columns, 1 or 3) each, sRGB in 0..255.
        quality: of the JPEG (1 to 100) that the picture is or was; None: no sign of one.
    """
    # Window by window: blocks overlap, and those of all windows would take hundreds of megabytes.
    parts = [_block_measures(window) for window in windows if min(window.shape[:2]) >= SIDE]
    measures = np.concatenate([np.empty((MEASURES, 0), np.float32), *parts], axis=1)
    count = measures.shape[1]
    if count < FEW:
        return None
    logs = np.log(measures + np.float32(LEAST_DEVIATION))
    flattest = np.argsort(logs[WHOLE], kind="stable")[: max(FEW // 2, int(count * FLATTEST))]
    ratios = np.stack([logs[one] - logs[other] for one, other in RATIOS])
    compression = 0.0 if quality is None else (100 - quality) / 100
    found = (
        np.percentile(logs, PERCENTILES, axis=1).T.ravel(),
        np.median(logs[:, flattest], axis=1),
        np.percentile(ratios, RATIO_PERCENTILES, axis=1).T.ravel(),
        (logs[FINE].std(), _correlation(logs[WHOLE], logs[FINE]), compression, quality is not None),
    )
    return np.concatenate(found).astype(np.float32)


def level_of(statistics: Array) -> Array:
    """Return the logarithm of what the Laplacian says of the flattest blocks + `OFFSET`, from statistics in rows."""
    return np.asarray(np.log(np.exp(_of_flattest(statistics, FINE)) + (OFFSET - LEAST_DEVIATION)))


def _of_flattest(statistics: Array, measure: int) -> Array:
    """Return the logarithm of a measure of the flattest blocks."""
    return np.asarray(statistics[..., MEASURES * len(PERCENTILES) + measure])


def _correlation(one: Array, other: Array) -> float:
    deviation = float(one.std() * other.std())
    return float(((one - one.mean()) * (other - other.mean())).mean()) / deviation if deviation > 0 else 1.0


def _block_measures(window: Array) -> Array:
    """Return the measures of a window's blocks that are not black or white: (measures, blocks)."""
    luma, *chroma = (_blocks(plane) for plane in _planes(window))
    clipped = ((luma < CLIPPED) | (luma > 255 - CLIPPED)).mean(axis=(1, 2))
    seen = clipped < CLIPPED_SHARE
    luma, *chroma = (blocks[seen] for blocks in (luma, *chroma))
    if not chroma:
        blue = red = np.zeros((3, len(luma)), np.float32)
    else:
        blue, red = map(_laplacian_deviations, chroma)
    both = np.sqrt((np.square(blue) + np.square(red)) / 2)
    return np.concatenate([_whole_deviation(luma)[None], _laplacian_deviations(luma), both])


def _planes(window: Array) -> Array:
    """Return luma, and chroma where there is any: (1 or 3, rows, columns)."""
    return window.transpose(2, 0, 1) if window.shape[2] == 1 else np.moveaxis(window @ TO_YCC.T, 2, 0)


def _blocks(plane: Array) -> Array:
    return sliding_window_view(plane, (SIDE, SIDE))[::STEP, ::STEP].reshape(-1, SIDE, SIDE)


def _laplacian_deviations(blocks: Array) -> Array:
    """Return the deviations of white noise of which the Laplacians speak, at full size, a half and a quarter of it."""
    found = []
    for scale in (1, 2, 4):  # white noise loses half of its deviation from one to the next
        side = SIDE // scale
        small = blocks.reshape(len(blocks), side, scale, side, scale).mean(axis=(2, 4)) if scale > 1 else blocks
        rows = small[:, :-2] - 2 * small[:, 1:-1] + small[:, 2:]
        response = rows[:, :, :-2] - 2 * rows[:, :, 1:-1] + rows[:, :, 2:]
        found.append(np.abs(response).mean(axis=(1, 2)) * (GAUSSIAN / 6 * scale))
    return np.stack(found).astype(np.float32)


def _whole_deviation(blocks: Array) -> Array:
    """Return the standard deviation of each block about the plane that fits it best."""
    side = blocks.shape[1]
    ramp = np.arange(side, dtype=np.float32) - (side - 1) / 2
    norm = float(np.square(ramp).sum()) * side
    across, down = np.tensordot(blocks.sum(axis=1), ramp, 1) / norm, np.tensordot(blocks.sum(axis=2), ramp, 1) / norm
    plane = across[:, None, None] * ramp + down[:, None, None] * ramp[:, None]
    return np.asarray((blocks - plane).std(axis=(1, 2)), np.float32)
