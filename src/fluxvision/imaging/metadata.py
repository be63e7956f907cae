"""Reads a picture's ICC profile, EXIF, XMP, IPTC and resolution, and resets its orientation tags to upright."""

from __future__ import annotations

import io
import re
from typing import BinaryIO

import pyvips

from fluxvision.core.images import InputImage, Metadata
from fluxvision.imaging import tiff
from fluxvision.imaging.profile import FIELD
from fluxvision.imaging.tiff import PREFIX, Layout

_ORIENTATION, _SHORT = 0x0112, 3
_ENTRY = 12
_RESOLUTION = (0x011A, 0x011B, 0x0128)  # across, down, unit
_INCH, _CENTIMETRE = 2, 3
_MILLIMETRES = {_INCH: 25.4, _CENTIMETRE: 10.0}
_XMP_ORIENTATION = re.compile(rb"""(tiff:Orientation(?:\s*=\s*["']|\s*>)\s*)[2-8](?=\s*["'<])""")


def add_exif_prefix(block: bytes) -> bytes:
    """Return an EXIF block with the six-byte prefix of its TIFF header, which JPEG has and PNG lacks."""
    return block if block.startswith(PREFIX) else PREFIX + block


def upright_exif(block: bytes) -> bytes:
    """Return an EXIF block with every orientation in its first directory set to 1; a damaged block is not changed."""
    start = len(PREFIX) if block.startswith(PREFIX) else 0
    order = {b"II*\0": "little", b"MM\0*": "big"}.get(block[start : start + 4])
    if order is None:
        return block
    little = order == "little"

    def number(at: int, size: int) -> int:
        return int.from_bytes(block[at : at + size], "little" if little else "big")

    first = start + number(start + 4, 4)
    changed = bytearray(block)
    for entry in range(first + 2, min(first + 2 + number(first, 2) * _ENTRY, len(block) - _ENTRY + 1), _ENTRY):
        if number(entry, 2) == _ORIENTATION and number(entry + 2, 2) == _SHORT:
            changed[entry + 8 : entry + 10] = b"\x01\x00" if little else b"\x00\x01"
    return bytes(changed)


def exif_resolution(block: bytes) -> tuple[float, float] | None:
    """Return horizontal and vertical pixels per millimetre, None when the block has no resolution."""
    file = io.BytesIO(block.removeprefix(PREFIX))
    begun = tiff.read_header(file)
    if begun is None:
        return None
    listed = tiff.read_entries(file, *begun)
    across, down, unit = (_read_numbers(file, begun[0], listed.get(tag)) for tag in _RESOLUTION)
    millimetres = _MILLIMETRES.get(int(unit[0]) if unit else _INCH)
    if not (across and down and millimetres and across[0] > 0 and down[0] > 0):
        return None
    return across[0] / millimetres, down[0] / millimetres


def _read_numbers(file: BinaryIO, layout: Layout, entry: bytes | None) -> tuple[float, ...]:
    held = tiff.read_value(file, layout, entry) if entry else None
    return held.numbers if held else ()


def upright_xmp(packet: bytes) -> bytes:
    """Return an XMP packet with tiff:Orientation, if any, set to 1; its length does not change."""
    return _XMP_ORIENTATION.sub(rb"\g<1>1", packet)


_PHOTOSHOP = b"Photoshop 3.0\0"
_RESOURCE = b"8BIM"
_RECORDS = b"\x04\x04"
_MARK = b"\x1c"  # every record begins with it


def unwrap_iptc(block: bytes) -> bytes | None:
    """Return the records of an IPTC block, wrapped or not, None when it has none."""
    if block.startswith(_MARK):
        return block
    at = len(_PHOTOSHOP)
    while block.startswith(_PHOTOSHOP) and block[at : at + 4] == _RESOURCE:
        name = 1 + block[at + 6] if at + 6 < len(block) else 1
        start = at + 6 + name + name % 2
        size = int.from_bytes(block[start : start + 4], "big")
        content = block[start + 4 : start + 4 + size]
        if block[at + 4 : at + 6] == _RECORDS:
            return content if len(content) == size and content.startswith(_MARK) else None
        at = start + 4 + size + size % 2
    return None


def wrap_iptc(records: bytes) -> bytes:
    """Return IPTC records wrapped as in a JPEG file."""
    name = b"\0\0"
    size = len(records).to_bytes(4, "big")
    return _PHOTOSHOP + _RESOURCE + _RECORDS + name + size + records + bytes(len(records) % 2)


_DEFAULT = 1.0
"""The resolution of libvips for a picture that has none, in pixels per millimetre."""


def read_blocks(image: pyvips.Image, source: InputImage) -> Metadata:
    """Return an opened image's metadata, with all orientations set to upright."""
    block, packet, records = (
        _read_blob(image, "exif-data"),
        _read_blob(image, "xmp-data"),
        _read_blob(image, "iptc-data"),
    )
    if source.format == "tiff":
        block = tiff.read_exif(source.path)
    dots = None if image.xres == image.yres == _DEFAULT else (image.xres, image.yres)
    if dots is None and block:
        dots = exif_resolution(block)
    return Metadata(
        icc=_read_blob(image, FIELD),
        exif=upright_exif(add_exif_prefix(block)) if block else None,
        xmp=upright_xmp(packet) if packet else None,
        iptc=unwrap_iptc(records) if records else None,
        resolution=dots,
    )


def _read_blob(image: pyvips.Image, name: str) -> bytes | None:
    if image.get_typeof(name) == 0:
        return None
    value = image.get(name)
    return bytes(value) if value else None
