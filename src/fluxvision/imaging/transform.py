"""Takes in a picture file that a provider made of one of ours: its pixels, as numbers of the picture that was sent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyvips

from fluxvision.core.types import Raster, Source, Watch
from fluxvision.imaging import formats
from fluxvision.imaging.alpha import Samples
from fluxvision.imaging.fitting import resampled, sized
from fluxvision.imaging.profile import FIELD, by_digest
from fluxvision.imaging.raster import INTERPRETATION, upright
from fluxvision.imaging.reading import readable
from fluxvision.imaging.writing import writing

_LUMA = [[0.299, 0.587, 0.114]]
_RGB = 3
_STEP = 257
"""An 8-bit step, in 16 bits."""
_NEAR = 3
"""How far apart two profiles that are both called sRGB may be, in 8-bit steps."""
_LATTICE = np.stack(np.meshgrid(*[np.arange(0, 256, 51)] * 3), axis=-1).reshape(1, -1, 3).astype(np.uint8)


def received(
    file: Source,
    target: Path,
    *,
    size: tuple[int, int],
    channels: int,
    alpha: Samples | None = None,
    own: bool = False,
    watch: Watch | None = None,
) -> Raster:
    """Write a probed file's upright pixels as a raw file of `size` (width, height) and of 1 or 3 `channels`.

    The file's own alpha is kept if `own`, and dropped otherwise; `alpha`, of any size, takes the place of a missing
    one. A profile of the file is taken to describe what its maker made of sRGB, which is what the picture that was
    sent without a profile had looked like: the numbers are turned back into those.

    Raises InvalidRequest for a damaged file, Unavailable for missing room, and Cancelled when the watch says so;
    `target` is gone after each.
    """
    with readable(formats.find(file.format), "image"), writing(target, watch):
        image = _as_sent(upright(file))
        if image.hasalpha() and not own:
            image = image.extract_band(0, n=image.bands - 1)
        image = _coloured(image, channels)
        if (image.width, image.height) != size:
            image = resampled(image, *size)
        if alpha is not None and not image.hasalpha():
            image = _joined(image, sized(pyvips.Image.new_from_array(alpha), *size, kernel="cubic"))
        image.rawsave(str(target))
    return Raster(target, image.width, image.height, image.bands, _bits(image))


def deep(image: pyvips.Image, bits: int) -> pyvips.Image:
    """Return 8- or 16-bit samples with `bits` bits, rounded."""
    if _bits(image) == bits:
        return image
    if bits == 8:  # noqa: PLR2004
        return (image / _STEP + 0.5).cast("uchar")
    return (image * _STEP).cast("ushort")


def _bits(image: pyvips.Image) -> int:
    return 16 if image.format == "ushort" else 8


def _named(image: pyvips.Image) -> pyvips.Image:
    """Return an image of 1 to 4 bands under the name that libvips has for it."""
    return image.copy(interpretation=INTERPRETATION[3 if image.bands >= _RGB else 1, _bits(image)])


def _as_sent(image: pyvips.Image) -> pyvips.Image:
    """Return the numbers in sRGB, those of an sRGB file untouched."""
    icc = image.get(FIELD) if image.get_typeof(FIELD) else None
    if icc is None or _standard(bytes(icc)):
        return image
    return image.icc_transform("srgb", embedded=True, intent="relative", depth=_bits(image))


@by_digest
def _standard(icc: bytes) -> bool:
    """Whether a profile is one of the many that mean sRGB, or grey as sRGB has it."""
    lattice = pyvips.Image.new_from_array(_LATTICE)
    if icc[16:20] == b"GRAY":
        lattice = lattice[0]
    named = _named(lattice)
    named.set_type(pyvips.GValue.blob_type, FIELD, icc)
    turned = named.icc_transform("srgb", embedded=True, intent="relative", depth=8)
    return bool((turned - lattice).abs().max() <= _NEAR)


def _coloured(image: pyvips.Image, channels: int) -> pyvips.Image:
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
    return _named(colour if alpha is None else colour.bandjoin(alpha))


def _joined(image: pyvips.Image, alpha: pyvips.Image) -> pyvips.Image:
    return image.bandjoin(deep(alpha, _bits(image))).copy(interpretation=image.interpretation)
