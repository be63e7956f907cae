"""Writes what the engine makes to raw files, above ×4 in two passes; an error leaves no file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import numpy as np

from fluxvision import engine
from fluxvision.core.errors import Unavailable, UpstreamRefused
from fluxvision.core.images import RawImage
from fluxvision.core.system import delete_file
from fluxvision.engine.backends.registry import BY_NAME, Backend, choose_variant
from fluxvision.engine.executors.base import TileExecutor
from fluxvision.engine.pipeline import MOST, count_tiles, pass_sizes

LATER_CREATIVITY = 1 / 3
"""What a second pass gets of the creativity: its source has invented detail already, and more of it becomes grain."""


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass over a picture: the size that it made, by which engine with what creativity, and how it went."""

    width: int
    height: int
    row: Backend
    creativity: float
    result: engine.Result


def write_samples(color: engine.Samples, alpha: engine.Samples | None, folder: Path) -> RawImage:
    """Write samples, as in a request, to a new raw file in `folder`."""
    height, width, bands = color.shape
    if alpha is not None:
        color, bands = np.concatenate([color, alpha[:, :, None]], axis=2), bands + 1
    raster = RawImage(folder / f"{uuid4().hex}.raw", width, height, bands, color.dtype.itemsize * 8)
    try:
        color.tofile(raster.path)
    except BaseException:
        delete_file(raster.path)
        raise
    return raster


def enlarge_to_raster(request: engine.Request, folder: Path) -> tuple[RawImage, engine.Result]:
    """Run the engine and return the pixels as a new file in `folder`.

    Raises `UpstreamRefused` when the cluster that makes tiles is unavailable, so that another provider is tried.
    """
    bands = request.color.shape[2] + (request.alpha is not None)
    bits = request.color.dtype.itemsize * 8
    raster = RawImage(folder / f"{uuid4().hex}.raw", request.width, request.height, bands, bits)
    try:
        with raster.path.open("wb") as file:
            result = engine.enlarge(request, lambda strip: strip.tofile(file))
    except BaseException as error:
        delete_file(raster.path)
        if isinstance(error, Unavailable) and error.param == "cluster":
            raise UpstreamRefused(error.message) from error
        raise
    return raster, result


def enlarge_in_passes(
    request: engine.Request, folder: Path, executor: Callable[[str], TileExecutor] | None = None
) -> tuple[RawImage, list[Pass]]:
    """Run the engine as often as the factor needs; each pass enlarges what the one before it made.

    Returns the pixels of the last pass as a new file in `folder`, and all passes. `executor` returns what makes the
    tiles of the engine of a name; None: threads of this process. Raises as `enlarge_to_raster`.
    """
    source = request.color.shape[1], request.color.shape[0]
    row = request.engine[0] if request.engine else BY_NAME[request.backend]
    sizes = pass_sizes(source, (request.width, request.height), min(MOST, row.factor))
    faithful = request.creativity == 0 or request.mask is not None
    scales = [max(new / old for old, new in zip(*pair, strict=True)) for pair in pairwise(sizes)]
    rows = [row, *(choose_variant(row, None, scale, faithful=faithful) for scale in scales)]
    counts = count_tiles(source, sizes, rows)
    passes: list[Pass] = []
    raster = None
    for number, (size, row) in enumerate(zip(sizes, rows, strict=True)):
        begun = replace(request, width=size[0], height=size[1])
        if request.engine is None:
            begun = replace(begun, backend=row.name, executor=executor(row.name) if executor else request.executor)
        if len(sizes) > 1:
            report = _report_progress(request.callbacks.progress, sum(counts[:number]), sum(counts))
            begun = replace(begun, callbacks=replace(request.callbacks, progress=report))
        before = raster
        if before is not None:
            begun = replace(_read_pass(begun, before), creativity=request.creativity * LATER_CREATIVITY)
        try:
            raster, result = enlarge_to_raster(begun, folder)
        finally:
            if before is not None:
                delete_file(before.path)
        passes.append(Pass(*size, row, begun.creativity, result))
    assert raster is not None  # noqa: S101, there is at least one pass
    return raster, passes


def _read_pass(request: engine.Request, raster: RawImage) -> engine.Request:
    """Return a request whose source is a raster, read from its file as it is needed, with a mask of its size."""
    pixels = np.asarray(map_raster(raster))
    colours = request.color.shape[2]
    alpha = None if request.alpha is None else pixels[..., colours]
    mask = request.mask
    if mask is not None:
        down, across = (np.arange(size) * old // size for size, old in zip(pixels.shape, mask.shape, strict=False))
        mask = mask[np.ix_(down, across)]
    return replace(request, color=pixels[..., :colours], alpha=alpha, mask=mask)


def _report_progress(progress: Callable[[int, int], None], before: int, total: int) -> Callable[[int, int], None]:
    """Return a callback for the tiles of one pass that tells `progress` those of all passes."""
    return lambda done, _total: progress(before + done, total)


def map_raster(raster: RawImage) -> engine.Samples:
    """Return a raster's pixels, which are read from its file when they are used."""
    kind = np.uint8 if raster.bits == 8 else np.uint16  # noqa: PLR2004, bits
    return np.memmap(raster.path, kind, "r", shape=(raster.height, raster.width, raster.bands))
