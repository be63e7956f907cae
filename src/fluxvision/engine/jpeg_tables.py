"""The tables of JPEG that tell its quality: blocks, the cosine transform, and libjpeg's quantisation of luma."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fluxvision.engine.resample import Array

BLOCK = 8
# ITU-T T.81 annex K, which libjpeg scales by quality.
# fmt: off
LUMA = np.array([
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
]).reshape(BLOCK, BLOCK)
# fmt: on
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
