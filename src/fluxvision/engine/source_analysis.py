"""Measures how a picture was damaged: its noise, the quality of a JPEG that it is or was, and its blur.

Noise is measured in blocks by the mean absolute response of a Laplacian (J. Immerkær, "Fast Noise Variance
Estimation", 1996), at full size and at half of it, which coarse noise of phones and JPEG answers to more. The blocks
with the least tell the level, and the homogeneous blocks tell noise from texture (S. Pyatykh and others, "Image Noise
Level Estimation by Principal Component Analysis", 2013): noise is everywhere and varies most between neighbours,
texture is in places and varies over a distance. Where that is in doubt a picture is taken to be clean.

A picture that was a JPEG has DCT coefficients at whole multiples of the quantisation steps (Z. Fan and R. de Queiroz,
"Identification of Bitmap Compression History", 2003).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, pi, sqrt

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from fluxvision.engine.jpeg_tables import BLOCK, COSINES, LUMA, quantisation_table
from fluxvision.engine.resample import Array
from fluxvision.engine.tile_job import Samples

WINDOW = 128
"""Side of the windows that are looked at, on a grid of `BLOCK` as a JPEG's blocks are."""
MOST_WINDOWS = 64
"""Windows that are looked at, spread evenly: 1 megapixel."""
SIDE = 16
"""Side of a block whose noise is measured; blocks begin every `BLOCK` pixels."""
WEIGHTS = np.array([0.299, 0.587, 0.114], np.float32)
GAUSSIAN = sqrt(pi / 2)
"""Standard deviation of a normal distribution over its mean absolute deviation."""
CLIPPED, CLIPPED_SHARE = 3, 0.05
"""Blocks with more samples than this share nearer to black or white show too little of the noise."""
FEW = 20
"""Fewer blocks than these say nothing about noise."""
LEAST, WIDE, FLATTEST = 5, 25, 0.1
"""Percentiles of the blocks with the least, which tell the level, and with a quarter; the share of the flattest."""
LEAST_DEVIATION = 0.05
WHITE_RATIO, COARSE_RATIO = 1.9, 1.33
"""Noise is white where 2 % of the blocks vary hardly more than the Laplacian says, coarse where the flattest vary
hardly more than the Laplacian at half the size says. Both are taken times how much more of it a quarter of the blocks
has than the least: texture is in some places and not in others."""
WHITE_RISE, COARSE_RISE = 0.05, 0.0125
"""How much the ratios rise with the level: the stronger it is, the less often is it texture."""
PATTERN_RATIO = 0.6
"""Below this it is a pattern: of noise the Laplacian does not say more than that."""
BLOTCHY = 1.6
"""Noise is blotchy where the Laplacian at half the size says so much more than that at full size."""
CLEAN_NOISE = 2.0
"""Noise below this is left in a picture."""
CLEAN_QUALITY = 95
"""JPEG above this quality is left as it is."""
LATTICE_FREQUENCIES = ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (1, 2), (2, 1), (2, 2), (0, 3), (3, 0))
LATTICE_STEPS = range(3, 60)
LATTICE_BLOCKS = 4096
"""Blocks that are looked at for signs of a JPEG."""
LATTICE_SCORE, LATTICE_COUNT, LATTICE_VOTES = 0.6, 24, 3
"""Coefficients lie on multiples of a step where the mean cosine of their distances is at least this; so many
coefficients not near 0 are needed, and so many frequencies that agree."""

EQUAL, FLAT_SHARE = 1.5, 0.4
"""Neighbours that differ by no more are equal; a flat graphic has at least this share of them."""
LARGE_STEP, LARGE_SHARE = 24, 0.25
"""At least this share of its other steps is larger than that: of 60 photographs with so many equal neighbours at most
0.17 was seen, of screenshots, also as JPEG, at least 0.29."""
EDGE, EDGE_HEIGHT, SHARPEST = 7, 40, 80
"""Pixels over which an edge rises, the least of its height in 0..255, and the percentile of the steepest."""


@dataclass(frozen=True, slots=True)
class SourceAnalysis:
    """How a picture was damaged."""

    noise: float
    """Standard deviation of the noise in luma, of 0..255; 0 where none was found."""
    blotchy: bool
    """Whether the noise is coarse: patches of 2 pixels and more."""
    jpeg_quality: int | None
    """Quality of the JPEG (1 to 100) that the picture is or was; None: no sign of one."""
    blur: float
    """Standard deviation in pixels of the Gaussian that the sharpest edges look blurred by."""
    graphic: bool = False
    """Whether it is a screenshot, text or another flat graphic, and no photograph."""

    @property
    def is_clean(self) -> bool:
        """Whether the picture is best left as it is."""
        return self.noise < CLEAN_NOISE and (self.jpeg_quality is None or self.jpeg_quality > CLEAN_QUALITY)


def analyse_source(pixels: Samples, jpeg_quality: int | None = None) -> SourceAnalysis:
    """Measure noise, compression and blur of a picture; the same picture always gives the same answer.

    Args:
        pixels: (rows, columns, 1 or 3), uint8 or uint16, sRGB.
        jpeg_quality: what the quantisation tables say, where the picture comes from a JPEG file.
    """
    windows = _luma_windows(pixels)
    noise, blotchy = _measure_noise(windows)
    if jpeg_quality is None and pixels.dtype == np.uint8:
        jpeg_quality = _measure_jpeg_quality(windows)
    return SourceAnalysis(noise, blotchy, jpeg_quality, _measure_blur(windows), _is_graphic(windows))


def _luma_windows(pixels: Samples) -> list[Array]:
    """Return luma in 0..255 of windows spread evenly over a picture, all of it where it is small."""
    height, width, bands = pixels.shape
    rows, columns = ceil(height / WINDOW), ceil(width / WINDOW)
    every = max(1, ceil(rows * columns / MOST_WINDOWS))
    windows = []
    for number in range(0, rows * columns, every):
        top, left = (WINDOW * place for place in divmod(number, columns))
        window = pixels[top : top + WINDOW, left : left + WINDOW].astype(np.float32)
        luma = window @ WEIGHTS if bands > 1 else window[:, :, 0]
        windows.append(luma * np.float32(255 / np.iinfo(pixels.dtype).max))
    return windows


def _blocks(windows: list[Array], side: int) -> Array:
    """Return the blocks of all windows that begin at multiples of `BLOCK`: (blocks, side, side)."""
    views = (sliding_window_view(window, (side, side)) for window in windows if min(window.shape) >= side)
    found = [view[::BLOCK, ::BLOCK].reshape(-1, side, side) for view in views]
    return np.concatenate([np.empty((0, side, side), np.float32), *found])


def _laplacian_deviation(blocks: Array) -> Array:
    """Return the standard deviation of each block's noise as Immerkær's mask sees it."""
    rows = blocks[:, :-2] - 2 * blocks[:, 1:-1] + blocks[:, 2:]
    response = rows[:, :, :-2] - 2 * rows[:, :, 1:-1] + rows[:, :, 2:]
    return np.asarray(np.abs(response).mean(axis=(1, 2)) * (GAUSSIAN / 6), np.float32)


def _whole_deviation(blocks: Array) -> Array:
    """Return the standard deviation of each block about the plane that fits it best."""
    side = blocks.shape[1]
    ramp = np.arange(side, dtype=np.float32) - (side - 1) / 2
    norm = float(np.square(ramp).sum()) * side
    across, down = np.tensordot(blocks.sum(axis=1), ramp, 1) / norm, np.tensordot(blocks.sum(axis=2), ramp, 1) / norm
    plane = across[:, None, None] * ramp + down[:, None, None] * ramp[:, None]
    return np.asarray((blocks - plane).std(axis=(1, 2)), np.float32)


def _block_deviations(window: Array) -> Array:
    """Return the deviations of a window's blocks: (3, blocks), in all, of fine noise and of coarse noise."""
    blocks = _blocks([window], SIDE)
    clipped = ((blocks < CLIPPED) | (blocks > 255 - CLIPPED)).mean(axis=(1, 2))
    blocks = blocks[clipped < CLIPPED_SHARE]
    half = blocks.reshape(len(blocks), SIDE // 2, 2, SIDE // 2, 2).mean(axis=(2, 4))
    coarse = 2 * _laplacian_deviation(half)  # white noise loses half of its deviation
    return np.stack([_whole_deviation(blocks), _laplacian_deviation(blocks), coarse]) + np.float32(LEAST_DEVIATION)


def _measure_noise(windows: list[Array]) -> tuple[float, bool]:
    """Return the standard deviation of the noise and whether it is coarse."""
    # Window by window: blocks overlap, and those of all windows would take a hundred megabytes.
    whole, fine, coarse = np.concatenate([_block_deviations(window) for window in windows], axis=1)
    if len(whole) < FEW:
        return 0.0, False
    flattest = np.argsort(whole, kind="stable")[: max(FEW // 2, int(len(whole) * FLATTEST))]
    (white, wide_white), (blotchy, wide_blotchy) = (np.percentile(part, [LEAST, WIDE]) for part in (fine, coarse))
    ratio = np.percentile(whole / fine, 2)
    is_white = ratio > PATTERN_RATIO and ratio * wide_white < (WHITE_RATIO + WHITE_RISE * white) * white
    is_coarse = np.median((whole / coarse)[flattest]) * wide_blotchy < (COARSE_RATIO + COARSE_RISE * blotchy) * blotchy
    if not (is_white or is_coarse):
        return 0.0, False
    is_blotchy = bool(is_coarse and blotchy > BLOTCHY * white)
    return float(min(blotchy, np.percentile(whole, LEAST)) if is_blotchy else white), is_blotchy


def _measure_jpeg_quality(windows: list[Array]) -> int | None:
    """Return the quality of the JPEG that the picture was, whose blocks begin at its top left corner."""
    blocks = _blocks(windows, BLOCK)
    blocks = blocks[:: max(1, len(blocks) // LATTICE_BLOCKS)]
    coefficients = np.abs(COSINES @ (blocks - 128) @ COSINES.T)
    found = []
    for row, column in LATTICE_FREQUENCIES:
        values = coefficients[:, row, column]
        for step in reversed(LATTICE_STEPS):
            large = values[values > step / 2]
            if len(large) >= LATTICE_COUNT and np.cos(2 * np.pi / step * large).mean() >= LATTICE_SCORE:
                found.append((row, column, step))
                break
    if len(found) < LATTICE_VOTES:
        return None
    tables = [quantisation_table(LUMA, quality) for quality in range(1, 101)]
    errors = [np.median([abs(np.log(step / table[row, column])) for row, column, step in found]) for table in tables]
    return int(np.flatnonzero(np.isclose(errors, min(errors))).mean()) + 1


def _is_graphic(windows: list[Array]) -> bool:
    """Return whether most neighbours are equal and many of the others differ much, as flat areas and edges do."""
    steps = np.abs(np.concatenate([np.empty(0, np.float32), *(np.diff(window, axis=1).ravel() for window in windows)]))
    others = steps[steps > EQUAL]
    if len(others) < FEW or len(others) > (1 - FLAT_SHARE) * len(steps):
        return False
    return bool(np.mean(others > LARGE_STEP) > LARGE_SHARE)


def _measure_blur(windows: list[Array]) -> float:
    """Return how blurred the sharpest edges look.

    An edge that a Gaussian blurred rises by 1 / (deviation * sqrt(2 pi)) of its height in its steepest pixel.
    """
    shares = [np.empty(0, np.float32)]
    for window in windows:
        for plane in (window, window.T):
            if plane.shape[1] > EDGE:
                steps = sliding_window_view(np.abs(np.diff(plane, axis=1)), EDGE, axis=1)
                heights = np.abs(plane[:, EDGE:] - plane[:, :-EDGE])
                middle = steps[:, :, EDGE // 2]
                is_edge = (heights > EDGE_HEIGHT) & (middle == steps.max(axis=2))
                shares.append(middle[is_edge] / heights[is_edge])
    steepest = np.concatenate(shares)
    if len(steepest) < LATTICE_COUNT:
        return 0.0
    share = min(1.0, float(np.percentile(steepest, SHARPEST)))
    return (1 / share - 1) / sqrt(2 * pi)
