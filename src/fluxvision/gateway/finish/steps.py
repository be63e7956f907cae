"""The steps of finishing, except the mask: decode a provider's file, fit, encode, compare with the source."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fluxvision import imaging
from fluxvision.core.system import delete_file
from fluxvision.core.types import InputImage, RawImage
from fluxvision.engine.fidelity import measure_fidelity
from fluxvision.gateway.finish.state import FinishState
from fluxvision.gateway.finish.validate import translate_damage
from fluxvision.imaging.transform import read_provider_image


def receive(work: FinishState) -> FinishState:
    """Decode a provider's file to pixels of the inner size, upright, with the source's channels and alpha.

    A picture that is already a `RawImage` is not changed.
    """
    file = work.picture
    if not isinstance(file, InputImage):
        return work
    inner = work.plan.fit.inner if work.plan.fit else None
    own = work.source.alpha and work.transparent and not work.plan.masked
    alpha = imaging.decode(work.source).alpha if work.source.alpha and not (own and file.alpha) else None
    with translate_damage():
        raster = read_provider_image(
            file,
            work.new("raw"),
            size=inner or (file.width, file.height),
            channels=work.source.channels,
            alpha=alpha,
            own=own,
            callbacks=work.callbacks,
        )
    delete_file(file.file)
    return replace(work, picture=raster)


def fit(work: FinishState) -> FinishState:
    """Resample, crop or pad the pixels to the exact size of the plan."""
    box, raster = work.plan.fit, work.picture
    if box is None or not isinstance(raster, RawImage):
        return work
    inner = imaging.inner_size(raster.width, raster.height, box)
    if inner == (raster.width, raster.height) == (box.width, box.height):
        return work
    fitted = imaging.fit_raster(raster, box, work.new("raw"), callbacks=work.callbacks)
    delete_file(raster.path)
    # Positive when cropped, negative when padded.
    left, top = (inner[0] - fitted.width) // 2, (inner[1] - fitted.height) // 2
    if box.mode == "pad":
        left, top = -((fitted.width - inner[0]) // 2), -((fitted.height - inner[1]) // 2)
    return replace(work, picture=fitted, inner=inner, offset=(left, top))


def encode(work: FinishState) -> FinishState:
    """Write the file in the requested format, with the source's profile, resolution and, unless stripped, metadata."""
    row = imaging.find_format(work.plan.output_format)
    if not isinstance(work.picture, RawImage):
        return work
    target = work.new(row.extension)
    described = imaging.read_metadata(work.source)
    left_out = imaging.encode(
        work.picture,
        target,
        row.name,
        quality=work.plan.output_compression,
        metadata=described,
        strip=work.plan.strip_metadata,
        callbacks=work.callbacks,
    )
    return replace(work, picture=target, raster=work.picture, warnings=(*described.warnings, *left_out))


def compare(work: FinishState) -> FinishState:
    """Compare the delivered pixels, as decoded from the finished file, with the source."""
    raster, target = work.raster, work.picture
    if raster is None or not isinstance(target, Path):
        return work
    if not work.plan.measured:
        delete_file(raster.path)
        return replace(work, raster=None)
    if not imaging.find_format(work.plan.output_format).lossless:
        delete_file(raster.path)
        raster = imaging.write_raster(target, work.new("raw"))
    pixels = imaging.decode(work.source)
    fidelity = measure_fidelity(
        raster,
        pixels.color,
        alpha=pixels.alpha,
        inner=work.inner,
        offset=work.offset,
        seam_ratio=work.seam_ratio,
        callbacks=work.callbacks,
    )
    delete_file(raster.path)
    return replace(work, raster=None, fidelity=fidelity)
