"""Finished pixels as raw files: opened for one pass, and made of a finished file."""

from __future__ import annotations

from pathlib import Path

import pyvips

from fluxvision.core.errors import InternalError
from fluxvision.core.types import Raster, Source
from fluxvision.imaging import formats, load
from fluxvision.imaging.limits import Limits
from fluxvision.imaging.probe import probe
from fluxvision.imaging.reading import readable
from fluxvision.imaging.streaming import streamed
from fluxvision.imaging.vips import translated
from fluxvision.imaging.writing import writing

INTERPRETATION = {(1, 8): "b-w", (3, 8): "srgb", (1, 16): "grey16", (3, 16): "rgb16"}
"""What libvips calls so many colours of so many bits."""

_DELIVERED = Limits(bytes=64_000_000_000, pixels=10_000_000_000, frames=1000)


def open_raster(raster: Raster) -> pyvips.Image:
    """Open a raw file as an image whose rows are read once, top to bottom; raises InternalError."""
    failure = InternalError("The finished pixels could not be read back.")
    try:
        with translated(failure):
            return streamed(raster)
    except OSError as cause:
        raise failure from cause


def finished(path: Path) -> Source:
    """Probe a file that was made for us rather than sent to us: its size is no attack."""
    return probe(path, _DELIVERED)


def upright(source: Source) -> pyvips.Image:
    """Open a probed file's pixels, turned upright, in the working colours; to be used inside `readable`.

    Needs no more memory for a taller picture, unless it has to be turned or its format keeps it whole.
    """
    row = formats.find(source.format)
    image = load.working(load.opened(source.path, row), source)
    return image if source.orientation == 1 else image.copy_memory().autorot()


def raster(path: Path, target: Path) -> Raster:
    """Write the upright pixels of a finished file as a raw file: grey or RGB, then alpha, of 8 or 16 bits.

    Raises InvalidRequest for a damaged file and Unavailable for missing room; `target` is gone after either.
    """
    source = finished(path)
    with readable(formats.find(source.format), "image"), writing(target):
        image = upright(source)
        image.rawsave(str(target))
    return Raster(target, image.width, image.height, image.bands, 16 if image.format == "ushort" else 8)
