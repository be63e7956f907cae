"""Reads the frames of a GIF or WebP animation one by one, with the times for which they are shown."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyvips

from fluxvision.core import formats
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.images import InputImage
from fluxvision.imaging import load
from fluxvision.imaging.load import translate_read_errors
from fluxvision.imaging.raster import probe_own_file, write_guard

_USUAL = 100
"""Milliseconds of a frame that states no time."""


@dataclass(frozen=True, slots=True)
class Timing:
    """When the frames of an animation are shown, and whether any of them has transparent pixels."""

    delays: tuple[int, ...]
    """Milliseconds, one for each frame."""
    loop: int
    """How often the animation is shown; 0: without end."""
    alpha: bool


def read_timing(source: InputImage, param: str = "image") -> Timing:
    """Return the timing of an animation from its headers; raises InvalidRequest naming `param`."""
    row = formats.find_format(source.format)
    with translate_read_errors(row, param):
        whole = _open_pages(source.path, row, page=0, n=-1)
        stated = whole.get("delay") if whole.get_typeof("delay") else []
        loop = whole.get("loop") if whole.get_typeof("loop") else 0
        delays = (*stated[: source.frames], *[_USUAL] * (source.frames - len(stated)))
        return Timing(delays, loop, bool(whole.hasalpha()))


def extract_frame(
    source: InputImage, number: int, target: Path, *, alpha: bool, callbacks: JobCallbacks, param: str = "image"
) -> InputImage:
    """Write one frame, as it is shown, to a PNG file; with `alpha` it has an alpha channel in any case.

    Raises InvalidRequest naming `param` for a damaged file, and Unavailable when there is no disk space.
    """
    row = formats.find_format(source.format)
    with translate_read_errors(row, param), write_guard(target, callbacks):
        image = load.to_working_space(_open_pages(source.path, row, page=number, n=1), source)
        image = image if source.orientation == 1 else image.copy_memory().autorot()
        image = image.addalpha() if alpha and not image.hasalpha() else image
        image.pngsave(str(target), compression=1, keep="icc")
    return probe_own_file(target)


def _open_pages(path: Path, row: formats.Format, **pages: int) -> pyvips.Image:
    return getattr(pyvips.Image, str(row.loader))(str(path), access="sequential", **row.load, **pages)
