"""Enlarges one picture: plans its tiles, makes them, blends them, and emits finished strips.

Tiles are independent and blended in index order, so the bytes of the result do not depend on the number of threads or
on which tile is finished first. Memory holds the source, a few tiles and one row of tiles of the result.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from math import ceil

import numpy as np
from numpy.typing import NDArray

from fluxvision.core.errors import Cancelled
from fluxvision.core.types import JobCallbacks
from fluxvision.engine.backends.registry import BY_NAME, Backend, Detailer, load_backend
from fluxvision.engine.blend import Blender, Strip
from fluxvision.engine.executors.base import TileExecutor
from fluxvision.engine.executors.threads import ThreadExecutor
from fluxvision.engine.resample import one_blas_thread
from fluxvision.engine.tile import Samples, TileJob
from fluxvision.engine.tiling import Axis, plan_axis

STRETCH = 1.25
"""The longest side of a window over that of a square of the same area."""
PAIR = 2
"""The number of tiles is a multiple of this, so that two cores finish together."""


@dataclass(frozen=True, slots=True)
class Request:
    """One enlargement."""

    color: Samples
    """(rows, columns, 1 or 3), uint8 or uint16."""
    width: int
    """Of the result, 1 to 4 times the source's."""
    height: int
    alpha: Samples | None = None
    """(rows, columns) of the same type, or None."""
    mask: NDArray[np.uint8] | None = None
    """(rows, columns), 255 where detail may be invented; None: everywhere."""
    creativity: float = 0.3
    """0 to 1."""
    seed: int = 0
    backend: str = "span"
    threads: int = 0
    """0: every core."""
    callbacks: JobCallbacks = field(default_factory=JobCallbacks)
    engine: tuple[Backend, Detailer | None] | None = None
    """A row with its running backend (None if the executor has it); None: the row named `backend`."""
    executor: TileExecutor | None = None
    """Makes the tiles; None: threads of this process."""
    canvas: Samples | None = None
    """Result of an earlier pass at a whole multiple of the source's size; None: there was none."""


@dataclass(frozen=True, slots=True)
class Result:
    """The tiling that was used, and the seam ratio (see `Blender`), None for a single tile."""

    rows: Axis
    columns: Axis
    seam_ratio: float | None


def plan_tiles(request: Request, row: Backend) -> tuple[Axis, Axis]:
    """Divide the picture into tiles of one shape, the one with the least work: (rows, columns).

    A window has at most the area of the row's tile, which is what its memory follows, and any sides up to `STRETCH`
    times the tile's, so that few pixels are halo in a picture that does not divide into squares.
    """
    height, width = request.color.shape[:2]
    longest = int(row.tile * STRETCH)
    best, least = (row.tile, row.tile), None
    for down in range(1, height + 1):
        rows = _tile_window(height, down, row)
        if rows > longest:
            continue
        if rows < row.tile / STRETCH and least is not None:
            break
        fewest = ceil(width / max(1, min(longest, row.tile**2 // rows) - 2 * row.halo))
        for across in range(fewest, fewest + PAIR):
            columns = _tile_window(width, across, row)
            count = down * across
            work = rows * columns * (count + (-count % PAIR if count > 1 else 0))  # one alone gets all threads
            roomy = across == 1 or width // across >= 2 * row.overlap
            if roomy and (least is None or work < least):
                best, least = (rows, columns), work
    rows, columns = best
    return (
        plan_axis(height, request.height, tile=rows, halo=row.halo, overlap=row.overlap),
        plan_axis(width, request.width, tile=columns, halo=row.halo, overlap=row.overlap),
    )


def _tile_window(source: int, count: int, row: Backend) -> int:
    """Return the length of a window when an axis is divided into `count`."""
    return ceil(source / count) + 2 * row.halo


def planned_memory(row: Backend, source: tuple[int, int], target: tuple[int, int], *, bands: int, bits: int) -> int:
    """Return the bytes that `enlarge` takes at its peak, the source's pixels not included.

    `source` and `target` are (width, height), `bands` the colours and alpha, `bits` those of a sample. Tiles at work
    take what the row says for its largest tile, less for a small picture; a row of tiles of the result is collected.
    """
    (width, height), longest = source, int(row.tile * STRETCH)
    rows, columns = min(height + 2 * row.halo, longest), min(width + 2 * row.halo, longest)
    area = min(rows * columns, row.tile**2)
    at_once = min(row.at_once, ceil(width * height / area)) if width * height > area else 1
    strip = ceil(min(height, rows) * target[1] / height) * target[0] * bands * bits // 8
    return at_once * row.memory * 1_000_000 * area // row.tile**2 + strip


def enlarge(request: Request, emit: Callable[[Strip], None]) -> Result:
    """Enlarge a picture; `emit` gets strips (rows, width, bands) of the source's sample type, top to bottom.

    Bands are the colour channels, then alpha if there is any. Raises `Cancelled` once `callbacks.cancel` is set,
    `Unavailable` when the backend's weights are missing; an error of `emit` ends the work.
    """
    row = request.engine[0] if request.engine else BY_NAME[request.backend]
    rows, columns = plan_tiles(request, row)
    color, alpha = request.color, request.alpha
    work = TileJob(color, alpha, request.mask, request.creativity, request.seed, row, rows, columns, request.canvas)
    bands = color.shape[2] + (alpha is not None)
    blender = Blender(rows, columns, bands, color.dtype.itemsize * 8, emit)
    one_blas_thread()

    def stop() -> None:
        if request.callbacks.cancel.is_set():
            raise Cancelled("The work was cancelled.")

    def before_tile() -> None:
        request.callbacks.yield_turn()
        stop()

    done = 0
    with closing((request.executor or _create_executor(request, work)).make(work, before_tile)) as batches:
        for batch in batches:
            for tile in batch:
                blender.add(tile)
                done += 1
                request.callbacks.progress(done, work.total)
    stop()
    return Result(rows, columns, blender.seam_ratio)


def _create_executor(request: Request, work: TileJob) -> ThreadExecutor:
    threads = request.threads or os.cpu_count() or 1
    at_once = min(threads, work.row.at_once, len(work.batches))
    backend = (request.engine and request.engine[1]) or load_backend(work.row.name, max(1, threads // at_once))
    return ThreadExecutor([backend], at_once)
