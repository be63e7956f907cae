"""Writes the picture of `--compare`: the source resampled on the left, the result on the right."""

from __future__ import annotations

from math import sqrt
from pathlib import Path

import pyvips

from fluxvision.catalog.geometry import solve_geometry
from fluxvision.core.errors import InternalError
from fluxvision.core.images import InputImage
from fluxvision.core.types import Job
from fluxvision.imaging import Limits, find_format, load, probe

LARGEST = 40_000_000
"""Pixels of the result above which only its centre is shown."""

DIVIDER = 4
WHITE = [255, 255, 255]
_ANY = Limits(bytes=2**40, pixels=2**40, frames=1000)


def write_comparison(job: Job, result: Path, target: Path) -> Path:
    """Write the comparison of a job's picture and one of its results to `target`; raises `InternalError`."""
    geometry = solve_geometry(job)
    width, height = geometry.width, geometry.height
    share = min(1.0, sqrt(LARGEST / (width * height)))
    shown = max(1, int(width * share)), max(1, int(height * share))
    try:
        plain = _read_pixels(job.image)
        plain = plain.resize(
            geometry.inner_width / plain.width, vscale=geometry.inner_height / plain.height, kernel="cubic"
        )
        before, after = plain.gravity("centre", width, height), _read_pixels(probe(result, _ANY))
        before, after = (image.gravity("centre", *shown) for image in (before, after))
        both = before.join(after, "horizontal", shim=DIVIDER, background=WHITE)
        both.pngsave(str(target), compression=3, filter="up", keep="none")
    except pyvips.Error as cause:
        raise InternalError("The comparison could not be written.") from cause
    return target


def _read_pixels(source: InputImage) -> pyvips.Image:
    """Return a picture upright as 8-bit sRGB, with white behind transparent pixels."""
    image = load.to_working_space(load.open_lazily(source.path, find_format(source.format)), source)
    if source.orientation != 1:
        image = image.copy_memory().autorot()
    if image.hasalpha():
        image = image.flatten(background=65535 if image.format == "ushort" else 255)
    if image.get_typeof("icc-profile-data"):
        return image.icc_transform("srgb", embedded=True, depth=8)
    return image.colourspace("srgb")
