"""Reads BMP files with Pillow, because libvips has no loader for them; checks all lengths before reading pixels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pyvips

if TYPE_CHECKING:
    from PIL.BmpImagePlugin import BmpImageFile

_MAX_WIDTH = (1 << 31) - 1
_RUN_LENGTH = {1, 2}
_DEPTH_AT = {12: 24}
"""Offset of the bits per pixel, by the size of the header; 28 for all other sizes."""
_CONVERTED = {"1": "L", "P": "RGB"}
_MM_PER_INCH = 25.4
_MAX_PER_MM = (1 << 24) / 1000
_KIND = "a BMP of this kind is not read; save it as PNG or as an uncompressed BMP"
_DAMAGED = "this BMP file is damaged or truncated"


class Unreadable(Exception):
    """The file is damaged or of an unsupported kind; the text is a short reason."""


@contextmanager
def open_header(path: Path) -> Iterator[BmpImageFile]:
    """Open a file and read its header: `size`, and `mode`, which is 1, L, P, RGB or RGBA; raises Unreadable.

    Pillow's `Image.open` has its own limit for large pictures, so its BMP class is used directly, with an open file
    because it would map a named one into memory.
    """
    from PIL.BmpImagePlugin import BmpImageFile  # noqa: PLC0415, the start of the server does not need it

    with path.open("rb") as file:
        head = file.read(30)
        file.seek(0)
        try:
            image = BmpImageFile(file)
            _check_kind(image, int.from_bytes(head[(at := _DEPTH_AT.get(head[14], 28)) : at + 2], "little"))
            yield image
        except (OSError, SyntaxError, ValueError, OverflowError) as cause:
            if isinstance(cause, OSError) and cause.errno is not None:
                raise
            raise Unreadable(_KIND if "Unsupported" in str(cause) else _DAMAGED) from cause


def count_channels(image: BmpImageFile) -> int:
    """Return the number of colour channels: 1 for grey, otherwise 3."""
    return 1 if image.mode in {"1", "L"} else 3


def read(path: Path) -> pyvips.Image:
    """Return the pixels: 1 or 3 bands of colour, with alpha one more, 8 bits, upright; raises Unreadable."""
    with open_header(path) as image:
        offset, (_, stride, _) = image.tile[0].offset, _raw_arguments(image)
        if offset + stride * image.height > path.stat().st_size:
            raise Unreadable(_DAMAGED)
        pixels = image.convert(_CONVERTED[image.mode]) if image.mode in _CONVERTED else image
        found = pyvips.Image.new_from_memory(pixels.tobytes(), *image.size, len(pixels.getbands()), "uchar")
        across, down = (dots / _MM_PER_INCH for dots in image.info.get("dpi", (0, 0)))
    if not (0 < across < _MAX_PER_MM and 0 < down < _MAX_PER_MM):
        across = down = 1.0
    return found.copy(interpretation="b-w" if found.bands == 1 else "srgb", xres=across, yres=down)


def _check_kind(image: BmpImageFile, depth: int) -> None:
    """Raise Unreadable for a negative width, for run-length compression, and for palettes that Pillow misreads.

    Pillow decodes run lengths in Python, so that a small file could take minutes. It ignores a palette whose entries
    equal their grey values, and then assumes 1 or 8 bits per pixel, regardless of the actual depth.
    """
    if image.width > _MAX_WIDTH:
        raise Unreadable(_DAMAGED)
    if image.info["compression"] in _RUN_LENGTH:
        raise Unreadable("a run-length compressed BMP is not read; save it as PNG or as an uncompressed BMP")
    if (image.mode == "L" and depth != 8) or (image.mode == "1" and depth == 4):  # noqa: PLR2004
        raise Unreadable(_KIND)
    if image.mode == "1" and depth == 8:  # noqa: PLR2004
        image.tile = [image.tile[0]._replace(args=("1;8", *_raw_arguments(image)[1:]))]


def _raw_arguments(image: BmpImageFile) -> tuple[str, int, int]:
    """Return the arguments of Pillow's raw decoder: layout of the pixels, bytes per row, and order of the rows."""
    return cast("tuple[str, int, int]", image.tile[0].args)
