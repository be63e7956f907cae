"""Reads and writes raw pixel files with libvips, and removes incomplete files after errors.

A raw file is presented to libvips as an uncompressed TIFF file that is read in pieces. Opened as raw pixels, it would
be mapped into memory until the last row is read, which counts as memory of the process: 3 GB for 1,000 megapixels.
"""

from __future__ import annotations

import errno
import shutil
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import SEEK_CUR, SEEK_END, SEEK_SET
from pathlib import Path
from traceback import clear_frames

import pyvips

from fluxvision.core import formats
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.errors import Cancelled, InternalError, Unavailable
from fluxvision.core.formats import Limits
from fluxvision.core.images import InputImage, RawImage
from fluxvision.core.system import delete_file, resource_error
from fluxvision.imaging import load
from fluxvision.imaging.load import clear_error_log, translate_read_errors, translate_vips_errors
from fluxvision.imaging.probe import probe

_STRIP = 16
"""Rows that libvips reads at a time."""
_SHORT, _LONG, _LONG8 = 3, 4, 16
_CODES = {_SHORT: "H", _LONG: "I", _LONG8: "Q"}
_STRIP_OFFSETS, _STRIP_BYTES = 273, 279
_START, _ENTRY, _COUNT, _FIELD = 16, 20, 8, 8
"""Bytes of the file header, of one entry, of the number of entries, and of a value inside its entry."""


def open_stream(raster: RawImage) -> pyvips.Image:
    """Open a raster as an image whose rows are read once, top to bottom; raises OSError or pyvips.Error."""
    file = _File(raster, raster.path.stat().st_size)
    source = pyvips.SourceCustom()
    source.on_read(file.read)
    source.on_seek(file.seek)
    image = pyvips.Image.new_from_source(source, "", access="sequential", fail_on="error").copy()
    for name in ("bits-per-sample", "resolution-unit", "orientation"):  # not known for a raw file
        image.remove(name)
    return image


class _File:
    """A file object: a TIFF header followed by the raw file."""

    def __init__(self, raster: RawImage, size: int) -> None:
        self._path, self._head, self._at = raster.path, tiff_head(raster), 0
        self._size = len(self._head) + size

    def read(self, size: int) -> bytes:
        """Return some bytes, none at the end or after a read error, because exceptions cannot pass through libvips."""
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


def tiff_head(raster: RawImage) -> bytes:
    """Return the header of a BigTIFF file (everything before the pixels) in this machine's byte order."""
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
    size = start + sum(_pad(len(entry.data)) for entry in entries if len(entry.data) > _FIELD)
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
            values += data.ljust(_pad(len(data)), b"\0")
    order = b"II" if sys.byteorder == "little" else b"MM"
    return struct.pack("=2sHHHQQ", order, 43, 8, 0, _START, len(entries)) + fields + bytes(_COUNT) + values


def _pad(size: int) -> int:
    return size + -size % 8


_LITTLE = 4_000_000
"""Free bytes below which a failed write is assumed to be caused by a full disk."""


@contextmanager
def write_guard(target: Path, callbacks: JobCallbacks | None = None) -> Iterator[None]:
    """Remove `target` when the block raises.

    Raises Cancelled when the job is cancelled, and Unavailable instead of a libvips or system error on a full disk.
    """
    try:
        _stop_when_cancelled(callbacks)
        clear_error_log()  # the error text will tell whether the disk is full
        yield
        _stop_when_cancelled(callbacks)
    except BaseException as error:
        clear_frames(
            error.__traceback__
        )  # an image in them would keep the incomplete file open and its disk space in use
        missing = _missing_resource(target, error) if isinstance(error, (pyvips.Error, OSError)) else None
        delete_file(target)
        if callbacks is not None and callbacks.cancel.is_set() and isinstance(error, Exception):
            raise _cancelled_error() from error
        if missing is None:
            raise
        try:
            raise missing from error
        finally:
            del missing  # its traceback refers to this frame


def _stop_when_cancelled(callbacks: JobCallbacks | None) -> None:
    if callbacks is not None and callbacks.cancel.is_set():
        raise _cancelled_error()


def _cancelled_error() -> Cancelled:
    return Cancelled("The work was cancelled.")


def _missing_resource(target: Path, error: pyvips.Error | OSError) -> Unavailable | None:
    """Return the error for a resource that has run out, by the error's text or the free disk space; None otherwise.

    All threads share one error text of libvips, so another thread may have cleared it.
    """
    found = resource_error(error)
    with suppress(OSError):
        if found is None and shutil.disk_usage(target.parent).free < _LITTLE:
            return resource_error(OSError(errno.ENOSPC, ""))
    return found or _write_refusal(target.with_name(f"{target.name}.room"))


def _write_refusal(path: Path) -> Unavailable | None:
    """Return the error for a resource that has run out when a small file cannot be written, otherwise None."""
    try:
        path.write_bytes(bytes(_LITTLE))
    except OSError as error:
        return resource_error(error)
    finally:
        delete_file(path)
    return None


INTERPRETATION = {(1, 8): "b-w", (3, 8): "srgb", (1, 16): "grey16", (3, 16): "rgb16"}
"""Interpretations of libvips, by number of colours and bits."""

_DELIVERED = Limits(bytes=64_000_000_000, pixels=10_000_000_000, frames=1000)


def open_raster(raster: RawImage) -> pyvips.Image:
    """Open a raw file as an image whose rows are read once, top to bottom; raises InternalError."""
    failure = InternalError("The finished pixels could not be read back.")
    try:
        with translate_vips_errors(failure):
            return open_stream(raster)
    except OSError as cause:
        raise failure from cause


def probe_own_file(path: Path) -> InputImage:
    """Probe a file that a provider or this server made, without limits on its size."""
    return probe(path, _DELIVERED)


def open_upright(source: InputImage) -> pyvips.Image:
    """Open a probed file's pixels, turned upright, in the working colours; use it inside `translate_read_errors`.

    Memory does not depend on the height, unless the picture must be turned or its format is held whole.
    """
    row = formats.find_format(source.format)
    image = load.to_working_space(load.open_lazily(source.path, row), source)
    return image if source.orientation == 1 else image.copy_memory().autorot()


def write_raster(path: Path, target: Path) -> RawImage:
    """Write the upright pixels of a finished file as a raw file: grey or RGB, then alpha, of 8 or 16 bits.

    Raises InvalidRequest for a damaged file and Unavailable on a full disk; `target` is removed in both cases.
    """
    source = probe_own_file(path)
    with translate_read_errors(formats.find_format(source.format), "image"), write_guard(target):
        image = open_upright(source)
        image.rawsave(str(target))
    return RawImage(target, image.width, image.height, image.bands, 16 if image.format == "ushort" else 8)
