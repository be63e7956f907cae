"""Takes in a picture file that a provider made of one of ours: its pixels, as numbers of the picture that was sent."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyvips
from numpy.typing import NDArray

from fluxvision.core.errors import InternalError
from fluxvision.core.types import Fit, InputImage, JobCallbacks, Metadata, RawImage
from fluxvision.imaging import formats, load, metadata
from fluxvision.imaging.decode import Floats, Samples
from fluxvision.imaging.load import FIELD, cache_by_digest, translate_read_errors, translate_vips_errors
from fluxvision.imaging.raster import INTERPRETATION, open_raster, open_upright, write_guard

PEAK = {8: 255, 16: 65535}
"""The largest sample of so many bits."""
_CENTRED = {"idx": 0.5, "idy": 0.5, "odx": -0.5, "ody": -0.5, "extend": "copy", "premultiplied": True}
"""Pixels are measured from their centres, and the border goes on outside."""


def fit_raster(raster: RawImage, fit: Fit, target: Path, watch: JobCallbacks | None = None) -> RawImage:
    """Write the raster, fitted, as another raw file: reduced by Lanczos, enlarged by a cubic, alpha-aware.

    `cover` crops around the centre; `pad` surrounds with transparency, which a format without alpha shows as white.

    Raises `InternalError`, `Unavailable` where the disk is full, and `Cancelled` when the watch says so before or
    after the work; `target` is gone after each.
    """
    with translate_vips_errors(InternalError("The finished pixels could not be fitted.")), write_guard(target, watch):
        image = open_raster(raster)
        peak = PEAK[raster.bits]
        inner_width, inner_height = inner_size(raster.width, raster.height, fit)
        if (inner_width, inner_height) != (raster.width, raster.height):
            image = resample_premultiplied(image, inner_width, inner_height)
        if fit.mode == "cover":
            left, top = (inner_width - fit.width) // 2, (inner_height - fit.height) // 2
            image = image.crop(left, top, fit.width, fit.height)
        elif fit.mode == "pad" and (inner_width, inner_height) != (fit.width, fit.height):
            if not image.hasalpha():
                image = image.bandjoin(peak)
            left, top = (fit.width - inner_width) // 2, (fit.height - inner_height) // 2
            image = image.embed(left, top, fit.width, fit.height, extend="black")
        image.rawsave(str(target))
    return RawImage(target, image.width, image.height, image.bands, raster.bits)


def resample_premultiplied(image: pyvips.Image, width: int, height: int) -> pyvips.Image:
    """Return the image at another size, its colours weighted by alpha where there is one."""
    if not image.hasalpha():
        return resample(image, width, height)
    peak = PEAK[16 if image.format == "ushort" else 8]
    weighed = resample(image.premultiply(max_alpha=peak), width, height).unpremultiply(max_alpha=peak)
    return (weighed + 0.5).cast(image.format).copy(interpretation=image.interpretation)


def resample(image: pyvips.Image, width: int, height: int, kernel: str = "lanczos3") -> pyvips.Image:
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


_LUMA = [[0.299, 0.587, 0.114]]
_RGB = 3
_STEP = 257
"""An 8-bit step, in 16 bits."""
_NEAR = 3
"""How far apart two profiles that are both called sRGB may be, in 8-bit steps."""
_LATTICE = np.stack(np.meshgrid(*[np.arange(0, 256, 51)] * 3), axis=-1).reshape(1, -1, 3).astype(np.uint8)


def read_provider_image(
    file: InputImage,
    target: Path,
    *,
    size: tuple[int, int],
    channels: int,
    alpha: Samples | None = None,
    own: bool = False,
    watch: JobCallbacks | None = None,
) -> RawImage:
    """Write a probed file's upright pixels as a raw file of `size` (width, height) and of 1 or 3 `channels`.

    The file's own alpha is kept if `own`, and dropped otherwise; `alpha`, of any size, takes the place of a missing
    one. A profile of the file is taken to describe what its maker made of sRGB, which is what the picture that was
    sent without a profile had looked like: the numbers are turned back into those.

    Raises InvalidRequest for a damaged file, Unavailable for missing room, and Cancelled when the watch says so;
    `target` is gone after each.
    """
    with translate_read_errors(formats.find_format(file.format), "image"), write_guard(target, watch):
        image = _undo_profile(open_upright(file))
        if image.hasalpha() and not own:
            image = image.extract_band(0, n=image.bands - 1)
        image = _split_colour(image, channels)
        if (image.width, image.height) != size:
            image = resample_premultiplied(image, *size)
        if alpha is not None and not image.hasalpha():
            image = _join_bands(image, resample(pyvips.Image.new_from_array(alpha), *size, kernel="cubic"))
        image.rawsave(str(target))
    return RawImage(target, image.width, image.height, image.bands, _sample_bits(image))


def set_depth(image: pyvips.Image, bits: int) -> pyvips.Image:
    """Return 8- or 16-bit samples with `bits` bits, rounded."""
    if _sample_bits(image) == bits:
        return image
    if bits == 8:  # noqa: PLR2004
        return (image / _STEP + 0.5).cast("uchar")
    return (image * _STEP).cast("ushort")


def _sample_bits(image: pyvips.Image) -> int:
    return 16 if image.format == "ushort" else 8


def _set_interpretation(image: pyvips.Image) -> pyvips.Image:
    """Return an image of 1 to 4 bands under the name that libvips has for it."""
    return image.copy(interpretation=INTERPRETATION[3 if image.bands >= _RGB else 1, _sample_bits(image)])


def _undo_profile(image: pyvips.Image) -> pyvips.Image:
    """Return the numbers in sRGB, those of an sRGB file untouched."""
    icc = image.get(FIELD) if image.get_typeof(FIELD) else None
    if icc is None or _is_standard_profile(bytes(icc)):
        return image
    return image.icc_transform("srgb", embedded=True, intent="relative", depth=_sample_bits(image))


@cache_by_digest
def _is_standard_profile(icc: bytes) -> bool:
    """Whether a profile is one of the many that mean sRGB, or grey as sRGB has it."""
    lattice = pyvips.Image.new_from_array(_LATTICE)
    if icc[16:20] == b"GRAY":
        lattice = lattice[0]
    named = _set_interpretation(lattice)
    named.set_type(pyvips.GValue.blob_type, FIELD, icc)
    turned = named.icc_transform("srgb", embedded=True, intent="relative", depth=8)
    return bool((turned - lattice).abs().max() <= _NEAR)


def _split_colour(image: pyvips.Image, channels: int) -> pyvips.Image:
    """Return grey or RGB colours, and alpha where there is one."""
    alpha = image[image.bands - 1] if image.hasalpha() else None
    colours = image.bands - image.hasalpha()
    if colours == channels:
        return image
    if channels == 1:
        grey = image.extract_band(0, n=_RGB).recomb(_LUMA)
        colour = (grey + 0.5).cast(image.format)
    else:
        colour = image[0].bandjoin([image[0], image[0]])
    return _set_interpretation(colour if alpha is None else colour.bandjoin(alpha))


def _join_bands(image: pyvips.Image, alpha: pyvips.Image) -> pyvips.Image:
    return image.bandjoin(set_depth(alpha, _sample_bits(image))).copy(interpretation=image.interpretation)


SHRINK = 2
"""Source pixels inside a mask's edge that stay as they are, so that its enlargement does not reach over the edge."""


def soften_mask(mask: NDArray[np.uint8]) -> Floats:
    """Return weights from 0 to 1: 0 wherever the mask is 0, rising to the mask's own value over three pixels.

    Takes 16 bytes for each pixel at its peak.
    """
    weight = mask.astype(np.float32) / np.float32(255)
    for axis in (0, 1):
        least = weight.copy()
        for by in range(-SHRINK, SHRINK + 1):
            np.minimum(least, _shift(weight, by, axis), out=least)
        weight = least
    for axis in (0, 1):
        near = _shift(weight, -1, axis)
        near += _shift(weight, 1, axis)
        near *= np.float32(0.25)
        near += np.float32(0.5) * weight
        weight = near
    return weight


def _shift(weight: Floats, by: int, axis: int) -> Floats:
    """Return the neighbours so many pixels away; the border goes on outside."""
    size = weight.shape[axis]
    return weight.take(np.clip(np.arange(size) + by, 0, size - 1), axis)


def blend_rasters(
    under: RawImage, over: RawImage, weight: Floats, target: Path, watch: JobCallbacks | None = None
) -> RawImage:
    """Write a picture as a raw file: `under` where the weight is 0, `over` where it is 1, mixed between.

    Both have one size and the same colours; the weights, of any size, are enlarged smoothly. Alpha is that of `over`.
    The result has the bits of the deeper one, and is exactly `under` where the enlarged weight is 0.

    Raises `InternalError`, `Unavailable` where the disk is full, and `Cancelled` when the watch says so; `target` is
    gone after each.
    """
    with translate_vips_errors(InternalError("The finished pixels could not be blended.")), write_guard(target, watch):
        bits = max(under.bits, over.bits)
        low, high = set_depth(open_raster(under), bits), set_depth(open_raster(over), bits)
        shares = resample(pyvips.Image.new_from_array(weight), over.width, over.height, kernel="cubic").clamp()
        fresh = high.extract_band(0, n=under.bands)
        mixed = ((fresh - low) * shares + low + 0.5).cast(low.format)
        if over.bands > under.bands:
            mixed = mixed.bandjoin(high[over.bands - 1])
        mixed.copy(interpretation=INTERPRETATION[under.bands, bits]).rawsave(str(target))
    return RawImage(target, over.width, over.height, over.bands, bits)


def read_metadata(source: InputImage, param: str = "image", *, raw: bool = False) -> Metadata:
    """Return a probed picture's metadata, upright; raises InvalidRequest naming `param`.

    `raw` leaves the profile as it is in the file, which is quicker: no conversion from it is tried.
    """
    row = formats.find_format(source.format)
    with translate_read_errors(row, param):
        image = load.open_lazily(source.path, row)
        found = metadata.read_blocks(image if raw else load.to_working_space(image, source), source)
        warning = None if raw and found.icc is not None else load.profile_warning(image, source)
    return found if warning is None else replace(found, warnings=(warning,))


def write_preview(source: InputImage, width: int, height: int, target: Path, param: str = "image") -> RawImage:
    """Write a plainly resampled picture of about `width` × `height` as a raw file.

    Raises InvalidRequest for a damaged file and Unavailable for missing room; `target` is gone after either.
    8 bits per sample; the result is in the picture's own colours.
    """
    row = formats.find_format(source.format)
    with translate_read_errors(row, param), write_guard(target):
        image = open_upright(source)
        image = image.thumbnail_image(width, height=height, size="force")
        if image.format == "ushort":
            image = (image / 257 + 0.5).cast("uchar")
        image.cast("uchar").rawsave(str(target))
    return RawImage(target, width, height, image.bands, 8)
