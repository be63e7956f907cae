"""How much memory reading and writing a picture takes at its peak, from the figures of its format. Pure."""

from __future__ import annotations

from fluxvision.core.types import Source
from fluxvision.imaging import formats

OPTIMISED = 16_000_000
"""The most pixels of a JPEG whose tables are optimised, for which its coefficients are held in memory."""
_BYTE = 8
_DEEPER = 14
"""What writing more than 8 bits takes where writing 8 bits takes 8, as measured of AVIF."""


def samples(width: int, height: int, channels: int, bits: int) -> int:
    """Return the bytes of a picture's pixels; `channels` counts alpha, `bits` are 8 or 16 for each sample."""
    return width * height * channels * bits // _BYTE


def decoding(source: Source) -> int:
    """Return the bytes that `decode` takes at its peak, the pixels that it returns included."""
    pixels = samples(source.width, source.height, source.channels + source.alpha, source.bits)
    reading = samples(source.width, source.height, formats.find(source.format).read_memory, source.bits)
    extended = samples(source.width, source.height, source.channels, source.bits) // 2 if source.alpha else 0
    return pixels + max(reading, extended)


def encoding(name: str, width: int, height: int, *, alpha: bool, bits: int = _BYTE) -> int:
    """Return the bytes that writing a raster of so many bits as the format of this name takes at its peak."""
    row, pixels = formats.find(name), width * height
    if name == "jpeg" and pixels > OPTIMISED:
        return 0
    needed = pixels * row.write_memory[alpha]
    return needed * _DEEPER // _BYTE if bits > _BYTE and row.bits > _BYTE else needed


def reading_back(name: str, width: int, height: int, *, bits: int = _BYTE) -> int:
    """Return the bytes that reading a finished file row by row takes at its peak: those of formats kept whole."""
    row = formats.find(name)
    if row.lossless or name == "jpeg":
        return 0
    return samples(width, height, row.read_memory, bits if row.bits > _BYTE else _BYTE)
