"""A quick look at a picture and at what it says of itself, without decoding it at full size where that is avoidable."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fluxvision.core.types import Metadata, Raster, Source
from fluxvision.imaging import formats, load, metadata
from fluxvision.imaging.raster import upright
from fluxvision.imaging.reading import readable
from fluxvision.imaging.writing import writing


def describe(source: Source, param: str = "image", *, raw: bool = False) -> Metadata:
    """Return a probed picture's metadata, upright; raises InvalidRequest naming `param`.

    `raw` leaves the profile as it is in the file, which is quicker: no conversion from it is tried.
    """
    row = formats.find(source.format)
    with readable(row, param):
        image = load.opened(source.path, row)
        found = metadata.read(image if raw else load.working(image, source), source)
        warning = None if raw and found.icc is not None else load.warning(image, source)
    return found if warning is None else replace(found, warnings=(warning,))


def preview(source: Source, width: int, height: int, target: Path, param: str = "image") -> Raster:
    """Write a plainly resampled picture of about `width` × `height` as a raw file.

    Raises InvalidRequest for a damaged file and Unavailable for missing room; `target` is gone after either.
    8 bits per sample; the result is in the picture's own colours.
    """
    row = formats.find(source.format)
    with readable(row, param), writing(target):
        image = upright(source)
        image = image.thumbnail_image(width, height=height, size="force")
        if image.format == "ushort":
            image = (image / 257 + 0.5).cast("uchar")
        image.cast("uchar").rawsave(str(target))
    return Raster(target, width, height, image.bands, 8)
