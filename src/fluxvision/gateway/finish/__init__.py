"""Runs the finishing steps on a provider's picture: decode, mask, fit, encode, compare; skips those not needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from fluxvision import imaging
from fluxvision.core.images import InputImage, ResultImage
from fluxvision.core.system import delete_file
from fluxvision.gateway.finish.mask import composite_mask
from fluxvision.gateway.finish.state import FinishState
from fluxvision.gateway.finish.steps import compare, encode, fit, receive
from fluxvision.gateway.finish.validate import check_result_size, is_final, open_result
from fluxvision.imaging.raster import probe_own_file

__all__ = ["FINISH", "FinishState", "deliver_as_is", "finish"]

FINISH: tuple[Callable[[FinishState], FinishState], ...] = (receive, composite_mask, fit, encode, compare)


def finish(state: FinishState) -> ResultImage:
    """Run the steps and return the finished file; a provider's file that needs none is delivered as it is.

    Raises `UpstreamError`, billed, when a provider's file is damaged or of a wrong size, `InternalError` when the
    result cannot be written, `Unavailable` when there is no disk space for it, `Cancelled` when the job is cancelled.
    """
    if isinstance(state.picture, Path):
        state = replace(state, picture=open_result(state.picture))
    whole = deliver_as_is(state)
    if whole is not None:
        return whole
    for step in FINISH:
        state.callbacks.check_cancelled()
        state = step(state)
    if state.animation is not None:
        delete_file(state.source.path)
    path = state.picture if isinstance(state.picture, Path) else state.picture.path
    return _as_result(probe_own_file(path), state)


def deliver_as_is(state: FinishState) -> ResultImage | None:
    """Return a provider's file as it is when no step is needed, None when the steps must run.

    Raises `UpstreamError`, billed, when it is of a wrong size.
    """
    if not isinstance(state.picture, InputImage):
        return None
    check_result_size(state.picture, state)
    return _as_result(state.picture, state) if is_final(state.picture, state) else None


def _as_result(made: InputImage, state: FinishState) -> ResultImage:
    row = imaging.find_format(state.plan.output_format)
    return ResultImage(
        made.file,
        row.name,
        row.mime,
        made.width,
        made.height,
        state.prompt,
        state.seed,
        state.fidelity,
        made.content,
        state.warnings,
    )
