"""Estimates the peak memory of decoding and encoding a picture, from measured figures of its format. Pure."""

from __future__ import annotations

from fluxvision.core import formats
from fluxvision.core.images import InputImage

OPTIMISED = 16_000_000
"""Most pixels of a JPEG with optimised tables, which need all coefficients in memory."""
_BYTE = 8
_DEEPER = 14
"""Memory of writing more than 8 bits per sample, relative to 8 for 8 bits, as measured with AVIF."""


def decoded_bytes(width: int, height: int, channels: int, bits: int) -> int:
    """Return the bytes of a picture's pixels; `channels` includes alpha, `bits` per sample are 8 or 16."""
    return width * height * channels * bits // _BYTE


def decoding_bytes(source: InputImage) -> int:
    """Return the peak memory of `decode` in bytes, including the pixels that it returns."""
    pixels = decoded_bytes(source.width, source.height, source.channels + source.alpha, source.bits)
    reading = decoded_bytes(source.width, source.height, formats.find_format(source.format).read_memory, source.bits)
    extended = decoded_bytes(source.width, source.height, source.channels, source.bits) // 2 if source.alpha else 0
    return pixels + max(reading, extended)


def encoding_bytes(name: str, width: int, height: int, *, alpha: bool, bits: int = _BYTE) -> int:
    """Return the peak memory of writing a raster in the named format, in bytes."""
    row, pixels = formats.find_format(name), width * height
    if name == "jpeg" and pixels > OPTIMISED:
        return 0
    needed = pixels * row.write_memory[alpha]
    return needed * _DEEPER // _BYTE if bits > _BYTE and row.bits > _BYTE else needed


def readback_bytes(name: str, width: int, height: int, *, bits: int = _BYTE) -> int:
    """Return the peak memory of reading a finished file row by row, in bytes; 0 unless the format is held whole."""
    row = formats.find_format(name)
    if row.lossless or name == "jpeg":
        return 0
    return decoded_bytes(width, height, row.read_memory, bits if row.bits > _BYTE else _BYTE)
