"""Turns an EXIF block and an XMP packet upright, and reads a block's resolution."""

from __future__ import annotations

import io
import re
from typing import BinaryIO

from fluxvision.imaging import directories
from fluxvision.imaging.directories import Layout

PREFIX = b"Exif\0\0"
_ORIENTATION, _SHORT = 0x0112, 3
_ENTRY = 12
_RESOLUTION = (0x011A, 0x011B, 0x0128)  # across, down, unit
_INCH, _CENTIMETRE = 2, 3
_MILLIMETRES = {_INCH: 25.4, _CENTIMETRE: 10.0}
_XMP_ORIENTATION = re.compile(rb"""(tiff:Orientation(?:\s*=\s*["']|\s*>)\s*)[2-8](?=\s*["'<])""")


def prefixed(block: bytes) -> bytes:
    """Return an EXIF block with the six bytes before its TIFF header that JPEG has and PNG lacks."""
    return block if block.startswith(PREFIX) else PREFIX + block


def upright(block: bytes) -> bytes:
    """Return an EXIF block with every orientation in its first directory set to 1; a damaged block stays as it is."""
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


def resolution(block: bytes) -> tuple[float, float] | None:
    """Return pixels per millimetre across and down; None where the block does not say."""
    file = io.BytesIO(block.removeprefix(PREFIX))
    begun = directories.begin(file)
    if begun is None:
        return None
    listed = directories.entries(file, *begun)
    across, down, unit = (_numbers(file, begun[0], listed.get(tag)) for tag in _RESOLUTION)
    millimetres = _MILLIMETRES.get(int(unit[0]) if unit else _INCH)
    if not (across and down and millimetres and across[0] > 0 and down[0] > 0):
        return None
    return across[0] / millimetres, down[0] / millimetres


def _numbers(file: BinaryIO, layout: Layout, entry: bytes | None) -> tuple[float, ...]:
    held = directories.value(file, layout, entry) if entry else None
    return held.numbers if held else ()


def upright_xmp(packet: bytes) -> bytes:
    """Return an XMP packet whose tiff:Orientation, if any, says 1; its length does not change."""
    return _XMP_ORIENTATION.sub(rb"\g<1>1", packet)
