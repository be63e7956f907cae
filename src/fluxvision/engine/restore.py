"""Takes noise, compression and slight blur out of a picture before it is enlarged, by a small network.

The network (`data/restore.param`, trained by `train/restore.py`) sees a picture and two conditions: how strong the
noise is and how strong the compression. It works at half resolution, so tiles begin at even pixels; each sees `HALO`
pixels beyond its own, as far as any of the network's outputs depends on an input, so tiles do not show.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import ncnn
import numpy as np

from fluxvision.core.images import SourceDamage
from fluxvision.core.system import CACHES
from fluxvision.engine.backends.ncnn import REUSE, Network
from fluxvision.engine.resample import Array
from fluxvision.engine.source_analysis import SourceAnalysis, analyse_source
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


def _do_nothing() -> None:
    """Do nothing before a tile."""


@cache
def load_restoration(threads: int = 1) -> RestorationNetwork:
    """Return the restoration network, loaded once; each tile uses `threads`."""
    return RestorationNetwork(threads)


@dataclass(frozen=True, slots=True)
class RestoredSource:
    """A source as it is enlarged, and what was measured of it before."""

    color: Samples
    damage: SourceDamage


def restore_source(
    color: Samples,
    jpeg_quality: int | None,
    strength: float,
    *,
    threads: int = 0,
    before_tile: Callable[[], None] = _do_nothing,
) -> RestoredSource:
    """Measure a source and remove its noise and compression; the same samples are returned where there is nothing.

    `color` and `before_tile` are those of `restore`, `jpeg_quality` that of `analyse_source`; `threads` 0 uses all
    cores.
    """
    analysis = analyse_source(color, jpeg_quality)
    threads = threads or os.cpu_count() or 1
    found = color
    if strength > 0 and not analysis.is_clean:
        network = load_restoration(max(1, threads // AT_ONCE))
        found = restore(color, analysis, strength, network, threads=threads, before_tile=before_tile)
        network.clear()  # the enlarging networks need the memory
    share = 0.0 if found is color else strength
    damage = SourceDamage(
        round(analysis.noise, 2), analysis.jpeg_quality, round(analysis.blur, 2), analysis.graphic, share
    )
    return RestoredSource(found, damage)


def restoration_memory(width: int, height: int) -> int:
    """Return the bytes that the tiles of a picture at work take at most."""
    side = TILE + 2 * HALO
    area = min(width + 2 * HALO, side) * min(height + 2 * HALO, side)
    at_once = AT_ONCE if max(width, height) > TILE else 1
    return at_once * TILE_MEMORY * 1_000_000 * area // side**2


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
