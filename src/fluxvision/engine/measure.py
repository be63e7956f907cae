"""How faithful a finished result is: measured on its final samples, in strips, against the input.

The result is reduced with the anti-aliased cubic to the input's size and compared with the input. Colour difference is
CIEDE2000 (G. Sharma, W. Wu, E. Dalal, 2005) on a regular grid of pixels, taking the samples as sRGB.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, floor, log10, sqrt

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from fluxvision.engine.pipeline import Result, Samples
from fluxvision.engine.resample import Array, band
from fluxvision.types import Fidelity, Raster

CAP = 99.0
"""LR-PSNR of an exact agreement, in dB."""
CHUNK = 4_000_000
"""Result pixels looked at in one go."""
GRID = 65_536
"""Most pixels on which the colour difference is computed."""


def measure(raster: Raster, source: Samples, result: Result) -> Fidelity:
    """Measure a finished raster against its source samples (rows, columns, 1 or 3)."""
    height, width, channels = source.shape
    error, count = 0.0, 0
    colours: list[tuple[Array, Array]] = []
    stride = max(1, round(sqrt(height * width / GRID)))
    with threadpool_limits(1, user_api="blas"):
        for low, first, fine in _chunks(raster, height, channels):
            fine_height = fine.shape[1]
            ratio = raster.height / height
            rows = min(height - low, _rows_per_chunk(raster))
            down = band(fine_height, ratio, start=low * ratio - first, count=rows)
            coarse = band(raster.width, raster.width / width, count=width).columns(down.rows(fine))
            wanted = source[low : low + rows].transpose(2, 0, 1).astype(np.float32) / _peak(raster)
            error += float(np.square(coarse - wanted, dtype=np.float32).sum(dtype=np.float64))
            count += coarse.size
            if channels > 1:
                offset = -low % stride
                colours.append((coarse[:, offset::stride, ::stride], wanted[:, offset::stride, ::stride]))
    mean = error / count
    psnr = min(CAP, -10 * log10(mean)) if mean > 0 else CAP
    seam_ratio = None if result.seam_ratio is None else round(result.seam_ratio, 4)
    return Fidelity(round(psnr, 2), seam_ratio, round(_delta_e(colours), 3))


def _peak(raster: Raster) -> np.float32:
    return np.float32(2**raster.bits - 1)


def _rows_per_chunk(raster: Raster) -> int:
    return max(16, CHUNK // raster.width // 4)


def _chunks(raster: Raster, height: int, channels: int) -> Iterator[tuple[int, int, Array]]:
    """Yield (first source row, first fine row, fine samples with the kernel's reach on both sides)."""
    ratio = raster.height / height
    reach = ceil(6 * max(ratio, 1.0)) + 2
    dtype = np.dtype(f"u{raster.bits // 8}")
    line = raster.width * raster.bands
    step = _rows_per_chunk(raster)
    with raster.path.open("rb") as file:
        for low in range(0, height, step):
            high = min(height, low + step)
            first = max(0, floor(low * ratio) - reach)
            last = min(raster.height, ceil(high * ratio) + reach)
            file.seek(first * line * dtype.itemsize)
            samples = np.fromfile(file, dtype, (last - first) * line).reshape(last - first, raster.width, raster.bands)
            yield low, first, samples[:, :, :channels].transpose(2, 0, 1).astype(np.float32) / _peak(raster)


def _delta_e(colours: list[tuple[Array, Array]]) -> float:
    if not colours:
        return 0.0
    ours = np.concatenate([pair[0].reshape(3, -1) for pair in colours], axis=1)
    wanted = np.concatenate([pair[1].reshape(3, -1) for pair in colours], axis=1)
    return float(ciede2000(lab(ours), lab(wanted)).mean())


def lab(rgb: NDArray[np.floating]) -> NDArray[np.float64]:
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
