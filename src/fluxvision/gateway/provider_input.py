"""Prepares pictures for a provider (supported format, metadata removed), and makes the preview of a stream."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import numpy as np

from fluxvision import imaging
from fluxvision.catalog.geometry import solve_geometry
from fluxvision.catalog.rules import InputFormats
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.images import InputImage, Metadata, RawImage
from fluxvision.core.system import delete_file
from fluxvision.core.types import Job, PostprocessPlan
from fluxvision.imaging.decode import Samples
from fluxvision.imaging.raster import write_guard
from fluxvision.imaging.strip import Part, is_metadata_free, keep_parts

_DEEP = 257
"""The 16-bit value of one 8-bit step."""
_STRIP = 1_000_000
"""Pixels converted to 8-bit RGB at a time."""
_BLOCK = 1 << 20


def prepare_input(
    source: InputImage, accepts: InputFormats | None, folder: Path, callbacks: JobCallbacks
) -> InputImage:
    """Return a picture that a provider accepts: the source itself, or a new file in `folder`.

    Without `accepts` it is the source. For an upright still picture in 8-bit RGB or grey, in an accepted format, the
    profile, metadata, comments and previews are removed without decoding; if there are none it is the source itself.
    Any other picture becomes an 8-bit RGB PNG with the sample values of `imaging.decode`, with alpha only if accepted.
    The provider thus treats the values as sRGB, and the result gets the source's profile again.

    Raises `InvalidRequest` naming image for a damaged picture that had to be decoded, `Unavailable` when there is no
    disk space, and `Cancelled` when the job is cancelled.
    """
    if accepts is None:
        return source
    if _is_accepted(source, accepts):
        if source.metadata_free:
            return source
        found = keep_parts(source)
        if found == [slice(0, source.size)]:
            return source
        if found is not None:
            return _copy_parts(source, found, folder, callbacks)
    return _convert_to_png(source, folder, callbacks, transparency=accepts.transparency)


def is_ready(source: InputImage, accepts: InputFormats | None) -> bool:
    """Return whether `prepare_input` would return the source itself. Reads headers only, no pixels."""
    return accepts is None or (_is_accepted(source, accepts) and is_metadata_free(source))


def _is_accepted(source: InputImage, accepts: InputFormats) -> bool:
    """Return whether the provider accepts the file without conversion to PNG."""
    plain = source.orientation == 1 and source.frames == 1 and source.bits == 8  # noqa: PLR2004
    return plain and source.format in accepts.formats and (accepts.transparency or not source.alpha)


def _copy_parts(source: InputImage, found: list[Part], folder: Path, callbacks: JobCallbacks) -> InputImage:
    """Write the given parts of a file to a new one."""
    target = folder / f"{uuid4().hex}.{imaging.find_format(source.format).extension}"
    with write_guard(target, callbacks), source.path.open("rb") as file, target.open("wb") as out:
        for part in found:
            if isinstance(part, bytes):
                out.write(part)
                continue
            file.seek(part.start)
            for at in range(part.start, part.stop, _BLOCK):
                out.write(file.read(min(_BLOCK, part.stop - at)))
    return replace(source, file=target, size=target.stat().st_size, content=None)


def _convert_to_png(source: InputImage, folder: Path, callbacks: JobCallbacks, *, transparency: bool) -> InputImage:
    """Write the picture's decoded samples as an 8-bit RGB PNG file."""
    pixels = imaging.decode(source)
    alpha = pixels.alpha if transparency else None
    raw, target = folder / f"{uuid4().hex}.raw", folder / f"{uuid4().hex}.png"
    try:
        with write_guard(raw, callbacks), raw.open("wb") as file:
            for strip in _rgb_strips(pixels.color, alpha):
                strip.tofile(file)
        del pixels
        raster = RawImage(raw, source.width, source.height, 3 if alpha is None else 4, 8)
        imaging.encode(raster, target, "png", quality=None, metadata=Metadata(), strip=True, callbacks=callbacks)
    finally:
        delete_file(raw)
    size = target.stat().st_size
    return InputImage(target, "png", source.width, source.height, 3, alpha is not None, 8, size)


def _rgb_strips(color: Samples, alpha: Samples | None) -> Iterator[Samples]:
    """Yield rows (rows, columns, 3 or 4) of 8 bits, top to bottom."""
    step = max(1, _STRIP // color.shape[1])
    for low in range(0, len(color), step):
        rows = slice(low, low + step)
        colours = np.broadcast_to(_to_eight_bits(color[rows]), (*color[rows].shape[:2], 3))
        yield colours if alpha is None else np.dstack([colours, _to_eight_bits(alpha[rows])])


def _to_eight_bits(samples: Samples) -> Samples:
    """Return samples reduced to 8 bits."""
    if samples.dtype == np.uint8:
        return samples
    return ((samples.astype(np.uint32) + _DEEP // 2) // _DEEP).astype(np.uint8)


SIDE = 1024
"""The longest side of a preview in pixels."""


def make_preview(job: Job, plan: PostprocessPlan, folder: Path) -> Path:
    """Write a small, plainly resampled version of the result in the job's output format."""
    geometry = solve_geometry(job)
    shrink = min(1.0, SIDE / max(geometry.inner_width, geometry.inner_height))
    width, height = (max(1, round(side * shrink)) for side in (geometry.inner_width, geometry.inner_height))
    raster = imaging.write_preview(job.image, width, height, folder / f"{uuid4().hex}.raw")
    row = imaging.find_format(plan.output_format)
    target = folder / f"{uuid4().hex}.{row.extension}"
    metadata = imaging.read_metadata(job.image)
    imaging.encode(raster, target, row.name, quality=plan.output_compression, metadata=metadata, strip=True)
    delete_file(raster.path)
    return target
