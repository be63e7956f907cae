"""Transforms pictures as raw files: fit, resample, mask blending, previews, and decoding a provider's result."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyvips
from numpy.typing import NDArray

from fluxvision.core import formats
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.errors import InternalError
from fluxvision.core.images import InputImage, Metadata, RawImage
from fluxvision.core.types import Fit
from fluxvision.imaging import load, metadata
from fluxvision.imaging.decode import Floats, Samples
from fluxvision.imaging.load import translate_read_errors, translate_vips_errors
from fluxvision.imaging.profile import FIELD, cache_by_digest
from fluxvision.imaging.raster import INTERPRETATION, open_raster, open_upright, write_guard

PEAK = {8: 255, 16: 65535}
"""Largest sample value by bits."""
_CENTRED = {"idx": 0.5, "idy": 0.5, "odx": -0.5, "ody": -0.5, "extend": "copy", "premultiplied": True}
"""Options of libvips' affine: pixel centres as coordinates, edge pixels repeated outside."""


def fit_raster(raster: RawImage, fit: Fit, target: Path, callbacks: JobCallbacks | None = None) -> RawImage:
    """Write the raster, fitted, as another raw file: reduced by Lanczos, enlarged by a cubic, alpha-aware.

    `cover` crops around the centre; `pad` surrounds with transparency, which becomes white in a format without alpha.

    Raises `InternalError`, `Unavailable` when the disk is full, and `Cancelled` when the job is cancelled before or
    after the work; `target` is removed in each case.
    """
    with (
        translate_vips_errors(InternalError("The finished pixels could not be fitted.")),
        write_guard(target, callbacks),
    ):
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
    """Return the image at another size, with colours weighted by alpha if it has alpha."""
    if not image.hasalpha():
        return resample(image, width, height)
    peak = PEAK[16 if image.format == "ushort" else 8]
    weighed = resample(image.premultiply(max_alpha=peak), width, height).unpremultiply(max_alpha=peak)
    return (weighed + 0.5).cast(image.format).copy(interpretation=image.interpretation)


def resample(image: pyvips.Image, width: int, height: int, kernel: str = "lanczos3") -> pyvips.Image:
    """Return the image at another size, each band separately: reduced by the kernel, enlarged by a cubic.

    The picture's corners stay in place, whereas libvips' own enlargement shifts it by half a pixel.
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
    """Return the picture's size inside (contain, pad), around (cover) or equal to (stretch) the box.

    A size that differs from the box only by rounding becomes the box. `fit.inner` takes precedence.
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
"""The 16-bit value of one 8-bit step."""
_NEAR = 3
"""Largest difference between two profiles that both count as sRGB, in 8-bit steps."""
_LATTICE = np.stack(np.meshgrid(*[np.arange(0, 256, 51)] * 3), axis=-1).reshape(1, -1, 3).astype(np.uint8)


def read_provider_image(
    file: InputImage,
    target: Path,
    *,
    size: tuple[int, int],
    channels: int,
    alpha: Samples | None = None,
    own: bool = False,
    callbacks: JobCallbacks | None = None,
) -> RawImage:
    """Write a probed file's upright pixels as a raw file of `size` (width, height) and of 1 or 3 `channels`.

    The file's own alpha is kept if `own`, otherwise dropped; `alpha`, of any size, replaces missing alpha. The provider
    got the picture without a profile and treated it as sRGB, so if its file has a profile, the values are converted
    back to sRGB.

    Raises InvalidRequest for a damaged file, Unavailable on a full disk, and Cancelled when the job is cancelled;
    `target` is removed in each case.
    """
    with translate_read_errors(formats.find_format(file.format), "image"), write_guard(target, callbacks):
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
    """Return 8- or 16-bit samples converted to `bits` bits, rounded."""
    if _sample_bits(image) == bits:
        return image
    if bits == 8:  # noqa: PLR2004
        return (image / _STEP + 0.5).cast("uchar")
    return (image * _STEP).cast("ushort")


def _sample_bits(image: pyvips.Image) -> int:
    return 16 if image.format == "ushort" else 8


def _set_interpretation(image: pyvips.Image) -> pyvips.Image:
    """Return an image of 1 to 4 bands with the matching interpretation of libvips."""
    return image.copy(interpretation=INTERPRETATION[3 if image.bands >= _RGB else 1, _sample_bits(image)])


def _undo_profile(image: pyvips.Image) -> pyvips.Image:
    """Return the image converted to sRGB; an sRGB image is not changed."""
    icc = image.get(FIELD) if image.get_typeof(FIELD) else None
    if icc is None or _is_standard_profile(bytes(icc)):
        return image
    return image.icc_transform("srgb", embedded=True, intent="relative", depth=_sample_bits(image))


@cache_by_digest
def _is_standard_profile(icc: bytes) -> bool:
    """Return whether a profile is one of the many equivalents of sRGB, or of grey with sRGB's curve."""
    lattice = pyvips.Image.new_from_array(_LATTICE)
    if icc[16:20] == b"GRAY":
        lattice = lattice[0]
    named = _set_interpretation(lattice)
    named.set_type(pyvips.GValue.blob_type, FIELD, icc)
    turned = named.icc_transform("srgb", embedded=True, intent="relative", depth=8)
    return bool((turned - lattice).abs().max() <= _NEAR)


def _split_colour(image: pyvips.Image, channels: int) -> pyvips.Image:
    """Return grey or RGB colours, followed by alpha if there is one."""
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
"""Source pixels inside a mask's edge that stay unchanged, so that the enlarged mask does not cross the edge."""


def soften_mask(mask: NDArray[np.uint8]) -> Floats:
    """Return weights from 0 to 1: 0 wherever the mask is 0, rising to the mask's own value over three pixels.

    Peak memory is 16 bytes per pixel.
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
    """Return the weights shifted by some pixels; edge values are repeated."""
    size = weight.shape[axis]
    return weight.take(np.clip(np.arange(size) + by, 0, size - 1), axis)


def blend_rasters(
    under: RawImage, over: RawImage, weight: Floats, target: Path, callbacks: JobCallbacks | None = None
) -> RawImage:
    """Write a blend as a raw file: `under` where the weight is 0, `over` where it is 1, mixed between.

    Both must have the same size and number of colours; weights of any size are enlarged smoothly. Alpha is that of
    `over`. The result has the larger number of bits, and equals `under` exactly where the enlarged weight is 0.

    Raises `InternalError`, `Unavailable` when the disk is full, and `Cancelled` when the job is cancelled; `target` is
    removed in each case.
    """
    with (
        translate_vips_errors(InternalError("The finished pixels could not be blended.")),
        write_guard(target, callbacks),
    ):
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

    `raw` returns the profile as it is in the file, without testing whether it can be used, which is faster.
    """
    row = formats.find_format(source.format)
    with translate_read_errors(row, param):
        image = load.open_header(source.path, row)
        found = metadata.read_blocks(image if raw else load.to_working_space(image, source), source)
        warning = None if raw and found.icc is not None else load.profile_warning(image, source)
    return found if warning is None else replace(found, warnings=(warning,))


def write_preview(source: InputImage, width: int, height: int, target: Path, param: str = "image") -> RawImage:
    """Write a plainly resampled picture of about `width` × `height` pixels as a raw file.

    It has 8 bits per sample, in the picture's own colours. Raises InvalidRequest for a damaged file and Unavailable on
    a full disk; `target` is removed in both cases.
    """
    row = formats.find_format(source.format)
    with translate_read_errors(row, param), write_guard(target):
        image = open_upright(source)
        image = image.thumbnail_image(width, height=height, size="force")
        if image.format == "ushort":
            image = (image / 257 + 0.5).cast("uchar")
        image.cast("uchar").rawsave(str(target))
    return RawImage(target, width, height, image.bands, 8)
