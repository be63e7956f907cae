"""The other steps: take a provider's file in, fit it into the box, encode it, compare it with the source."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fluxvision import imaging
from fluxvision.core.system import discard
from fluxvision.core.types import Raster, Source
from fluxvision.engine.fidelity import measure
from fluxvision.gateway.finish.state import Work
from fluxvision.gateway.finish.validate import billed
from fluxvision.imaging.transform import received


def receive(work: Work) -> Work:
    """Make pixels of a provider's file: of the inner size, with the source's channels and its alpha, upright.

    Pixels that came as such are left alone.
    """
    file = work.picture
    if not isinstance(file, Source):
        return work
    inner = work.plan.fit.inner if work.plan.fit else None
    own = work.source.alpha and work.transparent and not work.plan.masked
    alpha = imaging.decode(work.source).alpha if work.source.alpha and not (own and file.alpha) else None
    with billed():
        raster = received(
            file,
            work.new("raw"),
            size=inner or (file.width, file.height),
            channels=work.source.channels,
            alpha=alpha,
            own=own,
            watch=work.watch,
        )
    discard(file.file)
    return replace(work, picture=raster)


def fit(work: Work) -> Work:
    """Bring the pixels to the exact box of the plan."""
    box, raster = work.plan.fit, work.picture
    if box is None or not isinstance(raster, Raster):
        return work
    inner = imaging.inner_size(raster.width, raster.height, box)
    if inner == (raster.width, raster.height) == (box.width, box.height):
        return work
    fitted = imaging.fitted(raster, box, work.new("raw"), watch=work.watch)
    discard(raster.path)
    # A crop begins inside the enlarged picture, a border before it.
    left, top = (inner[0] - fitted.width) // 2, (inner[1] - fitted.height) // 2
    if box.mode == "pad":
        left, top = -((fitted.width - inner[0]) // 2), -((fitted.height - inner[1]) // 2)
    return replace(work, picture=fitted, inner=inner, offset=(left, top))


def encode(work: Work) -> Work:
    """Write the file in the format asked for, with the source's profile, resolution and, unless stripped, metadata."""
    row = imaging.find(work.plan.output_format)
    if not isinstance(work.picture, Raster):
        return work
    target = work.new(row.extension)
    described = imaging.describe(work.source)
    left_out = imaging.encode(
        work.picture,
        target,
        row.name,
        quality=work.plan.output_compression,
        metadata=described,
        strip=work.plan.strip_metadata,
        watch=work.watch,
    )
    return replace(work, picture=target, raster=work.picture, warnings=(*described.warnings, *left_out))


def compare(work: Work) -> Work:
    """Measure what is delivered against the source: the pixels as a reader of the finished file gets them."""
    raster, target = work.raster, work.picture
    if raster is None or not isinstance(target, Path):
        return work
    if not work.plan.measured:
        discard(raster.path)
        return replace(work, raster=None)
    if not imaging.find(work.plan.output_format).lossless:
        discard(raster.path)
        raster = imaging.raster(target, work.new("raw"))
    pixels = imaging.decode(work.source)
    fidelity = measure(
        raster,
        pixels.color,
        alpha=pixels.alpha,
        inner=work.inner,
        offset=work.offset,
        seam_ratio=work.seam_ratio,
        watch=work.watch,
    )
    discard(raster.path)
    return replace(work, raster=None, fidelity=fidelity)
