"""Takes IPTC records out of the Photoshop wrapping that JPEG files have, and puts them into it."""

from __future__ import annotations

_PHOTOSHOP = b"Photoshop 3.0\0"
_RESOURCE = b"8BIM"
_RECORDS = b"\x04\x04"
_MARK = b"\x1c"  # every record begins with it


def unwrapped(block: bytes) -> bytes | None:
    """Return the bare records of a block, wrapped or not; None where it holds none."""
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


def wrapped(records: bytes) -> bytes:
    """Return bare records as the block that a JPEG file holds."""
    name = b"\0\0"
    size = len(records).to_bytes(4, "big")
    return _PHOTOSHOP + _RESOURCE + _RECORDS + name + size + records + bytes(len(records) % 2)
