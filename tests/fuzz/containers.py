"""Where the pieces, the numbers and the names of a picture file lie, read as its format says."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Literal

Order = Literal["big", "little"]
PNG = b"\x89PNG\r\n\x1a\n"
BOXES = {b"meta": 12, b"iprp": 8, b"ipco": 8, b"moov": 8, b"trak": 8, b"mdia": 8, b"minf": 8, b"stbl": 8, b"dinf": 8}
BOXES[b"jp2h"] = 8
"""Boxes that hold boxes, and how long their heads are."""
ENTRY, BIG_ENTRY = 12, 20


@dataclass(slots=True)
class Layout:
    """A file's parts: pieces as (start, end), numbers as (start, bytes, order), names of four bytes by their start."""

    pieces: list[tuple[int, int]] = field(default_factory=list)
    numbers: list[tuple[int, int, Order]] = field(default_factory=list)
    names: list[int] = field(default_factory=list)


def layout(data: bytes) -> Layout:
    """Return the layout of a file; an empty one where it has none that is known."""
    found = Layout()
    if data.startswith(PNG):
        _png(data, found)
    elif data.startswith(b"\xff\xd8"):
        _jpeg(data, found)
    elif data[:4] == b"RIFF":
        _riff(data, found)
    elif data[4:8] in {b"ftyp", b"jP  ", b"JXL "}:
        _boxes(data, 0, len(data), found)
    elif data[:2] == b"\xff\x4f":
        found.numbers += [(4, 2, "big"), *((at, 4, "big") for at in range(8, 40, 4)), (40, 2, "big")]
        found.pieces.append((2, 4 + int.from_bytes(data[4:6], "big")))
    elif data[:1] == b"P" or data[:2] == b"\xff\x0a":
        found.numbers += [(at, 1, "big") for at in range(2, 20)]
        found.pieces += [(0, 20), (20, len(data))]
    elif data[:2] in {b"II", b"MM"}:
        _tiff(data, found)
    elif data[:3] == b"GIF":
        _gif(data, found)
    elif data[:2] == b"BM":
        found.numbers += [(at, 4, "little") for at in (2, 10, 14, 18, 22, 30, 34, 46, 50)]
        found.numbers += [(26, 2, "little"), (28, 2, "little")]
        found.pieces += [(0, 14), (14, 54), (54, len(data))]
    elif data[1:3] in {b"\0\2", b"\0\x0a", b"\1\1"}:  # TGA
        found.numbers += [(at, 1, "little") for at in (0, 1, 2, 7, 16, 17)]
        found.numbers += [(at, 2, "little") for at in (3, 5, 8, 10, 12, 14)]
        found.pieces += [(0, 18), (18, len(data))]
    found.numbers = [each for each in found.numbers if each[0] + each[1] <= len(data)]
    return found


def _png(data: bytes, found: Layout) -> None:
    at = len(PNG)
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        end = min(at + 12 + size, len(data))
        found.pieces.append((at, end))
        found.names.append(at + 4)
        found.numbers.append((at, 4, "big"))
        if data[at + 4 : at + 8] in {b"IHDR", b"acTL", b"fcTL", b"pHYs"}:
            found.numbers += [(place, 4, "big") for place in range(at + 8, end - 7, 4)]
        if data[at + 4 : at + 8] == b"IHDR":
            found.numbers += [(place, 1, "big") for place in range(at + 16, at + 21)]
        at = end


def _jpeg(data: bytes, found: Layout) -> None:
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        size = int.from_bytes(data[at + 2 : at + 4], "big")
        scan = data[at + 1] == 0xDA
        end = len(data) if scan else min(at + 2 + size, len(data))
        found.pieces.append((at, end))
        found.numbers += [(at + 1, 1, "big"), (at + 2, 2, "big")]
        if data[at + 1] in range(0xC0, 0xC3):
            found.numbers += [(at + 4, 1, "big"), (at + 5, 2, "big"), (at + 7, 2, "big"), (at + 9, 1, "big")]
            found.numbers += [(place, 1, "big") for place in range(at + 10, end)]
        if data[at + 4 : at + 8] in {b"Exif", b"MPF\0"}:
            head = at + (10 if data[at + 4] == ord("E") else 8)
            found.numbers += [(place, 2, "little") for place in range(head, min(head + 60, end - 1), 2)]
        at = max(end, at + 2)


def _riff(data: bytes, found: Layout) -> None:
    found.numbers.append((4, 4, "little"))
    at = 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        end = min(at + 8 + size + size % 2, len(data))
        found.pieces.append((at, end))
        found.names.append(at)
        found.numbers.append((at + 4, 4, "little"))
        if data[at : at + 4] in {b"VP8X", b"ANMF"}:
            found.numbers += [(place, 3, "little") for place in range(at + 8, end - 2, 3)]
        at = end


def _boxes(data: bytes, start: int, stop: int, found: Layout) -> None:
    at = start
    while at + 8 <= stop:
        size = int.from_bytes(data[at : at + 4], "big")
        name = data[at + 4 : at + 8]
        end = min(at + max(size, 8), stop)
        found.pieces.append((at, end))
        found.names.append(at + 4)
        found.numbers.append((at, 4, "big"))
        if name in BOXES:
            _boxes(data, at + BOXES[name], end, found)
        elif name != b"mdat":
            found.numbers += [(place, 4, "big") for place in range(at + 8, end - 3, 4)]
            found.numbers += [(place, 1, "big") for place in range(at + 8, min(end, at + 40))]
        at = end


def _tiff(data: bytes, found: Layout) -> None:
    order: Order = "little" if data[:2] == b"II" else "big"
    big = int.from_bytes(data[2:4], order) == 43
    start, wide, entry = (8, 8, BIG_ENTRY) if big else (4, 4, ENTRY)
    found.numbers.append((start, wide, order))
    at, seen = int.from_bytes(data[start : start + wide], order), set()
    while 0 < at < len(data) and at not in seen:
        seen.add(at)
        count = 8 if big else 2
        number = int.from_bytes(data[at : at + count], order)
        found.numbers.append((at, count, order))
        first = at + count
        for place in range(first, min(first + number * entry, len(data) - entry), entry):
            found.pieces.append((place, place + entry))
            found.numbers += [(place, 2, order), (place + 2, 2, order), (place + 4, wide, order)]
            found.numbers.append((place + 4 + wide, wide, order))
        following = first + number * entry
        found.numbers.append((following, wide, order))
        at = int.from_bytes(data[following : following + wide], order)


def _gif(data: bytes, found: Layout) -> None:
    found.numbers += [(6, 2, "little"), (8, 2, "little"), (10, 1, "little")]
    for at in range(13, len(data) - 10):
        if data[at] == 0x2C:
            found.numbers += [(place, 2, "little") for place in range(at + 1, at + 9, 2)]
            found.numbers += [(at + 9, 1, "little"), (at + 10, 1, "little")]
            found.pieces.append((at, len(data) - 1))
        elif data[at] == 0x21 and data[at + 1] in {0xF9, 0xFE, 0xFF}:
            found.numbers.append((at + 2, 1, "little"))
            found.pieces.append((at, min(at + 3 + data[at + 2] + 1, len(data))))


def checked(data: bytes) -> bytes:
    """Return a PNG file with right check sums, so that a reader looks behind them; any other file as it is."""
    if not data.startswith(PNG):
        return data
    made, at = bytearray(data), len(PNG)
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if end + 4 > len(data):
            break
        made[end : end + 4] = zlib.crc32(data[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(made)
