"""Reads and writes tag directories (IFDs) of TIFF files and EXIF blocks, and adds metadata to a TIFF file."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, TypeAlias

import numpy as np

PREFIX = b"Exif\0\0"
"""The prefix of an EXIF block's TIFF header in JPEG files."""
# By type: bytes of one item, and of each number inside it that depends on the byte order.
_TYPES = {1: (1, 1), 2: (1, 1), 3: (2, 2), 4: (4, 4), 5: (8, 4), 6: (1, 1), 7: (1, 1), 8: (2, 2), 9: (4, 4)} | {
    10: (8, 4),
    11: (4, 4),
    12: (8, 8),
    13: (4, 4),
    16: (8, 8),
    17: (8, 8),
    18: (8, 8),
}
_INTEGERS = {1, 3, 4, 13, 16, 18}
_LONG, _RATIONAL, _LONG8 = 4, 5, 16
_SUBFILE_TYPE, _PHOTOMETRIC, _SUBDIRECTORIES, _DNG_VERSION = 254, 262, 330, 50706
_SENSOR = {32803, 34892}
"""Photometric interpretations: values of a colour filter array, and linear values of a sensor."""
_CR2, _CR2_AT = b"CR", 8
_MAX_ENTRIES = 1000
_MAX_VALUE = 1_000_000
_FAR = 1 << 40
"""An offset behind the end of every file: what lies there or further is read as nothing."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The byte order, and whether offsets have 8 bytes (`wide`, BigTIFF) or 4."""

    order: Literal["little", "big"]
    wide: bool = False

    @property
    def offset(self) -> int:
        """Bytes of an offset, of a count, and of a value that is stored inside its entry."""
        return 8 if self.wide else 4

    @property
    def number(self) -> int:
        """Bytes of the number of entries."""
        return 8 if self.wide else 2

    @property
    def entry(self) -> int:
        """Bytes of an entry: tag, type, count, value."""
        return 4 + 2 * self.offset


@dataclass(frozen=True, slots=True)
class Value:
    """A tag's type and its items, always little-endian."""

    type: int
    data: bytes

    @property
    def numbers(self) -> tuple[float, ...]:
        """The items as numbers; a fraction with denominator 0 counts as 0; empty for texts and unknown types."""
        if self.type == _RATIONAL:
            pairs = np.frombuffer(self.data, "<u4").reshape(-1, 2).tolist()
            return tuple(over / under if under else 0.0 for over, under in pairs)
        if self.type in _INTEGERS:
            return tuple(np.frombuffer(self.data, f"<u{_TYPES[self.type][0]}").tolist())
        return ()

    @property
    def first(self) -> int | None:
        """The first item if it is an integer, otherwise None."""
        size = _TYPES[self.type][0]
        return int.from_bytes(self.data[:size], "little") if self.type in _INTEGERS and self.data else None


Directory: TypeAlias = Mapping[int, "Value | bytes | Directory"]
"""Values by tag; bytes are a complete entry as read, a directory is a subdirectory that the tag points to."""

_HEADERS: dict[bytes, Layout] = {
    b"II*\0": Layout("little"),
    b"MM\0*": Layout("big"),
    b"II+\0": Layout("little", wide=True),
    b"MM\0+": Layout("big", wide=True),
}


def read_header(file: BinaryIO) -> tuple[Layout, int] | None:
    """Return the layout and the offset of the first directory, None without a TIFF header."""
    file.seek(0)
    head = file.read(16)
    layout = _HEADERS.get(head[:4])
    if layout is None:
        return None
    return layout, int.from_bytes(head[8:16] if layout.wide else head[4:8], layout.order)


def read_entries(file: BinaryIO, layout: Layout, at: int) -> dict[int, bytes]:
    """Return the raw entries of the directory at an offset, fewer when the file is truncated."""
    file.seek(min(at, _FAR))
    number = int.from_bytes(file.read(layout.number), layout.order)
    data = file.read(min(number, _MAX_ENTRIES) * layout.entry)
    found = {}
    for start in range(0, len(data) - layout.entry + 1, layout.entry):
        entry = data[start : start + layout.entry]
        found[int.from_bytes(entry[:2], layout.order)] = entry
    return found


def read_value(file: BinaryIO, layout: Layout, entry: bytes) -> Value | None:
    """Return an entry's value, None when its type is unknown, it is over a megabyte, or the file is truncated."""
    kind, count = int.from_bytes(entry[2:4], layout.order), int.from_bytes(entry[4 : 4 + layout.offset], layout.order)
    size = _TYPES.get(kind, (0, 0))[0] * count
    if not 0 < size <= _MAX_VALUE:
        return None
    data = entry[-layout.offset :]
    if size > layout.offset:
        file.seek(min(int.from_bytes(data, layout.order), _FAR))
        data = file.read(size)
    return Value(kind, _swap_byte_order(kind, data[:size], layout)) if len(data) >= size else None


def write_directory(directory: Directory, layout: Layout, at: int) -> bytes:
    """Return the bytes of a directory for an offset, followed by the data that it points to."""
    start = at + layout.number + len(directory) * layout.entry + layout.offset
    head, tail = bytearray(len(directory).to_bytes(layout.number, layout.order)), bytearray()
    for tag in sorted(directory):
        held = directory[tag]
        if isinstance(held, bytes):
            head += held
            continue
        place = start + len(tail)
        if isinstance(held, Value):
            kind, data = held.type, _swap_byte_order(held.type, held.data, layout)
            count = len(data) // _TYPES[kind][0]
        else:
            kind, count, data = (_LONG8 if layout.wide else _LONG), 1, place.to_bytes(layout.offset, layout.order)
            tail += write_directory(held, layout, place)
        if len(data) > layout.offset:
            tail += data + bytes(len(data) % 2)
            data = place.to_bytes(layout.offset, layout.order)
        head += tag.to_bytes(2, layout.order) + kind.to_bytes(2, layout.order)
        head += count.to_bytes(layout.offset, layout.order) + data.ljust(layout.offset, b"\0")
    return bytes(head + bytes(layout.offset) + tail)


def _swap_byte_order(kind: int, data: bytes, layout: Layout) -> bytes:
    """Convert between little-endian and the layout's byte order."""
    size = _TYPES[kind][1]
    if layout.order == "little" or size == 1:
        return data
    return np.frombuffer(data, f">u{size}").astype(f"<u{size}").tobytes()


_EXIF, _GPS, _IPTC, _ORIENTATION = 0x8769, 0x8825, 0x83BB, 0x0112
_SHORT, _UNDEFINED = 3, 7
# Description, maker, model, software, date, artist, copyright, and the five fields that Windows adds.
_TEXTS = {0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298, 0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F}
# Tags that are wrong after an enlargement: width, height, offset of the interoperability directory.
_STALE = {0xA002, 0xA003, 0xA005}


def read_exif(path: Path) -> bytes | None:
    """Return the first page's texts, EXIF and GPS fields as an upright EXIF block, None when there are none."""
    with path.open("rb") as file:
        found = _collect_fields(file)
    if not found:
        return None
    upright = {**found, _ORIENTATION: Value(_SHORT, b"\1\0")}
    return PREFIX + b"II*\0\x08\0\0\0" + write_directory(upright, Layout("little"), 8)


def add_directories(path: Path, block: bytes | None, iptc: bytes | None) -> None:
    """Add the fields of an EXIF block and an IPTC record to the first page of a finished TIFF file.

    A new directory is written at the end of the file; the pixels are not moved.
    """
    fields: dict[int, Value | bytes | Directory] = {}
    if block:
        fields.update(_collect_fields(io.BytesIO(block.removeprefix(PREFIX))))
    if iptc:
        fields[_IPTC] = Value(_UNDEFINED, iptc)
    if not fields:
        return
    with path.open("r+b") as file:
        begun = read_header(file)
        if begun is None:
            return
        layout, first = begun
        merged = {**read_entries(file, layout, first), **fields}
        end = file.seek(0, io.SEEK_END)
        end += file.write(bytes(end % 2))
        file.write(write_directory(merged, layout, end))
        file.seek(8 if layout.wide else 4)
        file.write(end.to_bytes(layout.offset, layout.order))


def _collect_fields(file: BinaryIO) -> dict[int, Value | bytes | Directory]:
    """Return the first directory's texts and its EXIF and GPS directories."""
    begun = read_header(file)
    if begun is None:
        return {}
    layout, first = begun
    listed = read_entries(file, layout, first)
    found: dict[int, Value | bytes | Directory] = {}
    for tag, entry in listed.items():
        held = read_value(file, layout, entry)
        if held is None:
            continue
        if tag in _TEXTS:
            found[tag] = held
        elif tag in {_EXIF, _GPS} and held.first is not None:
            below = read_entries(file, layout, held.first)
            values = {tag: read_value(file, layout, entry) for tag, entry in below.items() if tag not in _STALE}
            found[tag] = {tag: value for tag, value in values.items() if value is not None}
    return found


def exif_orientation(block: bytes) -> int:
    """Return the orientation 1 to 8 that an EXIF block states, otherwise 1."""
    file = io.BytesIO(block.removeprefix(PREFIX))
    begun = read_header(file)
    entry = read_entries(file, *begun).get(_ORIENTATION) if begun else None
    held = read_value(file, begun[0], entry) if begun and entry else None
    stated = held.first if held else None
    return stated if stated and stated in range(1, 9) else 1


def is_camera_raw(path: Path) -> bool:
    """Return whether a TIFF file is a camera's raw file (CR2, DNG, NEF, ARW and others).

    It has a tag that only these have, stores the values of a colour filter array, or begins with a preview whose
    subdirectories hold the picture.
    """
    with path.open("rb") as file:
        begun = read_header(file)
        if begun is None:
            return False
        file.seek(_CR2_AT)
        if file.read(2) == _CR2:
            return True
        entries = read_entries(file, *begun)

        def number(tag: int) -> int | None:
            held = read_value(file, begun[0], entries[tag]) if tag in entries else None
            return held.first if held else None

        preview = number(_SUBFILE_TYPE) == 1 and _SUBDIRECTORIES in entries
        return _DNG_VERSION in entries or number(_PHOTOMETRIC) in _SENSOR or preview
