"""Measures how faithful a finished result is to its source: LR-PSNR, CIEDE2000 and seam ratio, in strips.

The result is reduced with the anti-aliased cubic to the input's size and compared with the input. Colour difference is
CIEDE2000 (G. Sharma, W. Wu, E. Dalal, 2005) on a regular grid of pixels, taking the samples as sRGB.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, log10, sqrt

import numpy as np
from numpy.typing import NDArray

from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.images import Fidelity, RawImage
from fluxvision.engine.resample import Array, Band, band_matrix, one_blas_thread
from fluxvision.engine.tile_inference import Samples

CAP = 99.0
"""LR-PSNR in dB that is reported for an exact agreement."""
CHUNK = 1_000_000
"""Pixels of the result that are processed at a time."""
LEAST_ROWS = 16
"""Source rows compared in one go at least, where one go holds so many: neighbouring strips read some rows twice."""
EDGE = 2
"""Source pixels beside a cropped edge that are ignored, because their neighbours are missing."""
GRID = 65_536
"""Most pixels on which the colour difference is computed."""


@dataclass(frozen=True, slots=True)
class _SeamLine:
    """How one axis of a raster shows the enlarged picture: pixel x shows its pixel x + offset.

    `low` to `high` are the source pixels that are seen whole, `first` to `last` the raster pixels that show any.
    """

    source: int
    inner: int
    offset: int
    size: int

    @property
    def ratio(self) -> float:
        return self.inner / self.source

    @property
    def first(self) -> int:
        return max(0, -self.offset)

    @property
    def last(self) -> int:
        return min(self.size, self.inner - self.offset)

    @property
    def low(self) -> int:
        return max(0, ceil(self.offset / self.ratio) + EDGE) if self.offset > 0 else 0

    @property
    def high(self) -> int:
        end = self.last + self.offset
        return self.source if end >= self.inner else floor(end / self.ratio) - EDGE

    def band(self, low: int, high: int, first: int, length: int) -> Band:
        """Return the reduction to source pixels low to high of `length` raster pixels that begin at `first`."""
        return band_matrix(length, self.ratio, start=low * self.ratio - self.offset - first, count=high - low)


def measure_fidelity(
    raster: RawImage,
    color: Samples,
    *,
    alpha: Samples | None = None,
    inner: tuple[int, int] | None = None,
    offset: tuple[int, int] = (0, 0),
    seam_ratio: float | None = None,
    callbacks: JobCallbacks | None = None,
) -> Fidelity | None:
    """Measure a finished raster against its source (rows, columns, 1 or 3); None where they cannot be compared.

    `inner` is the (width, height) of the enlarged picture, the raster's where absent; `offset` (x, y) is where the
    raster's first pixel lies in it, positive for a crop and negative for a border. Where `alpha` is given, only opaque
    pixels count. A result that is smaller than its source is not compared.
    """
    inner = inner or (raster.width, raster.height)
    rows = _SeamLine(color.shape[0], inner[1], offset[1], raster.height)
    columns = _SeamLine(color.shape[1], inner[0], offset[0], raster.width)
    if min(rows.ratio, columns.ratio) < 1 or rows.high <= rows.low or columns.high <= columns.low:
        return None
    one_blas_thread()
    across = columns.band(columns.low, columns.high, columns.first, columns.last - columns.first)
    seen = slice(columns.low, columns.high)
    stride = max(1, round(sqrt(color.shape[0] * color.shape[1] / GRID)))
    error, count = 0.0, 0
    colours: list[tuple[Array, Array]] = []
    step = max(1, min(max(LEAST_ROWS, round(CHUNK / raster.width / rows.ratio)), CHUNK // raster.width))
    for low in range(rows.low, rows.high, step):
        high = min(rows.high, low + step)
        coarse = across.columns(_shrink_strip(raster, rows, columns, (low, high), callbacks))
        wanted = _to_floats(color[low:high, seen])
        if len(coarse) > len(wanted):  # grey, delivered in colour
            coarse = coarse.mean(axis=0, keepdims=True)
        count += wanted.size
        if alpha is not None:
            clear = alpha[low:high, seen] != np.iinfo(alpha.dtype).max
            coarse = np.where(clear, wanted, coarse)
            count -= int(clear.sum()) * len(wanted)
        error += float(np.square(coarse - wanted, dtype=np.float32).sum(dtype=np.float64))
        if len(wanted) > 1:
            start = -low % stride
            # Copies: a view would keep every chunk in memory.
            colours.append((coarse[:, start::stride, ::stride].copy(), wanted[:, start::stride, ::stride].copy()))
    mean = error / count if count else 0.0
    psnr = min(CAP, -10 * log10(mean)) if mean > 0 else CAP
    return Fidelity(round(psnr, 2), None if seam_ratio is None else round(seam_ratio, 4), round(_delta_e(colours), 3))


def _to_floats(samples: Samples) -> Array:
    return samples.transpose(2, 0, 1).astype(np.float32) / np.float32(np.iinfo(samples.dtype).max)


def _shrink_strip(
    raster: RawImage, rows: _SeamLine, columns: _SeamLine, strip: tuple[int, int], callbacks: JobCallbacks | None
) -> Array:
    """Return some source rows as the raster shows them, at its own width: (colours, rows, columns).

    The raster's rows that they depend on are read twice `CHUNK` pixels at a time, however many they are.
    """
    low, high = strip
    reach = ceil(2 * rows.ratio) + 2
    first = max(rows.first, floor(low * rows.ratio) - rows.offset - reach)
    last = min(rows.last, ceil(high * rows.ratio) - rows.offset + reach)
    down = rows.band(low, high, first, last - first)
    dtype = np.dtype(f"u{raster.bits // 8}")
    line = raster.width * raster.bands
    colours = raster.bands - (raster.bands in {2, 4})
    step = max(1, 2 * CHUNK // raster.width)
    reduced = np.zeros((colours, high - low, columns.last - columns.first), np.float32)
    with raster.path.open("rb") as file:
        file.seek(first * line * dtype.itemsize)
        for at in range(0, last - first, step):
            if callbacks is not None:
                callbacks.check_cancelled()
            count = min(step, last - first - at)
            samples = np.fromfile(file, dtype, count * line).reshape(count, raster.width, raster.bands)
            down.add_part(_to_floats(samples[:, columns.first : columns.last, :colours]), at, reduced)
    return reduced


def _delta_e(colours: list[tuple[Array, Array]]) -> float:
    if not colours:
        return 0.0
    ours = np.concatenate([pair[0].reshape(3, -1) for pair in colours], axis=1)
    wanted = np.concatenate([pair[1].reshape(3, -1) for pair in colours], axis=1)
    return float(ciede2000(to_lab(ours), to_lab(wanted)).mean())


def to_lab(rgb: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return CIELAB (D65) of sRGB values (3, n) in 0..1."""
    values = np.clip(rgb.astype(np.float64), 0, 1)
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)  # noqa: PLR2004
    matrix = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    )
    xyz = matrix @ linear / np.array([[0.95047], [1.0], [1.08883]])
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def ciede2000(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the CIEDE2000 difference of CIELAB colours (3, n), with all weights 1."""
    (l1, a1, b1), (l2, a2, b2) = first, second
    chroma = (np.hypot(a1, b1) + np.hypot(a2, b2)) / 2
    g = 0.5 * (1 - np.sqrt(chroma**7 / (chroma**7 + 25.0**7)))
    a1, a2 = a1 * (1 + g), a2 * (1 + g)
    c1, c2 = np.hypot(a1, b1), np.hypot(a2, b2)
    h1, h2 = np.degrees(np.arctan2(b1, a1)) % 360, np.degrees(np.arctan2(b2, a2)) % 360
    grey = c1 * c2 == 0
    turn = (h2 - h1 + 180) % 360 - 180
    delta_h = np.where(grey, 0, 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn / 2)))
    mean_h = np.where(grey, h1 + h2, (h1 + turn / 2) % 360)
    mean_l, mean_c = (l1 + l2) / 2, (c1 + c2) / 2
    t = (
        1
        - 0.17 * np.cos(np.radians(mean_h - 30))
        + 0.24 * np.cos(np.radians(2 * mean_h))
        + 0.32 * np.cos(np.radians(3 * mean_h + 6))
        - 0.20 * np.cos(np.radians(4 * mean_h - 63))
    )
    s_l = 1 + 0.015 * (mean_l - 50) ** 2 / np.sqrt(20 + (mean_l - 50) ** 2)
    s_c, s_h = 1 + 0.045 * mean_c, 1 + 0.015 * mean_c * t
    rotation = (
        -2 * np.sqrt(mean_c**7 / (mean_c**7 + 25.0**7)) * np.sin(np.radians(60 * np.exp(-(((mean_h - 275) / 25) ** 2))))
    )
    light, colour, hue = (l2 - l1) / s_l, (c2 - c1) / s_c, delta_h / s_h
    return np.asarray(np.sqrt(light**2 + colour**2 + hue**2 + rotation * colour * hue))
