"""Linear resampling along one axis as a banded matrix, applied in blocks of rows.

A matrix row holds the kernel's weights at one output pixel, normalised to a sum of one. Output pixel i has its centre
at (i + 0.5) * ratio - 0.5 in input coordinates; when reducing, the kernel is widened by the ratio (anti-aliasing), as
in Pillow and libvips. Kernels: cubic is Keys' with a = -0.5 (R. Keys, 1981), lanczos has three lobes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from fluxvision.core.system import cached_until_rest

Array = NDArray[np.float32]

BLOCK = 32
"""Output pixels per block. A block reads only the inputs that it needs: the work follows the band, not the matrix."""
CACHED_WEIGHTS = 131_072
"""Most weights of a matrix that is kept for the next tile. Those for whole lines of a picture are used once."""

LOBES = 3


@cache
def one_blas_thread() -> None:
    """Limit numpy's matrix products to one thread each, for the rest of the process.

    Tiles already use every core, and the sums keep one order. The limit is the process's own, so it is set once and
    never taken back: two jobs at the same time would undo each other's.
    """
    threadpool_limits(1, user_api="blas")


def _cubic_kernel(x: NDArray[np.float64]) -> NDArray[np.float64]:
    x = np.abs(x)
    inner = ((1.5 * x - 2.5) * x) * x + 1.0
    outer = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return np.where(x < 1, inner, np.where(x < 2, outer, 0.0))  # noqa: PLR2004, the kernel's own pieces


def _lanczos_kernel(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.abs(x) < LOBES, np.sinc(x) * np.sinc(x / LOBES), 0.0)


KERNELS: dict[str, tuple[Callable[[NDArray[np.float64]], NDArray[np.float64]], float]] = {
    "cubic": (_cubic_kernel, 2.0),
    "lanczos": (_lanczos_kernel, 3.0),
}
"""Kernel name → function and support in pixels on each side."""


@dataclass(frozen=True, slots=True)
class Band:
    """A resampling along one axis: blocks of (first input, matrix of outputs × inputs)."""

    blocks: tuple[tuple[int, Array], ...]
    length: int

    def rows(self, image: Array) -> Array:
        """Resample axis -2 of an array (…, rows, columns)."""
        out = np.empty((*image.shape[:-2], self.length, image.shape[-1]), np.float32)
        at = 0
        for first, matrix in self.blocks:
            taken = image[..., first : first + matrix.shape[1], :]
            np.matmul(matrix, taken, out=out[..., at : at + len(matrix), :])
            at += len(matrix)
        return out

    def add_rows(self, image: Array, target: Array) -> None:
        """Resample axis -2 and add the result to `target`, block by block."""
        at = 0
        for first, matrix in self.blocks:
            target[..., at : at + len(matrix), :] += np.matmul(matrix, image[..., first : first + matrix.shape[1], :])
            at += len(matrix)

    def add_part(self, part: Array, at: int, target: Array) -> None:
        """Resample axis -2 of the input rows that begin at `at`, and add what they contribute to `target`."""
        low = 0
        for first, matrix in self.blocks:
            begin, end = max(first, at), min(first + matrix.shape[1], at + part.shape[-2])
            if begin < end:
                weights = matrix[:, begin - first : end - first]
                target[..., low : low + len(matrix), :] += np.matmul(weights, part[..., begin - at : end - at, :])
            low += len(matrix)

    def columns(self, image: Array) -> Array:
        """Resample axis -1 of an array (…, rows, columns)."""
        out = np.empty((*image.shape[:-1], self.length), np.float32)
        at = 0
        for first, matrix in self.blocks:
            taken = image[..., first : first + matrix.shape[1]]
            np.matmul(taken, matrix.T, out=out[..., at : at + len(matrix)])
            at += len(matrix)
        return out


def band_matrix(length: int, ratio: float, *, start: float = 0.0, count: int, kernel: str = "cubic") -> Band:
    """Return the matrix that makes `count` output pixels from `length` input pixels.

    Args:
        length: input pixels; indices outside are clamped to the edge.
        ratio: input pixels per output pixel; above 1 reduces.
        start: input coordinate of the left edge of output pixel 0.
        count: output pixels.
        kernel: a name in `KERNELS`.
    """
    reach = KERNELS[kernel][1] * max(ratio, 1.0)
    cached = count * (2 * reach + BLOCK * ratio) <= CACHED_WEIGHTS
    return (_cached_band if cached else _build_band)(length, ratio, start, count, kernel)


def _build_band(length: int, ratio: float, start: float, count: int, kernel: str) -> Band:
    function, support = KERNELS[kernel]
    scale = max(ratio, 1.0)
    centres = (np.arange(count) + 0.5) * ratio + start - 0.5
    reach = support * scale
    blocks = []
    for low in range(0, count, BLOCK):
        part = centres[low : low + BLOCK]
        first, last = ceil(part[0] - reach), floor(part[-1] + reach)
        weights = function((np.arange(first, last + 1)[None, :] - part[:, None]) / scale)
        weights /= weights.sum(axis=1, keepdims=True)
        left, right = min(max(first, 0), length - 1), min(max(last, 0), length - 1)
        matrix = np.zeros((len(part), right - left + 1))
        inside = np.clip(np.arange(first, last + 1), left, right) - left
        for column, weight in zip(inside, weights.T, strict=True):  # clamped inputs share a column
            matrix[:, column] += weight
        blocks.append((left, np.ascontiguousarray(matrix, np.float32)))
    return Band(tuple(blocks), count)


_cached_band = cached_until_rest(128)(_build_band)
