"""FINISH: what happens to a provider's picture before it is delivered. Each step is a no-op on a neutral plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import uuid4

from fluxvision import imaging
from fluxvision.engine.measure import measure
from fluxvision.errors import Cancelled
from fluxvision.types import Fidelity, Picture, Plan, Raster, Source, Watch


@dataclass(frozen=True, slots=True)
class Work:
    """A picture on its way out. All files lie in `folder`.

    `picture` is what there is so far: the provider's file or raster, then the finished file; `raster` the pixels
    behind a finished file, while they are needed. `inner` and `offset` tell where the enlarged picture lies in the
    result when `fit` has cropped or padded it.
    """

    picture: Raster | Path
    plan: Plan
    source: Source
    folder: Path
    watch: Watch = field(default_factory=Watch)
    seam_ratio: float | None = None
    raster: Raster | None = None
    inner: tuple[int, int] | None = None
    offset: tuple[int, int] = (0, 0)
    fidelity: Fidelity | None = None

    def new(self, extension: str) -> Path:
        """Return a path in the folder that is not taken."""
        return self.folder / f"{uuid4().hex}.{extension}"


def fit(work: Work) -> Work:
    """Bring the pixels to the exact box of the plan."""
    box = work.plan.fit
    if box is None:
        return work
    raster = work.picture
    if isinstance(raster, Path):
        raster = imaging.raster(raster, work.new("raw"))
    inner = imaging.inner_size(raster.width, raster.height, box)
    fitted = imaging.fitted(raster, box, work.new("raw"), watch=work.watch)
    raster.path.unlink()
    # A crop begins inside the enlarged picture, a border before it.
    left, top = (inner[0] - fitted.width) // 2, (inner[1] - fitted.height) // 2
    if box.mode == "pad":
        left, top = -((fitted.width - inner[0]) // 2), -((fitted.height - inner[1]) // 2)
    return replace(work, picture=fitted, inner=inner, offset=(left, top))


def encode(work: Work) -> Work:
    """Write the file in the format asked for, with the source's profile, resolution and, unless stripped, metadata."""
    row = imaging.find(work.plan.output_format)
    target = work.new(row.extension)
    imaging.encode(
        work.picture,
        target,
        row.name,
        quality=work.plan.output_compression,
        metadata=imaging.describe(work.source),
        strip=work.plan.strip_metadata,
        watch=work.watch,
    )
    if isinstance(work.picture, Path):
        work.picture.unlink()
        return replace(work, picture=target)
    return replace(work, picture=target, raster=work.picture)


def compare(work: Work) -> Work:
    """Measure what is delivered against the source: the pixels as a reader of the finished file gets them."""
    raster, target = work.raster, work.picture
    if isinstance(target, Path) and (raster is None or not imaging.find(work.plan.output_format).lossless):
        if raster is not None:
            raster.path.unlink()
        raster = imaging.raster(target, work.new("raw"))
    if raster is None:
        return work
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
    raster.path.unlink()
    return replace(work, raster=None, fidelity=fidelity)


FINISH: tuple[Callable[[Work], Work], ...] = (fit, encode, compare)


def finish(work: Work) -> Picture:
    """Run the steps and return the finished file.

    Raises `InternalError` when it cannot be written, `Unavailable` when there is no room for it, `Cancelled` when the
    watch says so.
    """
    for step in FINISH:
        if work.watch.cancel.is_set():
            raise Cancelled("The work was cancelled.")
        work = step(work)
    row = imaging.find(work.plan.output_format)
    path = work.picture if isinstance(work.picture, Path) else work.picture.path
    made = imaging.probe(path, imaging.Limits(bytes=2**40, pixels=2**31, frames=1))
    return Picture(path, row.name, row.mime, made.width, made.height, fidelity=work.fidelity)
