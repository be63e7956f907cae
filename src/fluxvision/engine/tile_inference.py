"""Makes a few tiles of a picture: base, detail, consistency, mask, and the cut onto the result's pixels.

A tile depends on its `TileBatch` alone, so it may be made anywhere, in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fluxvision.engine import back_projection
from fluxvision.engine.backends.registry import Detailer, JointDetailer, TileInput, TileOrigin
from fluxvision.engine.resample import Array, band_matrix
from fluxvision.engine.tile_job import Samples, TileBatch, TileJob, TilePixels, as_rgb, to_floats
from fluxvision.engine.tiling import Axis, Span

__all__ = ["Samples", "Stop", "TileBatch", "TileJob", "make_batch", "make_tiles"]

Stop = Callable[[], None]
"""Called between steps; raises to end the work."""

BASE_ITERATIONS = 1
"""Back-projections of a tile without invented detail, few because the fidelity network is nearly consistent."""
FAITHFUL = 45.0
"""Least LR-PSNR in dB of a tile without invented detail."""
ORIENTATIONS = 8
"""The seed selects one of eight orientations for the detail network, each of which gives other details."""


@dataclass(slots=True)
class _Tile:
    """A tile at work: its pixels, and what was made of them so far."""

    pixels: TilePixels
    source: Array
    base: Array
    allowed: Array | None
    canvas: Array | None
    detail: Array | None = None
    """All the detail, where one run made it with the base."""
    fine: Array | None = None

    @property
    def down(self) -> Span:
        return self.pixels.down

    @property
    def across(self) -> Span:
        return self.pixels.across


def make_tiles(work: TileJob, backend: Detailer, numbers: Sequence[int], stop: Stop) -> list[Array]:
    """Make the tiles of these numbers: float32 (bands, span rows, span columns) each."""
    return make_batch(work.batch(numbers), backend, stop)


def make_batch(batch: TileBatch, backend: Detailer, stop: Stop) -> list[Array]:
    """Make the tiles of a batch: float32 (bands, span rows, span columns) each."""
    tiles = []
    for pixels in batch.tiles:
        stop()
        tiles.append(_begin(batch, pixels, backend))
    _imagine(batch, backend, [tile for tile in tiles if _wants_detail(batch, tile)], stop)
    return [_finish(batch, tile) for tile in tiles]


def _begin(batch: TileBatch, pixels: TilePixels, backend: Detailer) -> _Tile:
    source = as_rgb(pixels.color)
    canvas = None if pixels.canvas is None else as_rgb(pixels.canvas)
    allowed = None if pixels.mask is None else to_floats(pixels.mask[None])
    # Outside a mask the seed, and with it the orientation, changes nothing: such a tile's base is made by itself.
    if isinstance(backend, JointDetailer) and allowed is None and _effective_amount(batch) > 0:
        turned = backend.both(_turn(source, _orientation(batch)))
        base, detail = (_turn_back(made, _orientation(batch)) for made in turned)
        return _Tile(pixels, source, base, allowed, canvas, detail)
    return _Tile(pixels, source, backend.base(source), allowed, canvas)


def _orientation(batch: TileBatch) -> int:
    return 0 if batch.row.graded else batch.seed % ORIENTATIONS


def _effective_amount(batch: TileBatch) -> float:
    return float(batch.creativity > 0) if batch.row.graded else detail_amount(batch.creativity)


def detail_amount(creativity: float) -> float:
    """Return the share of the detail network in the blend.

    Smooth from 0 to 1; 0.3 gives 0.7, where LPIPS is near its best and PSNR still at the level of bicubic's.
    """
    return float(1 - (1 - creativity) ** 3.4)


def _wants_detail(batch: TileBatch, tile: _Tile) -> bool:
    """Return whether a tile gets any detail."""
    return _effective_amount(batch) > 0 and (tile.allowed is None or bool(tile.allowed.any()))


def _imagine(batch: TileBatch, backend: Detailer, tiles: Sequence[_Tile], stop: Stop) -> None:
    """Add detail to tiles, all in one call of the backend."""
    if not tiles:
        return
    stop()
    row = batch.row
    windows = [
        TileInput(
            _turn(tile.source, _orientation(batch)),
            tile.base,
            TileOrigin(tile.down.source * row.factor, tile.across.source * row.factor),
            tile.allowed,
            tile.canvas,
            tile.pixels.prompt,
        )
        for tile in tiles
        if tile.detail is None
    ]
    made = iter(backend.detail(windows) if windows else ())
    for tile in tiles:
        detail = _turn_back(next(made), _orientation(batch)) if tile.detail is None else tile.detail
        fine = back_projection.mix_detail(tile.base, detail, _effective_amount(batch))
        if row.fidelity is None:
            fine = back_projection.hold_to_source(
                fine, tile.source, row.factor, iterations=row.iterations, weight=row.consistency
            )
        tile.fine = fine


def _finish(batch: TileBatch, tile: _Tile) -> Array:
    """Correct what has no detail, limit detail to the mask, and resample the tile to the pixels of the result."""
    onto = partial(
        _cut_to_result,
        factor=batch.row.factor,
        vertical=(batch.rows, tile.down),
        horizontal=(batch.columns, tile.across),
    )
    found = onto(_hold(batch, tile)) if batch.row.fidelity is None else _correct(batch, tile, batch.row.fidelity)
    if tile.pixels.alpha is None:
        return found
    # A plain cubic: its overshoot is clipped away, where a network leaves ripples inside an edge.
    alpha = back_projection.enlarge(to_floats(tile.pixels.alpha[None]), batch.row.factor)
    return np.concatenate([found, onto(alpha)])


def _is_mixed(tile: _Tile) -> bool:
    """Return whether only a part of a tile has detail."""
    return tile.fine is not None and tile.allowed is not None and bool(tile.allowed.min() < 1)


def _hold(batch: TileBatch, tile: _Tile) -> Array:
    """Return the colours of a tile after the row's own number of back-projections, on the networks' pixels."""
    row, fine = batch.row, tile.fine
    if fine is None or _is_mixed(tile):
        base = back_projection.hold_to_source(
            tile.base, tile.source, row.factor, iterations=BASE_ITERATIONS, weight=row.consistency
        )
        if fine is None or tile.allowed is None:
            fine = base
        else:
            soft = np.clip(back_projection.enlarge(back_projection.feather_mask(tile.allowed), row.factor), 0, 1)
            fine = back_projection.mix_detail(base, fine, soft)
    return fine.mean(axis=0, keepdims=True) if tile.pixels.color.shape[2] == 1 else fine


def _correct(batch: TileBatch, tile: _Tile, fidelity: float) -> Array:
    """Return the colours of a tile's span on the pixels of the result, held to an LR-PSNR of `fidelity`.

    Outside the mask nothing but the faithful enlargement is held, as if no detail had been asked for.
    """
    rows, columns = (
        back_projection.axis_mapping(line, span)
        for line, span in ((batch.rows, tile.down), (batch.columns, tile.across))
    )
    seen = (
        slice(None),
        slice(rows.low - tile.down.source, rows.high - tile.down.source),
        slice(columns.low - tile.across.source, columns.high - tile.across.source),
    )
    is_grey = tile.pixels.color.shape[2] == 1
    source = tile.source[seen][:1] if is_grey else tile.source[seen]
    opaque = None
    alpha = tile.pixels.alpha
    if alpha is not None:
        opaque = (alpha == np.iinfo(alpha.dtype).max)[seen[1:]]
    scale = back_projection.Scale(rows.own(tile.down), columns.own(tile.across), opaque)
    peak = np.iinfo(tile.pixels.color.dtype).max

    def settled(image: Array, psnr: float, least: int, where: NDArray[np.bool_] | None = None) -> Array:
        error = back_projection.error_allowance(psnr, peak, rows, columns)
        most = batch.row.iterations
        return back_projection.correct_raster(
            image, source, rows, columns, scale, error=error, least=least, most=most, where=where
        )

    def window(image: Array) -> Array:
        flat = image.mean(axis=0, keepdims=True) if is_grey else image
        vertical = batch.rows, back_projection.whole_span(tile.down, rows)
        horizontal = batch.columns, back_projection.whole_span(tile.across, columns)
        return np.array(_cut_to_result(flat, batch.row.factor, vertical, horizontal), order="C")

    fine, where = tile.fine, None
    if fine is None or _is_mixed(tile):
        base = settled(window(tile.base), max(FAITHFUL, fidelity), BASE_ITERATIONS)
    if fine is None:
        made = base
    else:
        made = window(fine)
        if _is_mixed(tile) and tile.allowed is not None:
            soft = back_projection.enlarge_window(back_projection.feather_mask(tile.allowed[seen]), rows, columns)
            made = back_projection.mix_detail(base, made, np.clip(soft, 0, 1))
            where = soft > 0
        made = settled(made, fidelity, 0, where)
    first, left = tile.down.start - rows.first, tile.across.start - columns.first
    return made[:, first : first + tile.down.length, left : left + tile.across.length]


def _turn(image: Array, orientation: int) -> Array:
    turned = np.rot90(image, orientation % 4, axes=(1, 2))
    return np.ascontiguousarray(turned[:, :, ::-1] if orientation >= ORIENTATIONS // 2 else turned)


def _turn_back(image: Array, orientation: int) -> Array:
    straight = image[:, :, ::-1] if orientation >= ORIENTATIONS // 2 else image
    return np.ascontiguousarray(np.rot90(straight, -(orientation % 4), axes=(1, 2)))


def _cut_to_result(fine: Array, factor: int, vertical: tuple[Axis, Span], horizontal: tuple[Axis, Span]) -> Array:
    """Bring a fine tile onto the pixels of the result: a cut where they coincide, else an anti-aliased Lanczos."""
    for axis_number, (line, span) in ((1, vertical), (2, horizontal)):
        size = fine.shape[axis_number]
        if line.target == line.source * factor:
            first = span.start - span.source * factor
            cut = slice(first, first + span.length)
            fine = fine[:, cut] if axis_number == 1 else fine[:, :, cut]
            continue
        ratio = line.source / line.target
        start = (span.start * line.source / line.target - span.source) * factor
        matrix = band_matrix(size, ratio * factor, start=start, count=span.length, kernel="lanczos")
        fine = matrix.rows(fine) if axis_number == 1 else matrix.columns(fine)
    return fine
