"""Brings finished pixels to an exact box: contain, cover, pad or stretch, in one streaming pass."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pyvips

from fluxvision.core.errors import InternalError
from fluxvision.core.types import Fit, Raster, Watch
from fluxvision.imaging.raster import open_raster
from fluxvision.imaging.vips import translated
from fluxvision.imaging.writing import writing

PEAK = {8: 255, 16: 65535}
"""The largest sample of so many bits."""
_CENTRED = {"idx": 0.5, "idy": 0.5, "odx": -0.5, "ody": -0.5, "extend": "copy", "premultiplied": True}
"""Pixels are measured from their centres, and the border goes on outside."""


def fitted(raster: Raster, fit: Fit, target: Path, watch: Watch | None = None) -> Raster:
    """Write the raster, fitted, as another raw file: reduced by Lanczos, enlarged by a cubic, alpha-aware.

    `cover` crops around the centre; `pad` surrounds with transparency, which a format without alpha shows as white.

    Raises `InternalError`, `Unavailable` where the disk is full, and `Cancelled` when the watch says so before or
    after the work; `target` is gone after each.
    """
    with translated(InternalError("The finished pixels could not be fitted.")), writing(target, watch):
        image = open_raster(raster)
        peak = PEAK[raster.bits]
        inner_width, inner_height = inner_size(raster.width, raster.height, fit)
        if (inner_width, inner_height) != (raster.width, raster.height):
            image = resampled(image, inner_width, inner_height)
        if fit.mode == "cover":
            left, top = (inner_width - fit.width) // 2, (inner_height - fit.height) // 2
            image = image.crop(left, top, fit.width, fit.height)
        elif fit.mode == "pad" and (inner_width, inner_height) != (fit.width, fit.height):
            if not image.hasalpha():
                image = image.bandjoin(peak)
            left, top = (fit.width - inner_width) // 2, (fit.height - inner_height) // 2
            image = image.embed(left, top, fit.width, fit.height, extend="black")
        image.rawsave(str(target))
    return Raster(target, image.width, image.height, image.bands, raster.bits)


def resampled(image: pyvips.Image, width: int, height: int) -> pyvips.Image:
    """Return the image at another size, its colours weighted by alpha where there is one."""
    if not image.hasalpha():
        return sized(image, width, height)
    peak = PEAK[16 if image.format == "ushort" else 8]
    weighed = sized(image.premultiply(max_alpha=peak), width, height).unpremultiply(max_alpha=peak)
    return (weighed + 0.5).cast(image.format).copy(interpretation=image.interpretation)


def sized(image: pyvips.Image, width: int, height: int, kernel: str = "lanczos3") -> pyvips.Image:
    """Return the image at another size, each band for itself: reduced by the kernel, enlarged by a cubic.

    The corners of the picture stay in their corners. libvips' own enlargement moves it by half a pixel.
    """
    across, down = width / image.width, height / image.height
    if across < 1 or down < 1:
        image = image.resize(min(1.0, across), vscale=min(1.0, down), kernel=kernel)
    if across <= 1 and down <= 1:
        return image
    return image.affine(
        [max(1.0, across), 0, 0, max(1.0, down)],
        interpolate=pyvips.Interpolate.new("bicubic"),
        oarea=[0, 0, width, height],
        **_CENTRED,
    )


def inner_size(width: int, height: int, fit: Fit) -> tuple[int, int]:
    """Return the picture's own size inside (contain, pad), around (cover) or equal to (stretch) the box.

    A result that is off the box by rounding alone is taken as the box. A size that the fit itself knows comes first.
    """
    if fit.inner is not None:
        return fit.inner
    if fit.mode == "stretch" or (
        fit.mode == "contain" and abs(width * fit.height - height * fit.width) < width + height
    ):
        return fit.width, fit.height
    across, down = Fraction(fit.width, width), Fraction(fit.height, height)
    factor = max(across, down) if fit.mode == "cover" else min(across, down)
    inner = max(1, round(width * factor)), max(1, round(height * factor))
    if fit.mode == "cover":
        return max(inner[0], fit.width), max(inner[1], fit.height)
    return min(inner[0], fit.width), min(inner[1], fit.height)
