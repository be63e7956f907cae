"""Applies the mask: blends the provider's picture with a faithful enlargement, which stays where the mask is opaque."""

from __future__ import annotations

from dataclasses import replace

from fluxvision import engine, imaging
from fluxvision.core.errors import InternalError
from fluxvision.core.system import delete_file
from fluxvision.core.types import Fit, JobCallbacks, RawImage
from fluxvision.engine import BACKENDS
from fluxvision.engine.deblock import deblock
from fluxvision.gateway.finish.state import FinishState
from fluxvision.imaging.raster import write_guard
from fluxvision.imaging.transform import blend_rasters, soften_mask

MOST = 4
"""Largest factor of the engine; larger results are resampled."""


def composite_mask(work: FinishState) -> FinishState:
    """Replace the protected area by a faithful enlargement, made by the CPU engine without invented detail.

    The result is exactly that enlargement wherever the mask is opaque, the provider's picture a few source
    pixels inside the transparent part, and mixed between and where the mask is half transparent.
    """
    if not work.plan.masked or not isinstance(work.picture, RawImage):
        return work
    if work.mask is None:
        raise InternalError("The mask is not there.")
    if work.mask.min() == 255:  # noqa: PLR2004, all of it may change
        return work
    weight = soften_mask(work.mask)
    faithful = _faithful_enlargement(work, work.picture)
    result = blend_rasters(faithful, work.picture, weight, work.new("raw"), work.callbacks)
    delete_file(faithful.path, work.picture.path)
    # The provider's measurement does not apply to the blended picture.
    return replace(work, picture=result, fidelity=None)


def _faithful_enlargement(work: FinishState, like: RawImage) -> RawImage:
    """Enlarge the source's colours to the size of another raster."""
    row, source = BACKENDS[0], work.source
    color = imaging.decode(source).color
    if source.jpeg_quality is not None and not row.repairs:
        color = deblock(color, source.jpeg_quality)
    width, height = (
        min(max(side, own), own * MOST) for side, own in ((like.width, source.width), (like.height, source.height))
    )
    # Progress is not reported: it was, by the provider.
    callbacks = JobCallbacks(cancel=work.callbacks.cancel)
    request = engine.Request(
        color, width, height, creativity=0.0, backend=row.name, threads=work.threads, callbacks=callbacks
    )
    raster = RawImage(work.new("raw"), width, height, color.shape[2], color.dtype.itemsize * 8)
    with write_guard(raster.path, callbacks), raster.path.open("wb") as file:
        engine.enlarge(request, lambda strip: strip.tofile(file))
    if (width, height) == (like.width, like.height):
        return raster
    sized = imaging.fit_raster(raster, Fit(like.width, like.height, "stretch"), work.new("raw"), callbacks)
    delete_file(raster.path)
    return sized
