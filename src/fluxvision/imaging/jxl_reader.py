"""Reads JPEG XL with pyjpegxl, which gets the codestream alone.

Its own reading of the container grew to gigabytes on a damaged file of 4 kB, and of an animation it returns the last
frame.
"""

from __future__ import annotations

from typing import BinaryIO

import pyvips

from fluxvision.imaging.fallback_reader import SAMPLES, PictureFile, Unreadable

_SIGNATURE = b"\xff\x0a"
_BOX, _LONG_BOX = 8, 16
_PART, _OFFSET = 4, 4
"""Bytes before the content of a partial codestream, and before the TIFF header of EXIF data."""
_TIFF = (b"II*\0", b"MM\0*")
_MAX_BLOCK = 16_000_000
_SIZES = (9, 13, 18, 30)
_EIGHT = 8


def open_jxl(file: BinaryIO) -> PictureFile:
    """Open a JPEG XL file; raises Unreadable for an animation, and ImportError without the library."""
    import pyjpegxl  # noqa: PLC0415, an extra

    codestream, blocks = _read_container(file.read())
    if is_animated(codestream):
        raise Unreadable("an animated JPEG XL is not read; send one frame of it as PNG")
    found = pyjpegxl.probe(codestream)
    channels, bits = found.num_color_channels, 8 if found.bits_per_sample <= _EIGHT else 16
    if found.icc:
        blocks["icc-profile-data"] = found.icc

    def read() -> pyvips.Image:
        _, samples = pyjpegxl.decode_to_numpy(codestream, dtype=f"uint{bits}")
        height, width, bands = samples.shape
        return pyvips.Image.new_from_memory(samples.data, width, height, bands, SAMPLES[bits])

    return PictureFile(found.width, found.height, channels, found.has_alpha, bits, read, blocks=blocks)


def _read_container(data: bytes) -> tuple[bytes, dict[str, bytes]]:
    """Return the codestream and the metadata."""
    if data.startswith(_SIGNATURE):
        return data, {}
    parts: list[bytes] = []
    blocks: dict[str, bytes] = {}
    at = 0
    while at < len(data):
        size, kind, start = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + _BOX], _BOX
        if size == 1:
            size, start = int.from_bytes(data[at + _BOX : at + _LONG_BOX], "big"), _LONG_BOX
        size = size or len(data) - at
        if size < start or at + size > len(data):
            break  # bytes after the end, or a cut file, whose codestream is incomplete
        content = data[at + start : at + size]
        if kind == b"jxlc":
            parts.append(content)
        elif kind == b"jxlp":
            parts.append(content[_PART:])
        elif kind == b"brob":
            kind, content = content[:4], _decompress(content[4:])
        if kind == b"Exif":
            bare = content.startswith(_TIFF)  # some writers forget the offset
            blocks["exif-data"] = content if bare else content[_OFFSET + int.from_bytes(content[:_OFFSET], "big") :]
        elif kind == b"xml ":
            blocks["xmp-data"] = content
        at += size
    return b"".join(parts), blocks


def _decompress(content: bytes) -> bytes:
    """Return the content of a compressed box; nothing when it is damaged or unreasonably large."""
    import brotli  # noqa: PLC0415, an extra

    decoder = brotli.Decompressor()
    try:
        found = decoder.process(content, output_buffer_limit=_MAX_BLOCK)
    except brotli.error:
        return b""
    return bytes(found) if decoder.is_finished() else b""


class _Bits:
    """The bits of a codestream, the lowest of each byte first."""

    def __init__(self, data: bytes) -> None:
        self._number = int.from_bytes(data, "little")

    def take(self, count: int = 1) -> int:
        """Return the next `count` bits as a number."""
        found = self._number & ((1 << count) - 1)
        self._number >>= count
        return found


def is_animated(codestream: bytes) -> bool:
    """Return whether a codestream's header (ISO/IEC 18181-1, SizeHeader and ImageMetadata) announces an animation."""
    bits = _Bits(codestream[len(_SIGNATURE) : len(_SIGNATURE) + 64])
    _skip_size(bits)
    if bits.take() or not bits.take():  # all values are default ones, or no fields beyond the usual
        return False
    bits.take(3)  # orientation
    if bits.take():
        _skip_size(bits)  # of display
    if bits.take():
        _skip_preview(bits)
    return bool(bits.take())


def _skip_size(bits: _Bits) -> None:
    if bits.take():  # in units of eight pixels
        bits.take(5)
        if not bits.take(3):  # a ratio makes the width unnecessary
            bits.take(5)
        return
    bits.take(_SIZES[bits.take(2)])
    if not bits.take(3):
        bits.take(_SIZES[bits.take(2)])


def _skip_preview(bits: _Bits) -> None:
    widths = (0, 0, 5, 9) if bits.take() else (6, 8, 10, 12)
    bits.take(widths[bits.take(2)])
    if not bits.take(3):
        bits.take(widths[bits.take(2)])
