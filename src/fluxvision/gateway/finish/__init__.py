"""FINISH: what happens to a provider's picture before it is delivered. Each step is a no-op on a neutral plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from fluxvision import imaging
from fluxvision.core.errors import Cancelled
from fluxvision.core.types import Picture, Source
from fluxvision.gateway.finish.composite import composite
from fluxvision.gateway.finish.state import Work
from fluxvision.gateway.finish.steps import compare, encode, fit, receive
from fluxvision.gateway.finish.validate import check, opened, untouched
from fluxvision.imaging.raster import finished

__all__ = ["FINISH", "Work", "finish", "passed"]

FINISH: tuple[Callable[[Work], Work], ...] = (receive, composite, fit, encode, compare)


def finish(work: Work) -> Picture:
    """Run the steps and return the finished file; a provider's file that needs none of them is delivered as it is.

    Raises `UpstreamError`, billed, where a provider's file is damaged or of a wrong size; `InternalError` when the
    result cannot be written, `Unavailable` when there is no room for it, `Cancelled` when the watch says so.
    """
    if isinstance(work.picture, Path):
        work = replace(work, picture=opened(work.picture))
    whole = passed(work)
    if whole is not None:
        return whole
    for step in FINISH:
        if work.watch.cancel.is_set():
            raise Cancelled("The work was cancelled.")
        work = step(work)
    path = work.picture if isinstance(work.picture, Path) else work.picture.path
    return _picture(finished(path), work)


def passed(work: Work) -> Picture | None:
    """Return a provider's file as it is, where no step has anything to do; None where nobody has looked at it yet.

    Raises `UpstreamError`, billed, where it is of a wrong size.
    """
    if not isinstance(work.picture, Source):
        return None
    check(work.picture, work)
    return _picture(work.picture, work) if untouched(work.picture, work) else None


def _picture(made: Source, work: Work) -> Picture:
    row = imaging.find(work.plan.output_format)
    return Picture(
        made.file,
        row.name,
        row.mime,
        made.width,
        made.height,
        work.words,
        work.seed,
        work.fidelity,
        made.content,
        work.warnings,
    )
