"""Shows a raw file to libvips as an uncompressed TIFF file that is read in pieces.

Opened as raw pixels the whole file would be mapped into memory and stay there until the last row is read, which counts
as memory of the process: 3 GB for a result of 1,000 megapixels.
"""

from __future__ import annotations

import struct
import sys
from contextlib import suppress
from dataclasses import dataclass
from io import SEEK_CUR, SEEK_END, SEEK_SET

import pyvips

from fluxvision.core.types import Raster

_STRIP = 16
"""Rows that libvips reads at a time."""
_SHORT, _LONG, _LONG8 = 3, 4, 16
_CODES = {_SHORT: "H", _LONG: "I", _LONG8: "Q"}
_STRIP_OFFSETS, _STRIP_BYTES = 273, 279
_START, _ENTRY, _COUNT, _FIELD = 16, 20, 8, 8
"""Bytes of the file's head, of one entry, of the number of entries, and of a value that lies in its entry."""


def streamed(raster: Raster) -> pyvips.Image:
    """Open a raster as an image whose rows are read once, top to bottom; raises OSError or pyvips.Error."""
    file = _File(raster, raster.path.stat().st_size)
    source = pyvips.SourceCustom()
    source.on_read(file.read)
    source.on_seek(file.seek)
    image = pyvips.Image.new_from_source(source, "", access="sequential", fail_on="error").copy()
    for name in ("bits-per-sample", "resolution-unit", "orientation"):  # the raw file says nothing of these
        image.remove(name)
    return image


class _File:
    """A TIFF file's head, followed by the raw file."""

    def __init__(self, raster: Raster, size: int) -> None:
        self._path, self._head, self._at = raster.path, head(raster), 0
        self._size = len(self._head) + size

    def read(self, size: int) -> bytes:
        """Return some bytes, none at the end or where they cannot be read: no error can pass through libvips."""
        inside = self._at - len(self._head)
        part = b""
        if inside < 0:
            part = self._head[self._at : self._at + size]
        else:
            with suppress(OSError), self._path.open("rb") as file:
                file.seek(inside)
                part = file.read(size)
        self._at += len(part)
        return part

    def seek(self, offset: int, whence: int) -> int:
        self._at = {SEEK_SET: 0, SEEK_CUR: self._at, SEEK_END: self._size}[whence] + offset
        return self._at


@dataclass(frozen=True, slots=True)
class _Entry:
    tag: int
    kind: int
    values: list[int]

    @property
    def data(self) -> bytes:
        return struct.pack(f"={len(self.values)}{_CODES[self.kind]}", *self.values)


def head(raster: Raster) -> bytes:
    """Return what stands before the pixels of a BigTIFF file with 64-bit offsets, in this machine's byte order."""
    line = raster.width * raster.bands * raster.bits // 8
    rows = [min(_STRIP, raster.height - top) for top in range(0, raster.height, _STRIP)]
    colours = raster.bands - (raster.bands in {2, 4})
    entries = [
        _Entry(256, _LONG, [raster.width]),
        _Entry(257, _LONG, [raster.height]),
        _Entry(258, _SHORT, [raster.bits] * raster.bands),
        _Entry(259, _SHORT, [1]),  # no compression
        _Entry(262, _SHORT, [2 if colours > 1 else 1]),  # RGB, or black is 0
        _Entry(_STRIP_OFFSETS, _LONG8, [0] * len(rows)),
        _Entry(277, _SHORT, [raster.bands]),
        _Entry(278, _LONG, [_STRIP]),
        _Entry(_STRIP_BYTES, _LONG8, [count * line for count in rows]),
        _Entry(284, _SHORT, [1]),  # bands interleaved
    ]
    if colours != raster.bands:
        entries.append(_Entry(338, _SHORT, [2]))  # straight alpha
    start = _START + _COUNT + _ENTRY * len(entries) + _COUNT
    size = start + sum(_padded(len(entry.data)) for entry in entries if len(entry.data) > _FIELD)
    strips = _Entry(_STRIP_OFFSETS, _LONG8, [size + index * _STRIP * line for index in range(len(rows))])
    fields, values = b"", b""
    for entry in entries:
        found = strips if entry.tag == _STRIP_OFFSETS else entry
        data = found.data
        fields += struct.pack("=HHQ", found.tag, found.kind, len(found.values))
        if len(data) <= _FIELD:
            fields += data.ljust(_FIELD, b"\0")
        else:
            fields += struct.pack("=Q", start + len(values))
            values += data.ljust(_padded(len(data)), b"\0")
    order = b"II" if sys.byteorder == "little" else b"MM"
    return struct.pack("=2sHHHQQ", order, 43, 8, 0, _START, len(entries)) + fields + bytes(_COUNT) + values


def _padded(size: int) -> int:
    return size + -size % 8
