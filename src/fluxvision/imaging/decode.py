"""Decodes a probed picture or mask to upright arrays, with colour extended under transparent pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyvips
from numpy.typing import NDArray

from fluxvision.core import formats
from fluxvision.core.errors import InvalidRequest
from fluxvision.core.images import InputImage, Metadata
from fluxvision.imaging import load, metadata
from fluxvision.imaging.load import translate_read_errors

Samples: TypeAlias = NDArray[np.unsignedinteger[Any]]
"""Samples as in a file: uint8 or uint16."""
Floats: TypeAlias = NDArray[np.float32]
Flags: TypeAlias = NDArray[np.bool_]

_DOWN, _ACROSS = 128, 1024
"""Rows and columns that are processed at a time in floating point, both even."""


def extend_colour(colour: Samples, alpha: Samples) -> None:
    """Replace colour (H, W, C) in place where alpha (H, W) is 0 by values of nearby visible pixels.

    Visible pixels are not changed, nor is a picture without any visible or any transparent pixel. Peak memory is half
    the size of `colour`.
    """
    if alpha.any() and not alpha.all():
        _fill_blocks(colour, alpha)


def _fill_blocks(colour: Samples, weight: Samples | Flags) -> None:
    """Fill every pixel of weight 0 with the colour of the next coarser level, which is filled first."""
    if weight.all():
        return
    coarse, visible = _halve(colour, weight)
    # Equal weights from here on: a coarser block is the mean of its visible pixels, regardless of their alpha.
    _fill_blocks(coarse, visible)
    for rows, columns in _blocks(*weight.shape):
        hidden = weight[rows, columns] == 0
        if hidden.any():
            fresh = _round_to_integers(_enlarge(coarse, rows, columns), colour)
            np.copyto(colour[rows, columns], fresh, where=hidden[..., None])


def _blocks(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    """Yield blocks (rows, columns) that cover the picture; every block begins at an even row and column."""
    for top in range(0, height, _DOWN):
        for left in range(0, width, _ACROSS):
            yield slice(top, min(top + _DOWN, height)), slice(left, min(left + _ACROSS, width))


def _halve(colour: Samples, weight: Samples | Flags) -> tuple[Samples, Flags]:
    """Return the weighted mean colour of 2 x 2 blocks, and whether each has any weight."""
    height, width = weight.shape
    size = ((height + 1) // 2, (width + 1) // 2)
    means, visible = np.zeros((*size, colour.shape[2]), colour.dtype), np.zeros(size, np.bool_)
    for rows, columns in _blocks(height, width):
        total, mass = _sum_neighbours(colour[rows, columns], weight[rows, columns])
        half = slice(rows.start // 2, (rows.stop + 1) // 2), slice(columns.start // 2, (columns.stop + 1) // 2)
        visible[half] = mass > 0
        total /= np.maximum(mass, np.finfo(np.float32).tiny)[..., None]
        means[half] = _round_to_integers(total, colour)
    return means, visible


def _sum_neighbours(colour: Samples, weight: Samples | Flags) -> tuple[Floats, Floats]:
    """Return the weighted sum of colours and the sum of weights in every 2 x 2 block."""
    height, width = weight.shape
    size = ((height + 1) // 2, (width + 1) // 2)
    total, mass = np.zeros((*size, colour.shape[2]), np.float32), np.zeros(size, np.float32)
    for down in (0, 1):
        for across in (0, 1):
            part = weight[down::2, across::2].astype(np.float32)
            rows, columns = part.shape
            mass[:rows, :columns] += part
            total[:rows, :columns] += colour[down::2, across::2] * part[..., None]
    return total, mass


def _round_to_integers(values: Floats, like: Samples) -> Samples:
    """Return non-negative values rounded to the sample type of `like`."""
    values += 0.5
    return values.astype(like.dtype)


def _enlarge(coarse: Samples, rows: slice, columns: slice) -> Floats:
    """Return a part of a coarse level at twice its size, by linear interpolation."""
    down, share_down = _mean_of_neighbours(np.arange(rows.start, rows.stop), coarse.shape[0])
    across, share_across = _mean_of_neighbours(np.arange(columns.start, columns.stop), coarse.shape[1])
    near = coarse[:, across[0][0] : across[1][-1] + 1]
    first, second = across[0] - across[0][0], across[1] - across[0][0]
    tall = near[down[0]] * (1 - share_down)[:, None, None] + near[down[1]] * share_down[:, None, None]
    mixed = tall[:, first] * (1 - share_across)[:, None] + tall[:, second] * share_across[:, None]
    return mixed.astype(np.float32, copy=False)


def _mean_of_neighbours(at: NDArray[np.intp], size: int) -> tuple[tuple[NDArray[np.intp], NDArray[np.intp]], Floats]:
    """Return the two coarse positions around each fine one, and the weight of the second."""
    first = (at - 1) // 2
    share = np.where(at % 2 == 0, 0.75, 0.25).astype(np.float32)
    return (np.clip(first, 0, size - 1), np.clip(first + 1, 0, size - 1)), share


_STRIP = 20_000
"""Pixels that are split into colour and alpha at a time."""
_DEEP = 257
"""The 16-bit value of one 8-bit step."""


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """An upright picture in its own colours.

    `color` is (H, W, C), uint8 or uint16, C-contiguous, with C 1 or 3; `alpha` is (H, W) of the same type, straight,
    or None. `metadata.icc`, if any, is the profile of `color`; without one the colours are sRGB.
    """

    color: Samples
    alpha: Samples | None
    metadata: Metadata


def decode(source: InputImage, param: str = "image") -> DecodedImage:
    """Read all pixels of the first frame; raises InvalidRequest naming `param` when the file is damaged.

    Colour under fully transparent pixels is replaced by that of nearby visible ones.
    """
    row = formats.find_format(source.format)
    with translate_read_errors(row, param):
        image = load.to_working_space(load.open_lazily(source.path, row), source)
        color, alpha = _read_pixels(image, source)
        found = metadata.read_blocks(image, source)
    # Free the loader's memory before colour is extended.
    del image
    if alpha is not None:
        extend_colour(color, alpha)
    return DecodedImage(color, alpha, found)


def check_mask(source: InputImage, width: int, height: int, param: str = "mask") -> None:
    """Raise InvalidRequest naming `param` for a mask without alpha or of another size than the picture."""
    if (source.width, source.height) != (width, height):
        message = f"{param}: the mask is {source.width}x{source.height}; it must be {width}x{height} as the picture is."
        raise InvalidRequest(message, param=param)
    if not source.alpha:
        message = f"{param}: the mask has no alpha channel; make the part that may change transparent."
        raise InvalidRequest(message, param=param)


def decode_mask(source: InputImage, width: int, height: int, param: str = "mask") -> NDArray[np.uint8]:
    """Return how transparent the mask is: (height, width) uint8, 255 where the picture may change fully.

    Raises InvalidRequest naming `param` for a damaged mask and for one that `check_mask` refuses.
    """
    check_mask(source, width, height, param)
    row = formats.find_format(source.format)
    mask = np.empty((height, width), np.uint8)
    stored = _to_array(mask, source.orientation)
    with translate_read_errors(row, param):
        image = load.to_working_space(load.open_lazily(source.path, row), source)
        for rows, samples in _strips(image[image.bands - 1]):
            opaque = samples[..., 0]
            if opaque.dtype == np.uint16:
                opaque = (opaque + np.uint32(_DEEP // 2)) // _DEEP
            stored[rows] = 255 - opaque
    return mask


def _read_pixels(image: pyvips.Image, source: InputImage) -> tuple[Samples, Samples | None]:
    """Return upright colour and alpha, without a second copy in memory."""
    if not source.alpha and source.orientation == 1:
        samples: Samples = image.numpy()
        return samples.reshape(image.height, image.width, image.bands), None
    colours, size = image.bands - source.alpha, (source.height, source.width)
    kind = np.uint16 if image.format == "ushort" else np.uint8
    color: Samples = np.empty((*size, colours), kind)
    alpha: Samples | None = np.empty(size, kind) if source.alpha else None
    for rows, strip in _strips(image):
        _to_array(color, source.orientation)[rows] = strip[..., :colours]
        if alpha is not None:
            _to_array(alpha, source.orientation)[rows] = strip[..., -1]
    return color, alpha


def _strips(image: pyvips.Image) -> Iterator[tuple[slice, Samples]]:
    """Yield rows, top to bottom, with their samples (rows, W, bands)."""
    region, kind = pyvips.Region.new(image), np.uint16 if image.format == "ushort" else np.uint8
    step = max(1, _STRIP // image.width)
    for top in range(0, image.height, step):
        high = min(step, image.height - top)
        samples: Samples = np.frombuffer(region.fetch(0, top, image.width, high), kind)
        yield slice(top, top + high), samples.reshape(high, image.width, image.bands)


def _to_array(upright: Samples, orientation: int) -> Samples:
    """Return a view of an upright array in the pixel order of a file with EXIF orientation 1 to 8."""
    if orientation in {2, 3, 6, 7}:
        upright = upright[:, ::-1]
    if orientation in {3, 4, 7, 8}:
        upright = upright[::-1]
    if orientation in {5, 6, 7, 8}:
        upright = upright.swapaxes(0, 1)
    return upright
