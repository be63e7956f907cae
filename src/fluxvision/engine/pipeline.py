"""Enlarges one picture: plans its tiles, makes them, blends them, and emits finished strips.

Tiles are independent and blended in index order, so the bytes of the result do not depend on the number of threads or
on which tile is finished first. Memory holds the source, a few tiles and one row of tiles of the result.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from math import ceil

import numpy as np
from numpy.typing import NDArray

from fluxvision.core.callbacks import JobCallbacks
from fluxvision.engine.backends.registry import BY_NAME, Backend, Detailer, load_backend
from fluxvision.engine.blend import Blender, Strip
from fluxvision.engine.executors.base import TileExecutor
from fluxvision.engine.executors.threads import ThreadExecutor
from fluxvision.engine.resample import one_blas_thread
from fluxvision.engine.tile_inference import Samples, TileJob
from fluxvision.engine.tiling import Axis, plan_axis

STRETCH = 1.25
"""The longest side of a window over that of a square of the same area."""
MOST = 4
"""How many times one pass enlarges at most."""
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
    device: str = "cpu"
    """Where the networks run, as in the settings."""


@dataclass(frozen=True, slots=True)
class Result:
    """The tiling that was used, and the seam ratio (see `Blender`), None for a single tile."""

    rows: Axis
    columns: Axis
    seam_ratio: float | None
    device: str | None = None
    """Where the networks ran; None: an executor of the request knows."""

    @property
    def tiles(self) -> int:
        """How many tiles there were."""
        return len(self.rows.spans) * len(self.columns.spans)


def plan_tiles(request: Request, row: Backend) -> tuple[Axis, Axis]:
    """Divide the picture of a request into tiles: (rows, columns)."""
    height, width = request.color.shape[:2]
    return _plan((width, height), (request.width, request.height), row)


def _plan(source: tuple[int, int], target: tuple[int, int], row: Backend) -> tuple[Axis, Axis]:
    """Divide a picture into tiles of one shape, the one with the least work: (rows, columns).

    A window has at most the area of the row's tile, which is what its memory follows, and any sides up to `STRETCH`
    times the tile's, so that few pixels are halo in a picture that does not divide into squares.
    """
    width, height = source
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
        plan_axis(height, target[1], tile=rows, halo=row.halo, overlap=row.overlap),
        plan_axis(width, target[0], tile=columns, halo=row.halo, overlap=row.overlap),
    )


def _tile_window(source: int, count: int, row: Backend) -> int:
    """Return the length of a window when an axis is divided into `count`."""
    return ceil(source / count) + 2 * row.halo


def pass_sizes(source: tuple[int, int], target: tuple[int, int], most: int = MOST) -> list[tuple[int, int]]:
    """Return the sizes (width, height) that the passes from `source` to `target` make, the target last.

    A pass enlarges `most` times at most; each does as much as it can, the last what is left.
    """
    sizes = [target]
    while any(new > most * old for old, new in zip(source, target, strict=True)):
        source = (min(source[0] * most, target[0]), min(source[1] * most, target[1]))
        sizes.insert(-1, source)
    return sizes


def count_tiles(source: tuple[int, int], sizes: Sequence[tuple[int, int]], engines: Sequence[Backend]) -> list[int]:
    """Return the number of tiles of each pass over a source of (width, height) with its engine."""
    counts = []
    for size, row in zip(sizes, engines, strict=True):
        rows, columns = _plan(source, size, row)
        counts.append(len(rows.spans) * len(columns.spans))
        source = size
    return counts


def planned_memory(row: Backend, source: tuple[int, int], target: tuple[int, int], *, bands: int, bits: int) -> int:
    """Return the bytes that the passes from `source` to `target` take at their peak, the source's pixels not included.

    `source` and `target` are (width, height), `bands` the colours and alpha, `bits` those of a sample. Tiles at work
    take what the row says for its largest tile, less for a small picture; a row of tiles of the result is collected.
    """
    sizes = pass_sizes(source, target, min(MOST, row.factor))
    if len(sizes) > 1:
        pairs = zip([source, *sizes], sizes, strict=False)
        mask = sizes[-2][0] * sizes[-2][1]  # what a mask of the last pass's source takes
        return mask + max(planned_memory(row, *pair, bands=bands, bits=bits) for pair in pairs)
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

    done, device, executor = 0, None, request.executor
    if executor is None:
        backend, at_once = _load_backend(request, work)
        device, executor = backend.device, ThreadExecutor([backend], at_once)
    with closing(executor.make(work, request.callbacks.before_tile)) as batches:
        for batch in batches:
            for tile in batch:
                blender.add(tile)
                done += 1
                request.callbacks.progress(done, work.total)
    request.callbacks.check_cancelled()
    return Result(rows, columns, blender.seam_ratio, device)


def _load_backend(request: Request, work: TileJob) -> tuple[Detailer, int]:
    """Return the running backend of a request, and how many of its tiles are at work at once."""
    threads = request.threads or os.cpu_count() or 1
    at_once = min(threads, work.row.at_once, len(work.batches))
    running = request.engine and request.engine[1]
    wanted = request.engine[0] if request.engine else request.backend
    return running or load_backend(wanted, max(1, threads // at_once), request.device), at_once
