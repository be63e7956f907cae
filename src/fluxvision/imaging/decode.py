"""Decodes a probed picture to upright arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyvips
from numpy.typing import NDArray

from fluxvision.core.errors import InvalidRequest
from fluxvision.core.types import Metadata, Source
from fluxvision.imaging import alpha as transparency
from fluxvision.imaging import formats, load, metadata
from fluxvision.imaging.alpha import Samples
from fluxvision.imaging.reading import readable

_STRIP = 20_000
"""Pixels that are split into colour and alpha at once."""
_DEEP = 257
"""An 8-bit step, in 16 bits."""


@dataclass(frozen=True, slots=True)
class Pixels:
    """An upright picture in its own colours.

    `color` is (H, W, C), uint8 or uint16, C-contiguous, with C 1 or 3; `alpha` is (H, W) of the same type, straight,
    or None. `metadata.icc`, if any, is the profile of `color`; without one the colours are sRGB.
    """

    color: Samples
    alpha: Samples | None
    metadata: Metadata


def decode(source: Source, param: str = "image") -> Pixels:
    """Read all pixels of the first frame; raises InvalidRequest naming `param` where the file is damaged.

    Colour under fully transparent pixels is extended from the visible ones.
    """
    row = formats.find(source.format)
    with readable(row, param):
        image = load.working(load.opened(source.path, row), source)
        color, alpha = _read(image, source)
        found = metadata.read(image, source)
    # What the loader holds is given back before colour is extended.
    del image
    if alpha is not None:
        transparency.extend(color, alpha)
    return Pixels(color, alpha, found)


def check_mask(source: Source, width: int, height: int, param: str = "mask") -> None:
    """Raise InvalidRequest naming `param` for a mask without alpha or of another size than the picture."""
    if (source.width, source.height) != (width, height):
        message = f"{param}: the mask is {source.width}x{source.height}; it must be {width}x{height} as the picture is."
        raise InvalidRequest(message, param=param)
    if not source.alpha:
        message = f"{param}: the mask has no alpha channel; make the part that may change transparent."
        raise InvalidRequest(message, param=param)


def decode_mask(source: Source, width: int, height: int, param: str = "mask") -> NDArray[np.uint8]:
    """Return (height, width) from 0 to 255, where 255 may change: the transparent part of the mask.

    Raises InvalidRequest naming `param` for a damaged mask and for one that `check_mask` refuses.
    """
    check_mask(source, width, height, param)
    row = formats.find(source.format)
    mask = np.empty((height, width), np.uint8)
    stored = _stored(mask, source.orientation)
    with readable(row, param):
        image = load.working(load.opened(source.path, row), source)
        for rows, samples in _strips(image[image.bands - 1]):
            opaque = samples[..., 0]
            if opaque.dtype == np.uint16:
                opaque = (opaque + np.uint32(_DEEP // 2)) // _DEEP
            stored[rows] = 255 - opaque
    return mask


def _read(image: pyvips.Image, source: Source) -> tuple[Samples, Samples | None]:
    """Return colour and alpha, upright, without holding any sample twice."""
    if not source.alpha and source.orientation == 1:
        samples: Samples = image.numpy()
        return samples.reshape(image.height, image.width, image.bands), None
    colours, size = image.bands - source.alpha, (source.height, source.width)
    kind = np.uint16 if image.format == "ushort" else np.uint8
    color: Samples = np.empty((*size, colours), kind)
    alpha: Samples | None = np.empty(size, kind) if source.alpha else None
    for rows, strip in _strips(image):
        _stored(color, source.orientation)[rows] = strip[..., :colours]
        if alpha is not None:
            _stored(alpha, source.orientation)[rows] = strip[..., -1]
    return color, alpha


def _strips(image: pyvips.Image) -> Iterator[tuple[slice, Samples]]:
    """Yield rows, top to bottom, with their samples (rows, W, bands)."""
    region, kind = pyvips.Region.new(image), np.uint16 if image.format == "ushort" else np.uint8
    step = max(1, _STRIP // image.width)
    for top in range(0, image.height, step):
        high = min(step, image.height - top)
        samples: Samples = np.frombuffer(region.fetch(0, top, image.width, high), kind)
        yield slice(top, top + high), samples.reshape(high, image.width, image.bands)


def _stored(upright: Samples, orientation: int) -> Samples:
    """Return a view of an upright array in the order of a file with EXIF orientation 1 to 8."""
    if orientation in {2, 3, 6, 7}:
        upright = upright[:, ::-1]
    if orientation in {3, 4, 7, 8}:
        upright = upright[::-1]
    if orientation in {5, 6, 7, 8}:
        upright = upright.swapaxes(0, 1)
    return upright
