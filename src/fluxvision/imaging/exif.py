"""Reads and sets the orientation inside an EXIF block and an XMP packet."""

from __future__ import annotations

import re

PREFIX = b"Exif\0\0"
_ORIENTATION, _SHORT = 0x0112, 3
_ENTRY = 12
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


def upright_xmp(packet: bytes) -> bytes:
    """Return an XMP packet whose tiff:Orientation, if any, says 1; its length does not change."""
    return _XMP_ORIENTATION.sub(rb"\g<1>1", packet)
