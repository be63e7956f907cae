"""FINISH: what happens to a provider's picture before it is delivered. Each step is a no-op on a neutral plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

from fluxvision import imaging
from fluxvision.types import Metadata, Picture, Plan, Raster


@dataclass(frozen=True, slots=True)
class Work:
    """A picture on its way out: pixels first, the finished file last. All files lie in `folder`."""

    picture: Raster | Path
    plan: Plan
    metadata: Metadata
    folder: Path


def fit(work: Work) -> Work:
    """Bring the pixels to the exact box of the plan."""
    if work.plan.fit is None or not isinstance(work.picture, Raster):
        return work
    fitted = imaging.fitted(work.picture, work.plan.fit, work.folder / f"{uuid4().hex}.raw")
    work.picture.path.unlink()
    return replace(work, picture=fitted)


def encode(work: Work) -> Work:
    """Write the file in the format asked for, with the source's profile, resolution and, unless stripped, metadata."""
    row = imaging.find(work.plan.output_format)
    target = work.folder / f"{uuid4().hex}.{row.extension}"
    imaging.encode(
        work.picture,
        target,
        row.name,
        quality=work.plan.output_compression,
        metadata=work.metadata,
        strip=work.plan.strip_metadata,
    )
    done = work.picture.path if isinstance(work.picture, Raster) else work.picture
    done.unlink()
    return replace(work, picture=target)


FINISH: tuple[Callable[[Work], Work], ...] = (fit, encode)


def finish(picture: Raster | Path, plan: Plan, metadata: Metadata, folder: Path) -> Picture:
    """Run the steps and return the finished file. Raises `InternalError` when it cannot be written."""
    work = Work(picture, plan, metadata, folder)
    size = (plan.fit.width, plan.fit.height) if plan.fit is not None else _size(picture)
    for step in FINISH:
        work = step(work)
    row = imaging.find(plan.output_format)
    path = work.picture if isinstance(work.picture, Path) else work.picture.path
    return Picture(path, row.name, row.mime, *size)


def _size(picture: Raster | Path) -> tuple[int, int]:
    if isinstance(picture, Raster):
        return picture.width, picture.height
    source = imaging.probe(picture, imaging.Limits())
    return source.width, source.height
