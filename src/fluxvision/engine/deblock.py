"""Removes JPEG blocks before the networks sharpen them, by the picture's quantisation tables.

Re-application of JPEG (A. Nosratinia, "Enhancement of JPEG-compressed images by re-application of JPEG", 2001): the
picture is quantised again on shifted block grids and the results are averaged. `STRENGTH` of the change is taken, less
for finer quantisation. Call it once on the whole decoded picture, before EXIF orientation or cropping moves the grid
where that is possible; any other order only makes it a little weaker. The result becomes the source of the
enlargement; fidelity is still measured against the picture as it came.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fluxvision.engine.resample import Array, one_blas_thread
from fluxvision.engine.tiling import reflect_indices

Bytes = NDArray[np.uint8]

BLOCK = 8
STRIP = 8 * BLOCK
"""Rows processed at a time; a multiple of the block, so that strips do not shift the grid."""
SHIFTS = (
    *((0, 0), (4, 4), (4, 0), (0, 4), (2, 2), (6, 6), (6, 2), (2, 6)),
    *((1, 5), (5, 1), (1, 1), (5, 5), (3, 7), (7, 3), (3, 3), (7, 7)),
)
"""Grid offsets (rows, columns): 16 of the 64, spread evenly, within 0.1 dB of all of them."""
STRENGTH = 0.6
"""Share of the change that is applied: all of it loses texture (LPIPS), a third leaves blocks (PSNR)."""
FULL, EASE = 75, 0.01
"""Quality up to which the full strength applies, and the decrease per step of quality above it."""
FINE = 97
"""Quality above which the picture is not changed, because its quantisation is invisible."""

# ITU-T T.81 annex K, which libjpeg scales by quality.
# fmt: off
LUMA = np.array([
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
]).reshape(BLOCK, BLOCK)
CHROMA = np.array([
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99,
    24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99,
    *[99] * 32,
]).reshape(BLOCK, BLOCK)
# fmt: on
YCC = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
MIDDLE = 128
"""JPEG's level shift; grey has no chroma, so taking it from R, G and B takes it from luma alone."""
_FREQUENCY, _SAMPLE = np.mgrid[:BLOCK, :BLOCK]
COSINES = np.ascontiguousarray(
    np.sqrt(np.where(_FREQUENCY, 2, 1) / BLOCK) * np.cos((2 * _SAMPLE + 1) * _FREQUENCY * np.pi / (2 * BLOCK)),
    np.float32,
)
"""The orthonormal DCT-II; rows are frequencies."""


def quantisation_table(standard: NDArray[np.int_], quality: int) -> Array:
    """Return libjpeg's quantisation table of a quality from 1 to 100."""
    middle = 50
    percent = 5000 // quality if quality < middle else 200 - 2 * quality
    return np.clip((standard * percent + 50) // 100, 1, 255).astype(np.float32)


def deblock_strength(quality: int) -> float:
    """Return the share of the change for a quality; 0 when the picture is not changed."""
    return 0.0 if quality > FINE else STRENGTH - EASE * max(0, quality - FULL)


def deblock(color: Bytes, quality: int) -> Bytes:
    """Return (rows, columns, 1 or 3) samples with less of the compression of a JPEG `quality` (1 to 100) in them.

    The same input gives the same bytes on any number of cores, and memory beyond the result is that of a few strips.
    """
    share = np.float32(deblock_strength(quality))
    if not share:
        return color
    height = color.shape[0]
    result = np.empty_like(color)
    one_blas_thread()
    for low, strip in _read_strips(color):
        high = min(height, low + STRIP)
        own = color[low:high].astype(np.float32)
        own += share * _block_change(strip, quality, color.shape[1])[: high - low]
        own += np.float32(0.5)
        result[low:high] = np.clip(own, 0, 255, out=own)
    return result


def _read_strips(color: Bytes) -> Iterator[tuple[int, Bytes]]:
    """Yield (first row, rows of the strip with a block of reflection or neighbours on all four sides)."""
    height, width = color.shape[:2]
    across = reflect_indices(-BLOCK, -(-width // BLOCK) * BLOCK + 2 * BLOCK, width)
    for low in range(0, height, STRIP):
        yield low, color[np.ix_(reflect_indices(low - BLOCK, STRIP + 2 * BLOCK, height), across)]


def _block_change(strip: Bytes, quality: int, width: int) -> Array:
    """Return what the averaged re-quantisation adds to the strip's own samples: (rows, width, channels)."""
    if strip.shape[2] == 1:
        return _deblock_plane(strip[:, :, 0] - np.float32(MIDDLE), quantisation_table(LUMA, quality), width)[:, :, None]
    planes = np.tensordot(YCC.astype(np.float32), strip - np.float32(MIDDLE), axes=(1, 2))
    steps = quantisation_table(LUMA, quality), quantisation_table(CHROMA, quality), quantisation_table(CHROMA, quality)
    changes = np.stack([_deblock_plane(plane, step, width) for plane, step in zip(planes, steps, strict=True)])
    return np.ascontiguousarray(np.tensordot(changes, np.linalg.inv(YCC).astype(np.float32), axes=(0, 1)))


def _deblock_plane(plane: Array, step: Array, width: int) -> Array:
    """Return the mean, over shifted grids, of a plane's re-quantised values less the values themselves."""
    rows, columns = plane.shape[0] - BLOCK, plane.shape[1] - BLOCK
    total = np.zeros((rows - BLOCK, width), np.float32)
    steps = np.ascontiguousarray(np.broadcast_to(step[:, None, :], (BLOCK, columns // BLOCK, BLOCK)))
    for down, right in SHIFTS:
        window = plane[BLOCK - down : BLOCK - down + rows, BLOCK - right : BLOCK - right + columns]
        blocks = np.matmul(COSINES, window.reshape(-1, BLOCK, columns))
        blocks = (blocks.reshape(-1, BLOCK) @ COSINES.T).reshape(-1, BLOCK, columns // BLOCK, BLOCK)
        blocks /= steps
        np.rint(blocks, out=blocks)
        blocks *= steps
        blocks = np.matmul(COSINES.T, (blocks.reshape(-1, BLOCK) @ COSINES).reshape(-1, BLOCK, columns))
        total += blocks.reshape(rows, columns)[down : down + rows - BLOCK, right : right + width]
    total /= len(SHIFTS)
    total -= plane[BLOCK:-BLOCK, BLOCK : BLOCK + width]
    return total
