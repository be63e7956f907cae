"""Writes a finished picture as Deep Zoom tiles, so that a browser can show a part without loading the whole."""

from __future__ import annotations

from pathlib import Path

import pyvips

from fluxvision.core import formats
from fluxvision.imaging.load import translate_read_errors
from fluxvision.imaging.profile import FIELD
from fluxvision.imaging.raster import open_upright, probe_own_file, write_guard
from fluxvision.imaging.transform import set_depth

STEM = "image"
TILE = 510
"""Side of a tile in pixels; with an overlap of one pixel on each side it is 512."""


def write_pyramid(path: Path, folder: Path) -> None:
    """Write `image.dzi` and the tiles in `image_files` below `folder`: JPEG, or WebP for a picture with alpha.

    The tiles are in sRGB, without metadata. The file is read once from top to bottom. Raises InvalidRequest for a
    damaged file and Unavailable on a full disk.
    """
    source = probe_own_file(path)
    with translate_read_errors(formats.find_format(source.format), "image"), write_guard(folder / f"{STEM}.dzi"):
        image = _to_display(open_upright(source))
        suffix = ".webp[Q=85]" if image.hasalpha() else ".jpeg[Q=88]"
        image.dzsave(str(folder / STEM), suffix=suffix, tile_size=TILE, overlap=1, keep="none")


def _to_display(image: pyvips.Image) -> pyvips.Image:
    """Return the image in sRGB with 8 bits per sample."""
    if image.get_typeof(FIELD):
        return image.icc_transform("srgb", embedded=True, intent="relative", depth=8)
    return set_depth(image, 8)
