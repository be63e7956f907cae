"""Iterative back-projection: corrects pixels of the result until, reduced again, they agree with the source.

A window is cut where the picture ends and lies on the pixels of the result; it is reduced as the finished picture will
be when its fidelity is measured. All arrays are float32 (channels, rows, columns).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, floor, sqrt

import numpy as np
from numpy.typing import NDArray

from fluxvision.engine.resample import Array, Band, band_matrix
from fluxvision.engine.tiling import Axis, Span

FEATHER_LEVELS = 2
"""À-trous levels of a mask's soft edge: three source pixels."""
WAVELET_LEVELS = 4
"""À-trous levels of the colour lock at source resolution; the low band changes over 2**4 source pixels or more."""


def shrink(fine: Array, factor: int) -> Array:
    """Shrink by a whole factor with an anti-aliased cubic, the assumed model of how the source was made."""
    _, rows, columns = fine.shape
    down = band_matrix(rows, float(factor), count=rows // factor)
    across = band_matrix(columns, float(factor), count=columns // factor)
    return across.columns(down.rows(fine))


def enlarge(coarse: Array, factor: int) -> Array:
    """Enlarge by a whole factor with a cubic."""
    down, across = _expansion_band(coarse, factor)
    return down.rows(across.columns(coarse))


def _expansion_band(coarse: Array, factor: int) -> tuple[Band, Band]:
    _, rows, columns = coarse.shape
    return band_matrix(rows, 1 / factor, count=rows * factor), band_matrix(columns, 1 / factor, count=columns * factor)


def low_band(coarse: Array, levels: int) -> Array:
    """Return the low wavelet band: B3-spline à-trous smoothing (Starck & Murtagh) over `levels` dyadic levels."""
    for level in range(levels):
        step = 2**level
        for axis in (1, 2):
            size = coarse.shape[axis]
            index = np.arange(size)
            left, right = np.clip(index - step, 0, size - 1), np.clip(index + step, 0, size - 1)
            coarse = 0.5 * coarse + 0.25 * (coarse.take(left, axis) + coarse.take(right, axis))
    return coarse


def feather_mask(mask: Array) -> Array:
    """Return a mask that rises from 0 at its edge to 1 a few source pixels inside, so that the edge is not visible."""
    return np.clip(2 * low_band(mask, FEATHER_LEVELS) - 1, 0, 1)


def hold_to_source(fine: Array, source: Array, factor: int, *, iterations: int, weight: float) -> Array:
    """Return `fine` corrected so that it shrinks to `source` again.

    Iterative back-projection (Irani & Peleg, 1991). The low band of the difference is the colour lock and is always
    corrected in full; the rest is corrected with `weight` (0 to 1), less for compressed sources, whose blocks a full
    correction would print back.
    """
    for _ in range(iterations):
        difference = source - shrink(fine, factor)
        if weight < 1:
            low = low_band(difference, WAVELET_LEVELS)
            difference = low + weight * (difference - low)
        down, across = _expansion_band(difference, factor)
        down.add_rows(across.columns(difference), fine)
    return fine


def mix_detail(base: Array, detail: Array, amount: float | Array) -> Array:
    """Blend detail into the base in place of `detail`; `amount` is 0 to 1, or a map of the fine rows and columns."""
    detail -= base
    detail *= amount
    detail += base
    return detail


SHARE = 0.8
"""Share of the allowed difference that one tile may use; the rest is reserved for blending with its neighbours."""
LEAST_SHARE = 0.2
"""Smallest share that remains for the tile after the rounding of its samples."""


@dataclass(frozen=True, slots=True)
class AxisMapping:
    """Where a window lies along one axis of `source` pixels that become `target`.

    It has the source's pixels `low` to `high` and the result's `first` to `last`.
    """

    source: int
    target: int
    low: int
    high: int
    first: int
    last: int

    @property
    def ratio(self) -> float:
        """Result pixels for each source pixel."""
        return self.target / self.source

    @property
    def reduction(self) -> Band:
        """From the result's pixels to the source's: the anti-aliased cubic of the measurement."""
        start = self.low * self.ratio - self.first
        return band_matrix(self.last - self.first, self.ratio, start=start, count=self.high - self.low)

    @property
    def expansion(self) -> Band:
        """From the source's pixels to the result's: a cubic."""
        start = self.first / self.ratio - self.low
        return band_matrix(self.high - self.low, 1 / self.ratio, start=start, count=self.last - self.first)

    def own(self, span: Span) -> slice:
        """Return the range of the window's source pixels that the tile's result covers."""
        ratio = Fraction(self.target, self.source)
        return slice(floor(span.start / ratio) - self.low, ceil(span.stop / ratio) - self.low)


def axis_mapping(line: Axis, span: Span) -> AxisMapping:
    """Return the mapping of the part of a tile's window that is inside the picture."""
    ratio = Fraction(line.target, line.source)
    low, high = max(0, span.source), min(line.source, span.source + line.window)
    return AxisMapping(line.source, line.target, low, high, ceil(low * ratio), floor(high * ratio))


def whole_span(span: Span, inside: AxisMapping) -> Span:
    """Return a tile's span as if its result covered all of its window inside the picture."""
    return replace(span, start=inside.first, stop=inside.last)


def shrink_window(fine: Array, rows: AxisMapping, columns: AxisMapping) -> Array:
    """Shrink a window of the result to the source's pixels."""
    return columns.reduction.columns(rows.reduction.rows(fine))


def enlarge_window(coarse: Array, rows: AxisMapping, columns: AxisMapping) -> Array:
    """Enlarge a window of the source to the result's pixels."""
    return rows.expansion.rows(columns.expansion.columns(coarse))


def error_allowance(psnr: float, peak: int, rows: AxisMapping, columns: AxisMapping) -> float:
    """Return the mean squared difference at which a tile is near enough to the source for an LR-PSNR of the picture.

    Samples are rounded to `peak` steps afterwards; the reduction averages most of that away.
    """
    wanted: float = 10 ** (-psnr / 10)
    rounding = _noise_gain(rows.reduction) * _noise_gain(columns.reduction) / (12 * peak**2)
    return max(SHARE * wanted - rounding, LEAST_SHARE * wanted)


def _noise_gain(reduction: Band) -> float:
    """Return the share of the variance of independent samples that remains after a reduction."""
    return sum(float(np.square(matrix).sum(dtype=np.float64)) for _, matrix in reduction.blocks) / reduction.length


NEARLY = 0.999
"""Share of an error at which a step aims, so that rounding does not make another step necessary."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The part of a window that is compared: source pixels in `rows` and `columns`, and which are `opaque`."""

    rows: slice
    columns: slice
    opaque: NDArray[np.bool_] | None = None

    def error(self, difference: Array) -> float:
        """Return the larger of two mean squared differences: of all pixels, and of the opaque ones."""
        squares = np.square(difference[:, self.rows, self.columns])
        found = float(squares.mean(dtype=np.float64))
        if self.opaque is not None:
            seen = squares[:, self.opaque[self.rows, self.columns]]
            found = max(found, float(seen.mean(dtype=np.float64)) if seen.size else 0.0)
        return found

    def share(self, difference: Array, change: Array, error: float) -> float:
        """Return the share of a step, 0 to 1, after which the error is `error`.

        The step takes `change` from the difference. Where it cannot reach the error, the share is the one that comes
        nearest to it, at most the whole step.
        """
        inside = difference[:, self.rows, self.columns], change[:, self.rows, self.columns]
        found = _step_share(*inside, error)
        if self.opaque is not None:
            opaque = self.opaque[self.rows, self.columns]
            found = max(found, _step_share(inside[0][:, opaque], inside[1][:, opaque], error))
        return found


def _step_share(difference: Array, change: Array, error: float) -> float:
    """Return the least share s of 0 to 1 with mean((difference - s * change)²) = `error`, or that of the minimum."""
    if not difference.size:
        return 0.0
    slope = float((difference * change).mean(dtype=np.float64))
    curve = float(np.square(change).mean(dtype=np.float64))
    above = float(np.square(difference).mean(dtype=np.float64)) - NEARLY * error
    if above <= 0 or slope <= 0:
        return 0.0
    root = slope**2 - curve * above
    return min(1.0, (slope - sqrt(max(root, 0.0))) / curve)


def correct_raster(
    fine: Array,
    source: Array,
    rows: AxisMapping,
    columns: AxisMapping,
    scale: Scale,
    *,
    error: float,
    least: int,
    most: int,
    where: NDArray[np.bool_] | None = None,
) -> Array:
    """Return a window of the result corrected until it shrinks to the source with a mean squared difference of `error`.

    Iterative back-projection (Irani & Peleg, 1991) between 0 and 1, `least` to `most` times; where it is not `where`,
    nothing changes. Of the last step only the share is added that `error` needs, so nothing comes nearer to the source
    than was asked for. Depends on its arguments alone. The array is used up.
    """
    np.clip(fine, 0, 1, out=fine)
    down, across = rows.expansion, columns.expansion
    for done in range(most + 1):
        difference = source - shrink_window(fine, rows, columns)
        if done >= least and (done == most or scale.error(difference) <= error):
            break
        step = down.rows(across.columns(difference))
        if where is not None:
            step *= where
        if done >= least:
            share = scale.share(difference, shrink_window(step, rows, columns), error)
            if share == 0:
                break
            step *= np.float32(share)
        fine += step
        np.clip(fine, 0, 1, out=fine)
    return fine
