"""Reads BMP, TGA and JPEG 2000 with Pillow; checks everything before pixels are decoded.

Pillow's `Image.open` has its own limit for large pictures, so its classes are used directly, with an open file because
it would map a named one into memory.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO, cast

import pyvips
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.TgaImagePlugin import TgaImageFile

from fluxvision.imaging import tiff
from fluxvision.imaging.fallback_reader import SAMPLES, PictureFile, Unreadable

_MODES = {
    "L": (1, False, 8),
    "LA": (1, True, 8),
    "RGB": (3, False, 8),
    "RGBA": (3, True, 8),
    "CMYK": (4, False, 8),
    "I;16": (1, False, 16),
}
"""Colours, alpha and bits of the modes whose samples are taken over."""
_CONVERTED = {"1": "L", "PA": "RGBA"}
_MM_PER_INCH = 25.4

_MAX_WIDTH = (1 << 31) - 1
_RUN_LENGTH = {1, 2}
_DEPTH_AT = {12: 24}
"""Offset of the bits per pixel in a BMP, by the size of the header; 28 for all other sizes."""


def open_bmp(file: BinaryIO) -> PictureFile:
    """Open a BMP; raises Unreadable for a kind that Pillow misreads, and for a file that is too short."""
    head = file.read(30)
    file.seek(0)
    image = BmpImageFile(file)
    _check_bmp(image, int.from_bytes(head[(at := _DEPTH_AT.get(head[14], 28)) : at + 2], "little"))
    offset, (_, stride, _) = image.tile[0].offset, _raw_arguments(image)
    return _picture(image, file, end=offset + stride * image.height)


def open_tga(file: BinaryIO) -> PictureFile:
    """Open a TGA."""
    return _picture(TgaImageFile(file), file)


def open_jpeg2000(file: BinaryIO) -> PictureFile:
    """Open a JPEG 2000 file, with or without boxes; raises Unreadable when its headers contradict each other.

    Colour is read with 8 bits per sample, grey with up to 16.
    """
    image = Jpeg2KImageFile(file)
    codestream, blocks = _read_boxes(file)
    file.seek(codestream + 8)
    right, bottom, left, top = (int.from_bytes(file.read(4), "big") for _ in range(4))
    file.seek(16, os.SEEK_CUR)
    components = int.from_bytes(file.read(2), "big")
    stored = len(image.getbands())
    if (right - left, bottom - top) != image.size or components != stored:
        raise Unreadable("this JPEG 2000 file is damaged or truncated")
    return _picture(image, file, blocks)


def _picture(image: ImageFile, file: BinaryIO, blocks: dict[str, bytes] | None = None, end: int = 0) -> PictureFile:
    """Return an opened file; `end` is the number of bytes that it must have."""
    mode = image.mode
    if mode == "P" and image.palette is not None:
        mode = "RGBA" if image.palette.mode == "RGBA" else "RGB"
    mode = _CONVERTED.get(mode, mode)
    if mode not in _MODES:
        raise ValueError("Unsupported mode")
    channels, alpha, bits = _MODES[mode]

    def read() -> pyvips.Image:
        if end > file.seek(0, os.SEEK_END):
            raise ValueError("truncated")
        pixels = image if image.mode == mode else image.convert(mode)
        return pyvips.Image.new_from_memory(pixels.tobytes(), *image.size, channels + alpha, SAMPLES[bits])

    across, down = (dots / _MM_PER_INCH for dots in image.info.get("dpi", (0, 0)))
    found = blocks or {}
    turn = tiff.exif_orientation(found.get("exif-data", b""))
    return PictureFile(
        *image.size, channels, alpha, bits, read, blocks=found, orientation=turn, resolution=(across, down)
    )


def _check_bmp(image: BmpImageFile, depth: int) -> None:
    """Raise Unreadable for a negative width, for run-length compression, and for palettes that Pillow misreads.

    Pillow decodes run lengths in Python, so that a small file could take minutes. It ignores a palette whose entries
    equal their grey values, and then assumes 1 or 8 bits per pixel, regardless of the actual depth.
    """
    if image.width > _MAX_WIDTH:
        raise ValueError("negative")
    if image.info["compression"] in _RUN_LENGTH:
        raise Unreadable("a run-length compressed BMP is not read; save it as PNG or as an uncompressed BMP")
    if (image.mode == "L" and depth != 8) or (image.mode == "1" and depth == 4):  # noqa: PLR2004
        raise ValueError("Unsupported palette")
    if image.mode == "1" and depth == 8:  # noqa: PLR2004
        image.tile = [image.tile[0]._replace(args=("1;8", *_raw_arguments(image)[1:]))]


def _raw_arguments(image: BmpImageFile) -> tuple[str, int, int]:
    """Return the arguments of Pillow's raw decoder: layout of the pixels, bytes per row, and order of the rows."""
    return cast("tuple[str, int, int]", image.tile[0].args)


_MAX_BOXES = 1000
_MAX_BLOCK = 16_000_000
_ICC_METHODS = {2, 3}
_UUID = 16
_UUIDS = {
    b"JpgTiffExif->JP2": "exif-data",
    bytes.fromhex("be7acfcb97a942e89c71999491e3afac"): "xmp-data",
    bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38"): "iptc-data",
}
"""Metadata in JPEG 2000 files, by the identifier of its box."""


def _read_boxes(file: BinaryIO) -> tuple[int, dict[str, bytes]]:
    """Return the offset of the codestream, 0 for a file without boxes, and profile and metadata."""
    file.seek(0)
    if file.read(2) == b"\xff\x4f":
        return 0, {}
    blocks: dict[str, bytes] = {}
    codestream = -1
    for kind, start, size in islice(_boxes(file, 0, file.seek(0, os.SEEK_END)), _MAX_BOXES):
        if kind == b"jp2c":
            codestream = start
        elif size > _MAX_BLOCK:
            continue
        elif kind == b"jp2h":
            blocks |= _read_profile(_content(file, start, size))
        elif kind == b"uuid":
            content = _content(file, start, size)
            name = _UUIDS.get(content[:_UUID])
            if name is not None:
                blocks[name] = content[_UUID:]
    if codestream < 0:
        raise ValueError("no codestream")
    return codestream, blocks


def _read_profile(header: bytes) -> dict[str, bytes]:
    """Return the ICC profile of a header box."""
    for kind, start, size in islice(_boxes(io.BytesIO(header), 0, len(header)), _MAX_BOXES):
        if kind == b"colr" and header[start] in _ICC_METHODS:
            return {"icc-profile-data": header[start + 3 : start + size]}
    return {}


def _boxes(file: BinaryIO, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield each box: its type, and the start and size of its content."""
    while at + 8 <= end:
        head = _content(file, at, 16)
        size, start = int.from_bytes(head[:4], "big"), 8
        if size == 1:
            size, start = int.from_bytes(head[8:16], "big"), 16
        size = size or end - at
        if size < start or at + size > end:
            return
        yield head[4:8], at + start, size - start
        at += size


def _content(file: BinaryIO, start: int, size: int) -> bytes:
    file.seek(start)
    return file.read(size)
