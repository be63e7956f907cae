"""Measures how a picture was damaged: its noise, the quality of a JPEG that it is or was, and its blur.

A picture that was a JPEG has DCT coefficients at whole multiples of the quantisation steps (Z. Fan and R. de Queiroz,
"Identification of Bitmap Compression History", 2003).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, pi, sqrt

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from fluxvision.engine.jpeg_tables import BLOCK, COSINES, LUMA, quantisation_table
from fluxvision.engine.noise_estimate import estimate_noise
from fluxvision.engine.resample import Array
from fluxvision.engine.tile_job import Samples

WINDOW = 128
"""Side of the windows that are looked at, on a grid of `BLOCK` as a JPEG's blocks are."""
MOST_WINDOWS = 64
"""Windows that are looked at, spread evenly: 1 megapixel."""
WEIGHTS = np.array([0.299, 0.587, 0.114], np.float32)
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

EQUAL, FLAT_SHARE, LEAST_STEPS = 1.5, 0.4, 20
"""Neighbours that differ by no more are equal; a flat graphic has at least this share of them, and
so many others."""
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
    colors = analysed_windows(pixels)
    windows = [window @ WEIGHTS if window.shape[2] > 1 else window[:, :, 0] for window in colors]
    if jpeg_quality is None and pixels.dtype == np.uint8:
        jpeg_quality = _measure_jpeg_quality(windows)
    noise, blotchy = estimate_noise(colors, jpeg_quality)
    if noise < CLEAN_NOISE:
        noise, blotchy = 0.0, False
    return SourceAnalysis(noise, blotchy, jpeg_quality, _measure_blur(windows), _is_graphic(windows))


def analysed_windows(pixels: Samples) -> list[Array]:
    """Return windows spread evenly over a picture, all of it where it is small: float32, 0..255."""
    height, width, _ = pixels.shape
    rows, columns = ceil(height / WINDOW), ceil(width / WINDOW)
    every = max(1, ceil(rows * columns / MOST_WINDOWS))
    windows = []
    for number in range(0, rows * columns, every):
        top, left = (WINDOW * place for place in divmod(number, columns))
        window = pixels[top : top + WINDOW, left : left + WINDOW].astype(np.float32)
        windows.append(window * np.float32(255 / np.iinfo(pixels.dtype).max))
    return windows


def _blocks(windows: list[Array], side: int) -> Array:
    """Return the blocks of all windows that begin at multiples of `BLOCK`: (blocks, side, side)."""
    views = (sliding_window_view(window, (side, side)) for window in windows if min(window.shape) >= side)
    found = [view[::BLOCK, ::BLOCK].reshape(-1, side, side) for view in views]
    return np.concatenate([np.empty((0, side, side), np.float32), *found])


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
    if len(others) < LEAST_STEPS or len(others) > (1 - FLAT_SHARE) * len(steps):
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
