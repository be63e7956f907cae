"""Takes noise, compression and slight blur out of a picture before it is enlarged, by a small network.

The network (`data/restore.param`, trained by `train/restore.py`) sees a picture and two conditions: how strong the
noise is and how strong the compression. It works at half resolution, so tiles begin at even pixels; each sees `HALO`
pixels beyond its own, as far as any of the network's outputs depends on an input, so tiles do not show.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import ncnn
import numpy as np

from fluxvision.core.system import CACHES
from fluxvision.engine.backends.ncnn import REUSE, Network
from fluxvision.engine.resample import Array
from fluxvision.engine.source_analysis import SourceAnalysis
from fluxvision.engine.tile_job import Samples, as_rgb
from fluxvision.engine.tiling import reflect_indices

HALO = 24
"""Pixels beyond a tile that it sees: 12 convolutions of 3 × 3 at half resolution."""
TILE = 400
"""Most rows and columns of a tile, without its halo; even."""
TILE_MEMORY = 170
"""Megabytes that one tile at work takes."""
AT_ONCE = 2
"""Most tiles at work at the same time."""
BEST_QUALITY = 100


class RestorationNetwork:
    """The restoration network, loaded once; safe for many threads."""

    def __init__(self, threads: int = 1) -> None:
        """Load the network; raises `Unavailable` where its files are missing or damaged."""
        self._pool = ncnn.PoolAllocator()
        self._pool.set_size_compare_ratio(REUSE)
        self._network = Network("restore", None, self._pool, threads)
        CACHES.add(self)

    def clear(self) -> None:
        """Free the buffers that no tile is using."""
        self._pool.clear()

    def run(self, window: Array, analysis: SourceAnalysis) -> Array:
        """Restore a window: float32 (3, rows, columns) in 0..1, of even sides."""
        compression = 0 if analysis.jpeg_quality is None else BEST_QUALITY - analysis.jpeg_quality
        condition = np.array([analysis.noise / 255, compression / BEST_QUALITY], np.float32)
        halves = (len(condition), window.shape[1] // 2, window.shape[2] // 2)
        return self._network.run(window, np.broadcast_to(condition[:, None, None], halves))


@cache
def load_restoration() -> RestorationNetwork:
    """Return the restoration network, loaded once."""
    return RestorationNetwork()


def _do_nothing() -> None:
    """Do nothing before a tile."""


def restore(
    pixels: Samples,
    analysis: SourceAnalysis,
    strength: float,
    network: RestorationNetwork,
    *,
    threads: int = 0,
    before_tile: Callable[[], None] = _do_nothing,
) -> Samples:
    """Return a picture with less noise and compression; the same object where there is nothing to take away.

    The bytes do not depend on `threads`. Memory beyond the result is that of `AT_ONCE` tiles.

    Args:
        pixels: (rows, columns, 1 or 3), uint8 or uint16.
        analysis: what `analyse_source` found.
        strength: share of the change that is taken, 0 to 1.
        network: the loaded network.
        threads: most tiles at work at the same time; 0 takes as many as there are cores, at most `AT_ONCE`.
        before_tile: called before each tile; raises to end the work.
    """
    if analysis.is_clean or strength <= 0:
        return pixels
    result = np.empty_like(pixels)
    peak = np.float32(np.iinfo(pixels.dtype).max)

    def make(origin: tuple[int, int]) -> None:
        before_tile()
        top, left = origin
        own = pixels[top : top + TILE, left : left + TILE]
        rows, columns = own.shape[:2]
        index = (
            reflect_indices(first - HALO, length + length % 2 + 2 * HALO, size)
            for first, length, size in zip(origin, (rows, columns), pixels.shape[:2], strict=True)
        )
        window = as_rgb(pixels[np.ix_(*index)])
        change = network.run(window, analysis) - window
        change = change[:, HALO : HALO + rows, HALO : HALO + columns].transpose(1, 2, 0)
        if pixels.shape[2] == 1:
            change = change.mean(axis=2, keepdims=True)
        made = own + change * (peak * np.float32(strength)) + np.float32(0.5)
        result[top : top + TILE, left : left + TILE] = np.clip(made, 0, peak)

    with ThreadPoolExecutor(min(threads or os.cpu_count() or 1, AT_ONCE)) as pool:
        for _ in pool.map(make, _origins(*pixels.shape[:2])):
            pass
    return result


def _origins(height: int, width: int) -> Iterator[tuple[int, int]]:
    """Yield where tiles begin: (row, column)."""
    yield from ((top, left) for top in range(0, height, TILE) for left in range(0, width, TILE))
