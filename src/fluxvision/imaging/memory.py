"""How much memory reading and writing a picture takes at its peak, from the figures of its format. Pure."""

from __future__ import annotations

from fluxvision.core.types import InputImage
from fluxvision.imaging import formats

OPTIMISED = 16_000_000
"""The most pixels of a JPEG whose tables are optimised, for which its coefficients are held in memory."""
_BYTE = 8
_DEEPER = 14
"""What writing more than 8 bits takes where writing 8 bits takes 8, as measured of AVIF."""


def decoded_bytes(width: int, height: int, channels: int, bits: int) -> int:
    """Return the bytes of a picture's pixels; `channels` counts alpha, `bits` are 8 or 16 for each sample."""
    return width * height * channels * bits // _BYTE


def decoding_bytes(source: InputImage) -> int:
    """Return the bytes that `decode` takes at its peak, the pixels that it returns included."""
    pixels = decoded_bytes(source.width, source.height, source.channels + source.alpha, source.bits)
    reading = decoded_bytes(source.width, source.height, formats.find_format(source.format).read_memory, source.bits)
    extended = decoded_bytes(source.width, source.height, source.channels, source.bits) // 2 if source.alpha else 0
    return pixels + max(reading, extended)


def encoding_bytes(name: str, width: int, height: int, *, alpha: bool, bits: int = _BYTE) -> int:
    """Return the bytes that writing a raster of so many bits as the format of this name takes at its peak."""
    row, pixels = formats.find_format(name), width * height
    if name == "jpeg" and pixels > OPTIMISED:
        return 0
    needed = pixels * row.write_memory[alpha]
    return needed * _DEEPER // _BYTE if bits > _BYTE and row.bits > _BYTE else needed


def readback_bytes(name: str, width: int, height: int, *, bits: int = _BYTE) -> int:
    """Return the bytes that reading a finished file row by row takes at its peak: those of formats kept whole."""
    row = formats.find_format(name)
    if row.lossless or name == "jpeg":
        return 0
    return decoded_bytes(width, height, row.read_memory, bits if row.bits > _BYTE else _BYTE)
