"""Looks at the file that a provider sent: whether it can be what was asked for, and whether anything is to be done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import gcd
from os import SEEK_END
from pathlib import Path

from fluxvision import imaging
from fluxvision.core.errors import InvalidRequest, PayloadTooLarge, UpstreamError
from fluxvision.core.types import Metadata, Source
from fluxvision.gateway.finish.state import Work
from fluxvision.imaging.raster import finished
from fluxvision.imaging.strip import bare

SLACK, PIXELS = 0.02, 2
"""By how much a side may differ: this share and so many pixels."""
ENOUGH = 0.9
"""The least share of the pixels asked for; what is missing is resampled."""
FINEST, COARSEST = 8, 64
"""Networks make sides that divide by 8, 16, 32 or 64; so far a side may be rounded, up or down."""
SCREEN, NEARLY = 72 / 25.4, 0.01
"""Pixels per millimetre that viewers assume, and libvips reports, where a picture does not say."""
TELLING = ("png", "webp")
"""Formats whose chunks alone tell that there is nothing; that is quicker than to open the picture."""
Size = tuple[int, int]


@contextmanager
def billed() -> Iterator[None]:
    """Raise `UpstreamError`, billed, where a provider's file cannot be read."""
    try:
        yield
    except (InvalidRequest, PayloadTooLarge) as cause:
        message = "The provider returned a file that is damaged or no picture."
        raise UpstreamError(message, billed=True) from cause


def opened(path: Path) -> Source:
    """Read the header of a provider's file; raises `UpstreamError`, billed, where it is no picture."""
    with billed():
        return finished(path)


def check(file: Source, work: Work) -> None:
    """Raise `UpstreamError`, billed, where a provider's file is not about what was asked for.

    That is the size that was asked for, or where that is not known a larger picture of the same shape.
    """
    inner = work.plan.fit.inner if work.plan.fit else None
    if inner is not None:
        _check((file.width, file.height), (work.source.width, work.source.height), work.made, inner)


def _check(size: Size, source: Size, made: Size | None, inner: Size) -> None:
    wanted = made or inner
    shaped = any(_shaped(size, shape) for shape in (source, wanted))
    if made is None:
        if not shaped:
            message = f"The provider returned {_text(size)}, another shape than that of the picture, {_text(source)}."
            raise UpstreamError(message, billed=True)
        if _pixels(size) <= _pixels(source) < _pixels(inner):
            message = f"The provider returned {_text(size)}, no larger than the picture was."
            raise UpstreamError(message, billed=True)
        return
    enough = _pixels(size) >= ENOUGH * _pixels(made)
    rounded = size != source and all(_near(*pair, _grid(size)) for pair in zip(size, made, strict=True))
    if not ((shaped and enough) or rounded):
        message = f"The provider returned {_text(size)} where {_text(made)} was asked for."
        raise UpstreamError(message, billed=True)


def _shaped(size: Size, shape: Size) -> bool:
    """Whether a picture has a shape, but for a rounding of one of its sides."""
    (width, height), grid = size, _grid(size)
    return _near(height, width * shape[1] / shape[0], grid) or _near(width, height * shape[0] / shape[1], grid)


def _near(side: int, wanted: float, grid: int) -> bool:
    off = abs(side - wanted)
    return off <= SLACK * wanted + PIXELS or off < grid


def _grid(size: Size) -> int:
    """Return the number from 8 to 64 that both sides were rounded to, 0 where there is none."""
    grid = gcd(*size, COARSEST)
    return grid if grid >= FINEST else 0


def _pixels(size: Size) -> int:
    return size[0] * size[1]


def _text(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


def untouched(file: Source, work: Work) -> bool:
    """Whether a provider's file is the result as it is, without a look at its pixels.

    It has the format, size and channels of the result and does not end early; there is nothing to measure, and the
    source says nothing of itself that would belong on it. What the file says of itself stays on it, so it is never the
    result where metadata is to be stripped.
    """
    plan, source, size = work.plan, work.source, (file.width, file.height)
    if plan.measured or plan.masked or plan.strip_metadata or plan.output_compression is not None:
        return False
    if file.format != imaging.find(plan.output_format).name or file.orientation != 1 or file.frames != 1:
        return False
    if plan.fit is not None and not size == (plan.fit.width, plan.fit.height) == imaging.inner_size(*size, plan.fit):
        return False
    if file.alpha != source.alpha or (file.alpha and not work.transparent) or file.channels != source.channels:
        return False
    return _whole(file) and (work.silent or _silent(source))


def _silent(source: Source) -> bool:
    """Whether a picture says nothing of itself but a resolution that is assumed anyway."""
    if source.format in TELLING and bare(source):
        return True
    metadata = imaging.describe(source, raw=True)
    usual = metadata.resolution is None or all(abs(one - SCREEN) < NEARLY for one in metadata.resolution)
    return usual and replace(metadata, resolution=None) == Metadata()


def _whole(file: Source) -> bool:
    """Whether a file is surely not cut off: a PNG was walked to its end when it was probed."""
    if file.format == "png":
        return True
    with file.path.open("rb") as opened:
        if file.format == "webp":
            return int.from_bytes(opened.read(8)[4:], "little") + 8 <= file.size
        opened.seek(-2, SEEK_END)
        return file.format == "jpeg" and opened.read() == b"\xff\xd9"
