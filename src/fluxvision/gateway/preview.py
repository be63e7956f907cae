"""What a stream shows before there is anything else: the picture, plainly resampled."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from fluxvision import imaging
from fluxvision.catalog.geometry import solve
from fluxvision.core.system import discard
from fluxvision.core.types import Job, Plan

SIDE = 1024
"""The longest side of a preview in pixels."""


def preview(job: Job, plan: Plan, folder: Path) -> Path:
    """Write a small, plainly resampled version of the result in the job's output format."""
    geometry = solve(job)
    shrink = min(1.0, SIDE / max(geometry.inner_width, geometry.inner_height))
    width, height = (max(1, round(side * shrink)) for side in (geometry.inner_width, geometry.inner_height))
    raster = imaging.preview(job.image, width, height, folder / f"{uuid4().hex}.raw")
    row = imaging.find(plan.output_format)
    target = folder / f"{uuid4().hex}.{row.extension}"
    metadata = imaging.describe(job.image)
    imaging.encode(raster, target, row.name, quality=plan.output_compression, metadata=metadata, strip=True)
    discard(raster.path)
    return target
