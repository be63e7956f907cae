"""Applies the mask: blends the provider's picture with a faithful enlargement, which stays where the mask is opaque."""

from __future__ import annotations

from dataclasses import replace

from fluxvision import engine, imaging
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.errors import InternalError
from fluxvision.core.images import RawImage
from fluxvision.core.system import delete_file
from fluxvision.core.types import Fit
from fluxvision.engine import BACKENDS
from fluxvision.engine.restore import restore_source
from fluxvision.gateway.finish.state import FinishState
from fluxvision.imaging.raster import write_guard
from fluxvision.imaging.transform import blend_rasters, soften_mask

MOST = 4
"""Largest factor of the engine; larger results are resampled."""


def composite_mask(state: FinishState) -> FinishState:
    """Replace the protected area by a faithful enlargement, made by the CPU engine without invented detail.

    The result is exactly that enlargement wherever the mask is opaque, the provider's picture a few source
    pixels inside the transparent part, and mixed between and where the mask is half transparent.
    """
    if not state.plan.apply_mask or not isinstance(state.picture, RawImage):
        return state
    if state.mask is None:
        raise InternalError("The mask is not there.")
    if state.mask.min() == 255:  # noqa: PLR2004, all of it may change
        return state
    weight = soften_mask(state.mask)
    faithful = _faithful_enlargement(state, state.picture)
    result = blend_rasters(faithful, state.picture, weight, state.new("raw"), state.callbacks)
    delete_file(faithful.path, state.picture.path)
    # The provider's measurement does not apply to the blended picture.
    return replace(state, picture=result, fidelity=None)


def _faithful_enlargement(state: FinishState, like: RawImage) -> RawImage:
    """Enlarge the source's colours to the size of another raster."""
    source = state.source
    color = restore_source(
        imaging.decode(source).color,
        source.jpeg_quality,
        1.0,
        threads=state.threads,
        before_tile=state.callbacks.check_cancelled,
    ).color
    width, height = (
        min(max(side, own), own * MOST) for side, own in ((like.width, source.width), (like.height, source.height))
    )
    row = BACKENDS[0]
    # Progress is not reported: it was, by the provider.
    callbacks = JobCallbacks(cancel=state.callbacks.cancel)
    request = engine.Request(
        color, width, height, creativity=0.0, backend=row.name, threads=state.threads, callbacks=callbacks
    )
    raster = RawImage(state.new("raw"), width, height, color.shape[2], color.dtype.itemsize * 8)
    with write_guard(raster.path, callbacks), raster.path.open("wb") as file:
        engine.enlarge(request, lambda strip: strip.tofile(file))
    if (width, height) == (like.width, like.height):
        return raster
    sized = imaging.fit_raster(raster, Fit(like.width, like.height, "stretch"), state.new("raw"), callbacks)
    delete_file(raster.path)
    return sized
