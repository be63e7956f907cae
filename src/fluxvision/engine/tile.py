"""What becomes of a few tiles of a picture: base, detail, consistency, mask, and the cut onto the result's pixels.

A tile depends on its `Work` and its number alone, so it may be made anywhere, in any order, by anyone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fluxvision.engine import back_projection
from fluxvision.engine.backends.registry import Backend, Detailer, TileInput, TileOrigin
from fluxvision.engine.resample import Array, band_matrix
from fluxvision.engine.tiling import Axis, Span, reflect_indices

Samples = NDArray[np.unsignedinteger]
Stop = Callable[[], None]
"""Called between steps; raises to end the work."""

BASE_ITERATIONS = 1
"""Back-projections of a tile without invented detail: the fidelity network is nearly consistent by itself."""
IMAGINED_ITERATIONS = 2
"""Back-projections of a tile with imagined detail, at least, where any are made: before that fine colours are off."""
FAITHFUL = 45.0
"""LR-PSNR in dB that a tile without invented detail is held to, whatever less is set for the others."""
ORIENTATIONS = 8
"""A seed turns or mirrors the picture for the detail network: eight honest versions of the same detail."""


@dataclass(frozen=True, slots=True)
class TileJob:
    """All of a job that its tiles depend on; it can be sent to another process.

    `color` is (rows, columns, 1 or 3), `alpha`, `mask` and `canvas` are None or arrays, as in the pipeline's request.
    `words` guide the tiles, one after the other, each its own; None: the backend has words for all.
    """

    color: Samples
    alpha: Samples | None
    mask: NDArray[np.uint8] | None
    creativity: float
    seed: int
    row: Backend
    rows: Axis
    columns: Axis
    canvas: Samples | None = None
    words: tuple[str, ...] | None = None

    @property
    def total(self) -> int:
        """Tiles in all."""
        return len(self.rows.spans) * len(self.columns.spans)

    @property
    def batches(self) -> tuple[range, ...]:
        """The numbers of the tiles that go through a network together: the same division wherever they are made."""
        size = self.row.batch
        return tuple(range(first, min(first + size, self.total)) for first in range(0, self.total, size))

    def spans(self, number: int) -> tuple[Span, Span]:
        """Return where a tile lies: numbers go along the rows, top to bottom."""
        down, across = divmod(number, len(self.columns.spans))
        return self.rows.spans[down], self.columns.spans[across]

    def source(self, number: int) -> Array:
        """Return a tile's window of the source as backends see it: float32 (3, rows, columns), 0..1."""
        return _as_rgb(self.color[self.window(number)])

    def is_protected(self, number: int) -> bool:
        """Tell whether no detail may be invented anywhere in a tile."""
        return self.mask is not None and not self.mask[self.window(number)].any()

    def window(self, number: int, *, of_canvas: bool = False) -> tuple[Any, ...]:
        """Return the index of a tile's window, mirrored beyond the edges: of the source, or of the canvas."""
        times = 1 if self.canvas is None or not of_canvas else self.canvas.shape[0] // self.rows.source
        return np.ix_(
            *(
                reflect_indices(span.source * times, line.window * times, line.source * times)
                for span, line in zip(self.spans(number), (self.rows, self.columns), strict=True)
            )
        )


@dataclass(slots=True)
class _Tile:
    """A tile at work: its place, its window of the source, and what was made of it so far."""

    words: str | None
    down: Span
    across: Span
    index: tuple[Any, ...]
    source: Array
    base: Array
    allowed: Array | None
    canvas: Array | None
    fine: Array | None = None


def make_tiles(work: TileJob, backend: Detailer, numbers: Sequence[int], stop: Stop) -> list[Array]:
    """Make the tiles of these numbers: float32 (bands, span rows, span columns) each."""
    tiles = []
    for number in numbers:
        stop()
        tiles.append(_begin(work, backend, number))
    _imagine(work, backend, [tile for tile in tiles if _wants_detail(work, tile)], stop)
    return [_finish(work, tile) for tile in tiles]


def _begin(work: TileJob, backend: Detailer, number: int) -> _Tile:
    down, across = work.spans(number)
    index = work.window(number)
    source = _as_rgb(work.color[index])
    words = None if work.words is None else work.words[number]
    canvas = None if work.canvas is None else _as_rgb(work.canvas[work.window(number, of_canvas=True)])
    allowed = None if work.mask is None else _to_floats(work.mask[index][None])
    return _Tile(words, down, across, index, source, backend.base(source), allowed, canvas)


def _effective_amount(work: TileJob) -> float:
    return float(work.creativity > 0) if work.row.graded else detail_amount(work.creativity)


def detail_amount(creativity: float) -> float:
    """Return the share of the detail network in the blend.

    Smooth from 0 to 1; 0.3 gives 0.7, where LPIPS is near its best and PSNR still at the level of bicubic's.
    """
    return float(1 - (1 - creativity) ** 3.4)


def _wants_detail(work: TileJob, tile: _Tile) -> bool:
    """Tell whether a tile gets any detail."""
    return _effective_amount(work) > 0 and (tile.allowed is None or bool(tile.allowed.any()))


def _imagine(work: TileJob, backend: Detailer, tiles: Sequence[_Tile], stop: Stop) -> None:
    """Give tiles their detail, all together."""
    if not tiles:
        return
    stop()
    row, orientation = work.row, 0 if work.row.graded else work.seed % ORIENTATIONS
    windows = [
        TileInput(
            _turn(tile.source, orientation),
            tile.base,
            TileOrigin(tile.down.source * row.factor, tile.across.source * row.factor),
            tile.allowed,
            tile.canvas,
            tile.words,
        )
        for tile in tiles
    ]
    for tile, made in zip(tiles, backend.detail(windows), strict=True):
        fine = back_projection.mix_detail(tile.base, _turn_back(made, orientation), _effective_amount(work))
        if row.fidelity is None:
            fine = back_projection.hold_to_source(
                fine, tile.source, row.factor, iterations=row.iterations, weight=row.consistency
            )
        tile.fine = fine


def _finish(work: TileJob, tile: _Tile) -> Array:
    """Hold what has no detail, keep detail within the mask, and bring the tile onto the pixels of the result."""
    onto = partial(
        _cut_to_result, factor=work.row.factor, vertical=(work.rows, tile.down), horizontal=(work.columns, tile.across)
    )
    found = onto(_hold(work, tile)) if work.row.fidelity is None else _correct(work, tile, work.row.fidelity)
    if work.alpha is None:
        return found
    # A plain cubic: its overshoot is clipped away, where a network leaves ripples inside an edge.
    alpha = back_projection.enlarge(_to_floats(work.alpha[tile.index][None]), work.row.factor)
    return np.concatenate([found, onto(alpha)])


def _is_mixed(tile: _Tile) -> bool:
    """Tell whether a tile has detail in a part of it only."""
    return tile.fine is not None and tile.allowed is not None and bool(tile.allowed.min() < 1)


def _hold(work: TileJob, tile: _Tile) -> Array:
    """Return the colours of a tile after the row's own number of back-projections, on the networks' pixels."""
    row, fine = work.row, tile.fine
    if fine is None or _is_mixed(tile):
        base = back_projection.hold_to_source(
            tile.base, tile.source, row.factor, iterations=BASE_ITERATIONS, weight=row.consistency
        )
        if fine is None or tile.allowed is None:
            fine = base
        else:
            soft = np.clip(back_projection.enlarge(back_projection.feather_mask(tile.allowed), row.factor), 0, 1)
            fine = back_projection.mix_detail(base, fine, soft)
    return fine.mean(axis=0, keepdims=True) if work.color.shape[2] == 1 else fine


def _correct(work: TileJob, tile: _Tile, fidelity: float) -> Array:
    """Return the colours of a tile's span on the pixels of the result, held to an LR-PSNR of `fidelity`.

    Outside the mask nothing but the faithful enlargement is held, as if no detail had been asked for.
    """
    rows, columns = (
        back_projection.axis_mapping(line, span) for line, span in ((work.rows, tile.down), (work.columns, tile.across))
    )
    seen = (
        slice(None),
        slice(rows.low - tile.down.source, rows.high - tile.down.source),
        slice(columns.low - tile.across.source, columns.high - tile.across.source),
    )
    is_grey = work.color.shape[2] == 1
    source = tile.source[seen][:1] if is_grey else tile.source[seen]
    opaque = None
    if work.alpha is not None:
        opaque = (work.alpha[tile.index] == np.iinfo(work.alpha.dtype).max)[seen[1:]]
    scale = back_projection.Scale(rows.own(tile.down), columns.own(tile.across), opaque)
    peak = np.iinfo(work.color.dtype).max

    def settled(image: Array, psnr: float, least: int, where: NDArray[np.bool_] | None = None) -> Array:
        error = back_projection.error_allowance(psnr, peak, rows, columns)
        most = work.row.iterations
        return back_projection.correct_raster(
            image, source, rows, columns, scale, error=error, least=least, most=most, where=where
        )

    def window(image: Array) -> Array:
        flat = image.mean(axis=0, keepdims=True) if is_grey else image
        vertical = work.rows, back_projection.whole_span(tile.down, rows)
        horizontal = work.columns, back_projection.whole_span(tile.across, columns)
        return np.array(_cut_to_result(flat, work.row.factor, vertical, horizontal), order="C")

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
        made = settled(made, fidelity, IMAGINED_ITERATIONS if fidelity else 0, where)
    first, left = tile.down.start - rows.first, tile.across.start - columns.first
    return made[:, first : first + tile.down.length, left : left + tile.across.length]


def _as_rgb(samples: Samples) -> Array:
    found = _to_floats(samples.transpose(2, 0, 1))
    return found if found.shape[0] > 1 else np.repeat(found, 3, axis=0)


def _to_floats(samples: NDArray[Any]) -> Array:
    return np.ascontiguousarray(samples, np.float32) / np.float32(np.iinfo(samples.dtype).max)


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
