"""Blends tiles into strips of the result: two bands, cross-faded, accumulated in index order.

Two bands: what is smooth fades over the whole overlap, what is fine over its middle quarter, so neither a step nor a
double texture shows (P. Burt & E. Adelson, 1983). Only overlaps are touched; a tile's inside goes out as it is. The
order of additions is that of the tile index, so the bytes do not depend on which tile was ready first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fluxvision.core.system import cached_until_rest
from fluxvision.engine.resample import Array
from fluxvision.engine.tiling import Axis, Span

Strip = NDArray[np.unsignedinteger]
FINE_SHARE = 0.25
"""Share of the overlap over which the fine band is cross-faded."""
UNSEEN = 0.05 / 255
"""An invisible gradient per pixel, added so that the seam ratio of a flat picture is 1."""


ROWS = 32
"""Rows that are rounded at a time."""


@dataclass(slots=True)
class _Seams:
    """Sums of absolute gradients in the overlaps: of the blended picture, and of each tile alone."""

    joined: float = 0.0
    alone: float = 0.0
    samples: float = 0.0


def gradient(image: Array, axis: int) -> float:
    """Return the sum of absolute differences between neighbours along one axis."""
    return float(np.abs(np.diff(image, axis=axis)).sum(dtype=np.float64))


def ramp_weights(length: int, share: float) -> Array:
    """Return rising weights over `length` pixels, raised cosine over the middle `share`; mirrored the rest to 1."""
    position = (np.arange(length) + 0.5) / length
    position = np.clip((position - 0.5) / share + 0.5, 0.0, 1.0)
    return (0.5 - 0.5 * np.cos(np.pi * position)).astype(np.float32)


@cached_until_rest(64)
def weights_of(length: int, *, rising: bool) -> Array:
    """Return the weights of an overlap: the box average by the wide ramp, the difference from it by the narrow one.

    With the matrix of the opposite direction it sums to the identity.
    """
    wide, narrow = ramp_weights(length, 1.0), ramp_weights(length, FINE_SHARE)
    if not rising:
        wide, narrow = wide[::-1], narrow[::-1]
    reach = length // 4
    average = np.zeros((length, length), np.float32)
    near = np.clip(np.arange(length)[:, None] + np.arange(-reach, reach + 1), 0, length - 1)
    np.add.at(average, (np.arange(length)[:, None], near), np.float32(1 / (2 * reach + 1)))
    return np.diag(narrow) + (wide - narrow)[:, None] * average


def fade_border(tile: Array, axis: int, span: Span) -> None:
    """Multiply a tile's overlaps along one axis in place by the ramp of each band."""
    for length, rising in ((span.rise, True), (span.fall, False)):
        if length:
            edge = _end_weight(tile, axis, length, first=rising)
            matrix = weights_of(length, rising=rising)
            edge[...] = np.matmul(matrix, edge) if axis == tile.ndim - 2 else np.matmul(edge, matrix.T)


def _end_weight(tile: Array, axis: int, length: int, *, first: bool) -> Array:
    """Return a view of a tile's first or last pixels along an axis."""
    where = [slice(None)] * tile.ndim
    where[axis] = slice(0, length) if first else slice(tile.shape[axis] - length, None)
    return tile[tuple(where)]


class Blender:
    """Takes tiles in index order (rows of tiles, left to right) and emits finished strips."""

    def __init__(self, rows: Axis, columns: Axis, bands: int, bits: int, emit: Callable[[Strip], None]) -> None:
        """Start a result of `bits` per sample; `emit` gets each strip (rows, width, bands), from top to bottom."""
        self._rows, self._columns, self._bands, self._emit = rows, columns, bands, emit
        self._peak = 2**bits - 1
        self._dtype = np.dtype(f"u{bits // 8}")
        self._next = 0
        self._seams = _Seams()
        self._right: Array | None = None
        self._above: Array | None = None
        self._below: Array | None = None
        self._strip: Strip | None = None

    def add(self, tile: Array) -> None:
        """Add the next tile: float32 (bands, rows, columns) of exactly its spans' lengths. The array is used up."""
        row, column = divmod(self._next, len(self._columns.spans))
        down, across = self._rows.spans[row], self._columns.spans[column]
        self._next += 1
        if column == 0:
            self._start_row(down)
        self._look_at_edges(tile, 2, across)
        fade_border(tile, 2, across)
        if across.rise and self._right is not None:
            tile[:, :, : across.rise] += self._right
            self._seams.joined += gradient(tile[:, :, : across.rise], 2)
        self._right = tile[:, :, tile.shape[2] - across.fall :].copy() if across.fall else None
        tile = tile[:, :, : tile.shape[2] - across.fall]
        left, right = across.start, across.start + tile.shape[2]
        self._look_at_edges(tile, 1, down)
        fade_border(tile, 1, down)
        if down.rise and self._above is not None:
            tile[:, : down.rise] += self._above[:, :, left:right]
            self._seams.joined += gradient(tile[:, : down.rise], 1)
        if down.fall and self._below is not None:
            self._below[:, :, left:right] = tile[:, tile.shape[1] - down.fall :]
            tile = tile[:, : tile.shape[1] - down.fall]
        if self._strip is not None:
            self._quantise(tile, self._strip[:, left:right])
            if column == len(self._columns.spans) - 1:
                self._emit(self._strip)
                self._strip = None

    @property
    def seam_ratio(self) -> float | None:
        """The gradient across borders over the one that each tile alone has at the same place; None without borders.

        1 means that no border can be seen: above, tiles meet in a step; below, textures cancel each other out.
        """
        if not self._seams.samples:
            return None
        floor = UNSEEN * self._seams.samples
        return (self._seams.joined + floor) / (self._seams.alone + floor)

    def _look_at_edges(self, tile: Array, axis: int, span: Span) -> None:
        for length, rising in ((span.rise, True), (span.fall, False)):
            if length:
                edge = _end_weight(tile, axis, length, first=rising)
                self._seams.alone += gradient(edge, axis) / 2
                self._seams.samples += edge.size / 2

    def _start_row(self, down: Span) -> None:
        self._above = self._below
        width = self._columns.target
        self._below = np.empty((self._bands, down.fall, width), np.float32) if down.fall else None
        self._strip = np.empty((down.length - down.fall, width, self._bands), self._dtype)

    def _quantise(self, tile: Array, target: Strip) -> None:
        """Round a tile into its place, a few rows at a time, so that they stay in the processor's cache."""
        for low in range(0, tile.shape[1], ROWS):
            part = tile[:, low : low + ROWS] * np.float32(self._peak)
            part += np.float32(0.5)
            np.clip(part, 0, self._peak, out=part)
            samples = part.astype(self._dtype)
            for band in range(self._bands):
                target[low : low + ROWS, :, band] = samples[band]
