"""Decodes a probed picture to upright arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fluxvision.errors import InvalidRequest
from fluxvision.imaging import alpha as transparency
from fluxvision.imaging import formats, loading, metadata
from fluxvision.imaging.alpha import Samples
from fluxvision.imaging.reading import readable
from fluxvision.types import Metadata, Source


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
    samples, found = _samples(source, param)
    if not source.alpha:
        return Pixels(np.ascontiguousarray(samples), None, found)
    colour, alpha = np.ascontiguousarray(samples[..., :-1]), np.ascontiguousarray(samples[..., -1])
    return Pixels(transparency.extended(colour, alpha), alpha, found)


def decode_mask(source: Source, width: int, height: int, param: str = "mask") -> NDArray[np.float32]:
    """Return (height, width) from 0 to 1, where 1 may change: the transparent part of the mask.

    Raises InvalidRequest naming `param` for a mask without alpha or of another size than the picture.
    """
    if (source.width, source.height) != (width, height):
        message = f"{param}: the mask is {source.width}x{source.height}; it must be {width}x{height} as the picture is."
        raise InvalidRequest(message, param=param)
    if not source.alpha:
        message = f"{param}: the mask has no alpha channel; make the part that may change transparent."
        raise InvalidRequest(message, param=param)
    samples, _ = _samples(source, param)
    opaque = np.float32(np.iinfo(samples.dtype).max)
    return 1 - samples[..., -1].astype(np.float32) / opaque


def _samples(source: Source, param: str) -> tuple[Samples, Metadata]:
    """Return all bands, upright, and the metadata."""
    row = formats.find(source.format)
    with readable(row, param):
        image = loading.working(loading.opened(source.path, row), source)
        samples: Samples = image.numpy()
        found = metadata.read(image, source)
    return _upright(samples.reshape(image.height, image.width, image.bands), source.orientation), found


def _upright(samples: Samples, orientation: int) -> Samples:
    """Return a view turned and mirrored as EXIF orientation 1 to 8 says."""
    if orientation in {5, 6, 7, 8}:
        samples = samples.swapaxes(0, 1)
    if orientation in {3, 4, 7, 8}:
        samples = samples[::-1]
    if orientation in {2, 3, 6, 7}:
        samples = samples[:, ::-1]
    return samples
