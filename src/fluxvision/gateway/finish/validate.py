"""Checks a provider's file: its size against the request, damage, and whether it can be delivered as it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import gcd
from os import SEEK_END
from pathlib import Path

from fluxvision import imaging
from fluxvision.core.errors import InvalidRequest, PayloadTooLarge, UpstreamError
from fluxvision.core.images import InputImage, Metadata
from fluxvision.gateway.finish.state import FinishState
from fluxvision.imaging.raster import probe_own_file
from fluxvision.imaging.strip import is_metadata_free

SLACK, PIXELS = 0.02, 2
"""Accepted difference of a side: this share, or this many pixels."""
ENOUGH = 0.9
"""Smallest accepted share of the requested pixels; the result is resampled to the rest."""
FINEST, COARSEST = 8, 64
"""Networks round sides up or down to multiples of 8, 16, 32 or 64: the finest and the coarsest of them."""
SCREEN, NEARLY = 72 / 25.4, 0.01
"""Pixels per millimetre that viewers and libvips assume for a picture without a resolution, and the tolerance."""
STRUCTURED_FORMATS = ("png", "webp")
"""Formats whose chunks show that there is no metadata, which is faster than opening the picture."""
Size = tuple[int, int]


@contextmanager
def translate_damage() -> Iterator[None]:
    """Raise `UpstreamError`, billed, when a provider's file cannot be read inside the block."""
    try:
        yield
    except (InvalidRequest, PayloadTooLarge) as cause:
        message = "The provider returned a file that is damaged or no picture."
        raise UpstreamError(message, billed=True) from cause


def open_result(path: Path) -> InputImage:
    """Read the header of a provider's file; raises `UpstreamError`, billed, when it is not a picture."""
    with translate_damage():
        return probe_own_file(path)


def check_result_size(file: InputImage, state: FinishState) -> None:
    """Raise `UpstreamError`, billed, when a provider's file has not about the requested size.

    When the provider chose the size, any larger picture with the same aspect ratio is accepted.
    """
    inner = state.plan.fit.inner if state.plan.fit else None
    if inner is not None:
        _check_pixels((file.width, file.height), (state.source.width, state.source.height), state.requested_size, inner)


def _check_pixels(size: Size, source: Size, made: Size | None, inner: Size) -> None:
    wanted = made or inner
    shaped = any(_has_shape(size, shape) for shape in (source, wanted))
    if made is None:
        if not shaped:
            was = _describe_size(source)
            message = f"The provider returned {_describe_size(size)}, another shape than that of the picture, {was}."
            raise UpstreamError(message, billed=True)
        if _pixel_count(size) <= _pixel_count(source) < _pixel_count(inner):
            message = f"The provider returned {_describe_size(size)}, no larger than the picture was."
            raise UpstreamError(message, billed=True)
        return
    enough = _pixel_count(size) >= ENOUGH * _pixel_count(made)
    rounded = size != source and all(_is_near(*pair, _rounding_grid(size)) for pair in zip(size, made, strict=True))
    if not ((shaped and enough) or rounded):
        message = f"The provider returned {_describe_size(size)} where {_describe_size(made)} was asked for."
        raise UpstreamError(message, billed=True)


def _has_shape(size: Size, shape: Size) -> bool:
    """Return whether a picture has an aspect ratio, up to rounding of one of its sides."""
    (width, height), grid = size, _rounding_grid(size)
    return _is_near(height, width * shape[1] / shape[0], grid) or _is_near(width, height * shape[0] / shape[1], grid)


def _is_near(side: int, wanted: float, grid: int) -> bool:
    off = abs(side - wanted)
    return off <= SLACK * wanted + PIXELS or off < grid


def _rounding_grid(size: Size) -> int:
    """Return the largest of 8 to 64 of which both sides are multiples, 0 when there is none."""
    grid = gcd(*size, COARSEST)
    return grid if grid >= FINEST else 0


def _pixel_count(size: Size) -> int:
    return size[0] * size[1]


def _describe_size(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


def is_final(file: InputImage, state: FinishState) -> bool:
    """Return whether a provider's file can be delivered as it is, without decoding it.

    It must have the format, size and channels of the result and be complete; nothing is to be measured, and the source
    has no metadata to copy. The file's own metadata stays in it, so never when metadata is to be stripped.
    """
    plan, source, size = state.plan, state.source, (file.width, file.height)
    if plan.measure_fidelity or plan.apply_mask or plan.strip_metadata or plan.output_compression is not None:
        return False
    if file.format != imaging.find_format(plan.output_format).name or file.orientation != 1 or file.frames != 1:
        return False
    if plan.fit is not None and not size == (plan.fit.width, plan.fit.height) == imaging.inner_size(*size, plan.fit):
        return False
    if file.alpha != source.alpha or (file.alpha and not state.keeps_alpha) or file.channels != source.channels:
        return False
    return _is_complete(file) and (state.source_metadata_free or _has_no_metadata(source))


def _has_no_metadata(source: InputImage) -> bool:
    """Return whether a picture has no metadata except the resolution that is assumed by default."""
    if source.format in STRUCTURED_FORMATS and is_metadata_free(source):
        return True
    metadata = imaging.read_metadata(source, raw=True)
    usual = metadata.resolution is None or all(abs(one - SCREEN) < NEARLY for one in metadata.resolution)
    return usual and replace(metadata, resolution=None) == Metadata()


def _is_complete(file: InputImage) -> bool:
    """Return whether a file is certainly not truncated: a PNG was read to its end when it was probed."""
    if file.format == "png":
        return True
    with file.path.open("rb") as opened:
        if file.format == "webp":
            return int.from_bytes(opened.read(8)[4:], "little") + 8 <= file.size
        opened.seek(-2, SEEK_END)
        return file.format == "jpeg" and opened.read() == b"\xff\xd9"
