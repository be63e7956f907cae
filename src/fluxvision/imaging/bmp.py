"""Reads uncompressed BMP files of 1, 4, 8, 16, 24 and 32 bits, checking every length against the file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

_CORE = 12
_PLAIN, _RLE8, _RLE4, _BITFIELDS, _ALPHA_BITFIELDS = 0, 1, 2, 3, 6
_DEPTHS = {1, 4, 8, 16, 24, 32}
_FILE_HEADER = 14
_MAX_HEADER = 124
_INCHES_PER_METRE = 39.37
_DEFAULT_MASKS = {16: (0x7C00, 0x03E0, 0x001F, 0), 32: (0xFF0000, 0xFF00, 0xFF, 0)}


class Unreadable(Exception):
    """The file is damaged, or of a kind that is not read; the text says which in a few words."""


@dataclass(frozen=True, slots=True)
class Header:
    """Width and height in pixels; `offset` of the first row and `palette`, its (start, entries, bytes per entry)."""

    width: int
    height: int
    top_down: bool
    depth: int
    offset: int
    palette: tuple[int, int, int]
    masks: tuple[int, int, int, int]
    resolution: tuple[float, float] | None

    @property
    def stride(self) -> int:
        """Bytes of a row, padded to four."""
        return (self.width * self.depth + 31) // 32 * 4

    @property
    def alpha(self) -> bool:
        """Whether the pixels have alpha bits."""
        return self.masks[3] != 0


def header(path: Path) -> Header:
    """Read the header only; raises Unreadable."""
    with path.open("rb") as file:
        data = file.read(_FILE_HEADER + _MAX_HEADER + 16)
    size = _number(data, 14)
    if size == _CORE:
        width, height, planes, depth = _number(data, 18, 2), _number(data, 20, 2), _number(data, 22, 2), 0
        depth, compression, colours, entry, resolution = _number(data, 24, 2), _PLAIN, 0, 3, None
    else:
        width, height = _number(data, 18, signed=True), _number(data, 22, signed=True)
        planes, depth, compression = _number(data, 26, 2), _number(data, 28, 2), _number(data, 30)
        colours, entry, resolution = _number(data, 46), 4, _resolution(_number(data, 38), _number(data, 42))
    if compression in {_RLE4, _RLE8}:
        raise Unreadable("a run-length compressed BMP is not read; save it as PNG or as an uncompressed BMP")
    if compression not in {_PLAIN, _BITFIELDS, _ALPHA_BITFIELDS} or depth not in _DEPTHS:
        raise Unreadable("a BMP of this kind is not read; save it as PNG or as an uncompressed BMP")
    if width <= 0 or height == 0 or planes != 1:
        raise Unreadable("this BMP file is damaged")
    masks = _masks(data, size, depth, compression)
    after = _FILE_HEADER + size + (0 if compression == _PLAIN or size > 40 else 12 + 4 * (compression == 6))  # noqa: PLR2004
    entries = min(colours or 1 << depth, 1 << depth) if depth <= 8 else 0  # noqa: PLR2004, more bits have no palette
    return Header(width, abs(height), height < 0, depth, _number(data, 10), (after, entries, entry), masks, resolution)


def read(path: Path) -> Bytes:
    """Return the pixels as (H, W, 1), (H, W, 3) or with alpha (H, W, 4), upright; raises Unreadable."""
    head = header(path)
    data = np.fromfile(path, np.uint8)
    if head.offset + head.stride * head.height > len(data):
        raise Unreadable("this BMP file is truncated")
    rows = data[head.offset : head.offset + head.stride * head.height].reshape(head.height, head.stride)
    if not head.top_down:
        rows = rows[::-1]
    if head.depth <= 8:  # noqa: PLR2004
        return _palette(data, head)[_indexes(rows, head)]
    if head.depth == 24:  # noqa: PLR2004
        return np.ascontiguousarray(rows[:, : head.width * 3].reshape(head.height, head.width, 3)[..., ::-1])
    return _fields(rows, head)


def grey(path: Path, head: Header) -> bool:
    """Whether every palette entry is grey; such a picture has one channel."""
    start, entries, size = head.palette
    if not entries:
        return False
    with path.open("rb") as file:
        file.seek(start)
        raw = np.frombuffer(file.read(entries * size), np.uint8)
    if len(raw) < entries * size:
        raise Unreadable("this BMP file is truncated")
    table = raw.reshape(entries, size)
    return bool((table[:, 0] == table[:, 1]).all() and (table[:, 1] == table[:, 2]).all())


def _palette(data: Bytes, head: Header) -> Bytes:
    start, entries, size = head.palette
    if start + entries * size > len(data):
        raise Unreadable("this BMP file is truncated")
    colours = data[start : start + entries * size].reshape(entries, size)[:, 2::-1]
    same = (colours[:, :1] == colours).all()
    return np.ascontiguousarray(colours[:, :1] if same else colours)


def _indexes(rows: Bytes, head: Header) -> Bytes:
    """Return one palette index per pixel; raises Unreadable where it points past the palette."""
    if head.depth == 1:
        found = np.unpackbits(rows, axis=1)[:, : head.width]
    elif head.depth == 4:  # noqa: PLR2004
        found = np.stack([rows >> 4, rows & 15], axis=2).reshape(head.height, -1)[:, : head.width]
    else:
        found = rows[:, : head.width]
    if found.max() >= head.palette[1]:
        raise Unreadable("this BMP file is damaged: a pixel points past its palette")
    return found


def _fields(rows: Bytes, head: Header) -> Bytes:
    """Cut 16- or 32-bit pixels into channels by their masks and scale each to 0-255."""
    width = head.depth // 8
    pixels = np.ascontiguousarray(rows[:, : head.width * width]).view(f"<u{width}")
    found = np.empty((head.height, head.width, 4 if head.alpha else 3), np.uint8)
    for channel in range(found.shape[2]):
        mask = head.masks[channel]
        shift, top = (mask & -mask).bit_length() - 1, mask // (mask & -mask)
        value = (pixels & np.array(mask, pixels.dtype)) >> np.array(shift, pixels.dtype)
        found[..., channel] = value if top == 255 else (value * (255.0 / top) + 0.5).astype(np.uint8)  # noqa: PLR2004
    return found


def _masks(data: bytes, size: int, depth: int, compression: int) -> tuple[int, int, int, int]:
    if compression == _PLAIN or depth not in _DEFAULT_MASKS:
        return _DEFAULT_MASKS.get(depth, (0, 0, 0, 0))
    has_alpha = compression == _ALPHA_BITFIELDS or size >= 56  # noqa: PLR2004, where headers gained the fourth mask
    red, green, blue = _number(data, 54), _number(data, 58), _number(data, 62)
    masks = (red, green, blue, _number(data, 66) if has_alpha else 0)
    for mask in masks[:3] if not masks[3] else masks:
        run = mask // (mask & -mask) if mask else 0
        if mask == 0 or mask >> depth or run & (run + 1):
            raise Unreadable("this BMP file is damaged: its colour masks make no sense")
    return masks


def _resolution(across: int, down: int) -> tuple[float, float] | None:
    return (across / 1000, down / 1000) if 0 < across < 1 << 24 and 0 < down < 1 << 24 else None


def _number(data: bytes, at: int, size: int = 4, *, signed: bool = False) -> int:
    raw = data[at : at + size]
    if len(raw) < size:
        raise Unreadable("this BMP file is truncated")
    return int.from_bytes(raw, "little", signed=signed)
