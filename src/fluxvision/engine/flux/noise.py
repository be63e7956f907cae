"""A standard normal noise field addressed by absolute latent coordinates (Philox), so that tiles agree.

Neighbouring tiles see the same noise where they overlap, whatever the tiling, the order and the worker. Each value is a
function of the seed and its absolute coordinates: Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random
numbers: as easy as 1, 2, 3", SC 2011) gives the bits, the transform of Box and Muller (1958) the distribution.

Logarithm, sine and cosine are series in float64, made of nothing but operations that IEEE 754 rounds exactly. Libraries
of mathematics differ in the last bit between processors and versions; this field has the same bits on every machine.
"""

from __future__ import annotations

from math import factorial, pi, sqrt

import numpy as np
from numpy.typing import NDArray

from fluxvision.engine.resample import Array

Words = NDArray[np.uint32]
Reals = NDArray[np.float64]
Block = tuple[Words, Words, Words, Words]

WORD = 32
MASK = 2**WORD - 1
MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
WEYL = (0x9E3779B9, 0xBB67AE85)
"""Increments of the key's two words per round: the golden ratio and the square root of 3, less one."""
ROUNDS = 10
LANES = 4
"""Words of a Philox block: four channels share a counter."""

LOG_2 = 0.6931471805599453
ATANH = tuple(2 / power for power in range(1, 16, 2))
"""log(m) = 2 atanh(z), z = (m - 1) / (m + 1), |z| < 0.172: the first term left out is below 4e-14 of the sum."""
SINE = tuple((-1) ** (power // 2) / factorial(power) for power in range(1, 18, 2))
COSINE = tuple((-1) ** (power // 2) / factorial(power) for power in range(0, 19, 2))
"""Taylor's series, for a quarter turn to either side: the first terms left out are below 5e-14."""


def noise_field(  # noqa: PLR0917, a place and a shape read plainly in their order
    seed: int, top: int, left: int, rows: int, columns: int, channels: int, *, stream: int = 0
) -> Array:
    """Return a window of the noise of a seed: float32 (channels, rows, columns), mean 0, deviation 1, below 7.

    A window of a window is that window of the field, bit for bit; fewer channels are the first ones of more.

    Args:
        seed: 0 to 2**64 - 1, the key.
        top: row of the window's first cell, in cells of the (packed) latent of the whole picture. May be negative.
        left: column of the same. Both repeat after 2**32 cells.
        rows: cells of the window, downwards.
        columns: cells of the window, across.
        channels: values per cell.
        stream: 0 to 2**32 - 1; each is a field of its own, for a second pass under the same seed.

    Raises:
        ValueError: when the seed or the stream is out of its range.
    """
    if not (0 <= seed < 2 ** (2 * WORD) and 0 <= stream <= MASK):
        message = f"seed {seed} or stream {stream} is out of range"
        raise ValueError(message)
    groups = -(-channels // LANES)
    counter = (
        _philox_words(left, columns)[None, None, :],
        _philox_words(top, rows)[None, :, None],
        _philox_words(0, groups)[:, None, None],
        _philox_words(stream, 1)[:, None, None],
    )
    words = philox(counter, (seed & MASK, seed >> WORD))
    normal = np.empty((groups, LANES, rows, columns), np.float32)
    for lane in (0, 2):
        normal[:, lane], normal[:, lane + 1] = _to_normal(words[lane], words[lane + 1])
    return normal.reshape(groups * LANES, rows, columns)[:channels]


def philox(counter: Block, key: tuple[int, int]) -> Block:
    """Return the four random words of each counter by Philox4x32-10.

    The counter's words are arrays that broadcast together; the first rounds do not spread them further than they must.
    """
    one, two, three, four = counter
    low, high = key
    for _ in range(ROUNDS):
        first, second = one * MULTIPLIERS[0], three * MULTIPLIERS[1]
        one, two, three, four = (
            _high_product(second) ^ two ^ np.uint32(low),
            second.astype(np.uint32),
            _high_product(first) ^ four ^ np.uint32(high),
            first.astype(np.uint32),
        )
        low, high = (low + WEYL[0]) & MASK, (high + WEYL[1]) & MASK
    return one, two, three, four


def _philox_words(first: int, count: int) -> Words:
    """Return consecutive integers as words, modulo 2**32."""
    numbers: Words = (np.arange(first, first + count, dtype=np.int64) & MASK).astype(np.uint32)
    return numbers


def _high_product(product: NDArray[np.uint64]) -> Words:
    return (product >> np.uint64(WORD)).astype(np.uint32)


def _to_normal(radial: Words, angular: Words) -> tuple[Reals, Reals]:
    """Return two independent standard normal values for each pair of words.

    The upper bit of `angular` is the radius's sign and the rest an angle of half a turn: together the whole circle.
    """
    radius = np.sqrt(-2.0 * _natural_log((radial + np.float64(0.5)) * 2.0**-WORD))
    radius *= 1.0 - 2.0 * (angular >> (WORD - 1))
    turn = ((angular & np.uint32(MASK >> 1)) + 0.5) * (pi * 2.0 ** (1 - WORD)) - pi / 2
    square = turn * turn
    return radius * _log_series(COSINE, square), radius * (turn * _log_series(SINE, square))


def _natural_log(values: Reals) -> Reals:
    """Return the natural logarithm of positive values, to within 1e-13 of it."""
    mantissa, exponent = np.frexp(values)
    small = mantissa < sqrt(0.5)
    mantissa = np.where(small, 2 * mantissa, mantissa)
    ratio = (mantissa - 1.0) / (mantissa + 1.0)
    return (exponent - small) * LOG_2 + ratio * _log_series(ATANH, ratio * ratio)


def _log_series(coefficients: tuple[float, ...], values: Reals) -> Reals:
    """Return a polynomial by Horner's rule, each product and each sum rounded by itself."""
    total = np.full_like(values, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total *= values
        total += coefficient
    return total
