"""The steps of finishing, except the mask: decode a provider's file, fit, encode, compare with the source."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fluxvision import imaging
from fluxvision.core.images import InputImage, RawImage
from fluxvision.core.system import delete_file
from fluxvision.engine.enlarge_to_file import map_raster
from fluxvision.engine.fidelity import measure_fidelity
from fluxvision.gateway.finish.state import FinishState
from fluxvision.gateway.finish.validate import translate_damage
from fluxvision.imaging.transform import read_provider_image


def receive(state: FinishState) -> FinishState:
    """Decode a provider's file to pixels of the inner size, upright, with the source's channels and alpha.

    A picture that is already a `RawImage` is not changed.
    """
    file = state.picture
    if not isinstance(file, InputImage):
        return state
    inner = state.plan.fit.inner if state.plan.fit else None
    own = state.source.alpha and state.keeps_alpha and not state.plan.apply_mask
    alpha = imaging.decode(state.source).alpha if state.source.alpha and not (own and file.alpha) else None
    with translate_damage():
        raster = read_provider_image(
            file,
            state.new("raw"),
            size=inner or (file.width, file.height),
            channels=state.source.channels,
            alpha=alpha,
            own=own,
            callbacks=state.callbacks,
        )
    delete_file(file.file)
    return replace(state, picture=raster)


def fit(state: FinishState) -> FinishState:
    """Resample, crop or pad the pixels to the exact size of the plan."""
    box, raster = state.plan.fit, state.picture
    if box is None or not isinstance(raster, RawImage):
        return state
    inner = imaging.inner_size(raster.width, raster.height, box)
    if inner == (raster.width, raster.height) == (box.width, box.height):
        return state
    fitted = imaging.fit_raster(raster, box, state.new("raw"), callbacks=state.callbacks)
    delete_file(raster.path)
    # Positive when cropped, negative when padded.
    left, top = (inner[0] - fitted.width) // 2, (inner[1] - fitted.height) // 2
    if box.mode == "pad":
        left, top = -((fitted.width - inner[0]) // 2), -((fitted.height - inner[1]) // 2)
    return replace(state, picture=fitted, inner=inner, offset=(left, top))


def encode(state: FinishState) -> FinishState:
    """Write the file in the requested format, with the source's profile, resolution and, unless stripped, metadata."""
    row = imaging.find_format(state.plan.output_format)
    if not isinstance(state.picture, RawImage):
        return state
    target = state.new(row.extension)
    described = imaging.read_metadata(state.described or state.source)
    left_out = imaging.encode(
        state.animation or state.picture,
        target,
        row.name,
        quality=state.plan.output_compression,
        metadata=described,
        strip=state.plan.strip_metadata,
        callbacks=state.callbacks,
    )
    if state.animation is not None:
        delete_file(*(frame.path for frame in state.animation.frames[1:]))
    return replace(state, picture=target, raster=state.picture, warnings=(*described.warnings, *left_out))


def compare(state: FinishState) -> FinishState:
    """Compare the delivered pixels, as decoded from the finished file, with the source, or with what restored it."""
    raster, target = state.raster, state.picture
    if raster is None or not isinstance(target, Path):
        return state
    if not state.plan.measure_fidelity:
        delete_file(raster.path)
        return replace(state, raster=None)
    if not imaging.find_format(state.plan.output_format).lossless:
        delete_file(raster.path)
        raster = imaging.write_raster(target, state.new("raw"))
    reference, alpha = state.reference, None
    if reference is None or state.source.alpha:
        pixels = imaging.decode(state.source)
        color, alpha = pixels.color, pixels.alpha
    if reference is not None:
        color = map_raster(reference)
    fidelity = measure_fidelity(
        raster,
        color,
        alpha=alpha,
        inner=state.inner,
        offset=state.offset,
        seam_ratio=state.seam_ratio,
        callbacks=state.callbacks,
    )
    delete_file(raster.path)
    return replace(state, raster=None, fidelity=fidelity)
