"""One picture from source pixels to finished strips: plan, tiles, detail, colour lock, consistency, blend.

Tiles are independent and blended in the order of their places, so the bytes of the result do not depend on how many
threads there are or which tile is ready first. Memory holds the source, a few tiles and one row of tiles of the result.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fluxvision.engine import steps
from fluxvision.engine.backends import BY_NAME, Backend, Detailer, Place, load
from fluxvision.engine.blend import Blender, Strip
from fluxvision.engine.grid import Axis, Span, axis, reflect
from fluxvision.engine.resample import Array, band, one_blas_thread
from fluxvision.errors import Cancelled
from fluxvision.types import Watch

Samples = NDArray[np.unsignedinteger]

BASE_ITERATIONS = 1
"""Back-projections of a tile without invented detail: the fidelity network is nearly consistent by itself."""
ORIENTATIONS = 8
"""A seed turns or mirrors the picture for the detail network: eight honest versions of the same detail."""
STRETCH = 1.25
"""The longest side of a window over that of a square of the same area."""
PAIR = 2
"""Tiles are planned in pairs, so that two cores end together."""


@dataclass(frozen=True, slots=True)
class Request:
    """One enlargement.

    `color` is (rows, columns, 1 or 3) and `alpha` (rows, columns) or None, both uint8 or both uint16. `mask` is
    (rows, columns) of uint8, 255 where detail may be invented, or None for everywhere. `width` and `height` are the
    result's, 1 to 4 times the source's on each axis. `creativity` is 0 to 1. `threads` 0 uses every core. `engine` is a
    running backend with its row, None for that of the name `backend`.
    """

    color: Samples
    width: int
    height: int
    alpha: Samples | None = None
    mask: NDArray[np.uint8] | None = None
    creativity: float = 0.3
    seed: int = 0
    backend: str = "span"
    threads: int = 0
    watch: Watch = field(default_factory=Watch)
    engine: tuple[Backend, Detailer] | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """How it went: the tiling that was used, and the seam ratio (see `Blender`), None where there is one tile."""

    rows: Axis
    columns: Axis
    seam_ratio: float | None


def amount_of_detail(creativity: float) -> float:
    """Return the share of the detail network in the blend.

    Smooth from 0 to 1; 0.3 gives 0.7, where LPIPS is near its best and PSNR still at the level of bicubic's.
    """
    return float(1 - (1 - creativity) ** 3.4)


def plan(request: Request, row: Backend) -> tuple[Axis, Axis]:
    """Divide the picture into tiles of one shape, the one with the least work: (rows, columns).

    A window has at most the area of the row's tile, which is what its memory follows, and any sides up to `STRETCH`
    times the tile's, so that few pixels are halo in a picture that does not divide into squares.
    """
    height, width = request.color.shape[:2]
    longest = int(row.tile * STRETCH)
    best, least = (row.tile, row.tile), None
    for down in range(1, height + 1):
        rows = _window(height, down, row)
        if rows > longest:
            continue
        if rows < row.tile / STRETCH and least is not None:
            break
        fewest = ceil(width / max(1, min(longest, row.tile**2 // rows) - 2 * row.halo))
        for across in range(fewest, fewest + PAIR):
            columns = _window(width, across, row)
            count = down * across
            work = rows * columns * (count + (-count % PAIR if count > 1 else 0))  # one alone gets all threads
            roomy = across == 1 or width // across >= 2 * row.overlap
            if roomy and (least is None or work < least):
                best, least = (rows, columns), work
    rows, columns = best
    return (
        axis(height, request.height, tile=rows, halo=row.halo, overlap=row.overlap),
        axis(width, request.width, tile=columns, halo=row.halo, overlap=row.overlap),
    )


def _window(source: int, count: int, row: Backend) -> int:
    """Return the length of a window when an axis is divided into `count`."""
    return ceil(source / count) + 2 * row.halo


def enlarge(request: Request, emit: Callable[[Strip], None]) -> Result:
    """Enlarge a picture; `emit` gets strips (rows, width, bands) of the source's sample type, top to bottom.

    Bands are the colour channels followed by alpha where there is one. Raises `Cancelled` when the watch says so,
    `Unavailable` when the backend's weights are missing; an error of `emit` ends the work.
    """
    row = request.engine[0] if request.engine else BY_NAME[request.backend]
    threads = request.threads or os.cpu_count() or 1
    rows, columns = plan(request, row)
    total = len(rows.spans) * len(columns.spans)
    at_once = min(threads, row.at_once, total)
    backend = request.engine[1] if request.engine else load(request.backend, max(1, threads // at_once))
    bands = request.color.shape[2] + (request.alpha is not None)
    blender = Blender(rows, columns, bands, request.color.dtype.itemsize * 8, emit)
    one_blas_thread()
    for done, tile in enumerate(_tiles(request, row, backend, (rows, columns), at_once), 1):
        blender.add(tile)
        request.watch.progress(done, total)
    _stop_if_cancelled(request)
    return Result(rows, columns, blender.seam_ratio)


def _tiles(request: Request, row: Backend, backend: Detailer, axes: tuple[Axis, Axis], at_once: int) -> Iterator[Array]:
    """Yield finished tiles in index order while later ones are at work."""
    rows, columns = axes
    waiting: deque[Future[Array]] = deque()
    with ThreadPoolExecutor(at_once, thread_name_prefix="tile") as pool:
        try:
            for down in rows.spans:
                for across in columns.spans:
                    waiting.append(pool.submit(_tile, request, row, backend, (rows, down), (columns, across)))
                    if len(waiting) > at_once:
                        yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _tile(
    request: Request, row: Backend, backend: Detailer, vertical: tuple[Axis, Span], horizontal: tuple[Axis, Span]
) -> Array:
    """Make one tile: float32 (bands, span rows, span columns)."""
    _stop_if_cancelled(request)
    (rows, down), (columns, across) = vertical, horizontal
    index = np.ix_(
        reflect(down.source, rows.window, rows.source), reflect(across.source, columns.window, columns.source)
    )
    source = _floats(request.color[index].transpose(2, 0, 1))
    grey = source.shape[0] == 1
    place = Place(down.source * row.factor, across.source * row.factor)
    fine = _detail(request, row, backend, np.repeat(source, 3, axis=0) if grey else source, (index, place))
    parts = [fine.mean(axis=0, keepdims=True) if grey else fine]
    if request.alpha is not None:
        # A plain cubic: its overshoot is clipped away, where a network leaves ripples inside an edge.
        parts.append(steps.expand(_floats(request.alpha[index][None]), row.factor))
    fine = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return _onto(fine, row.factor, vertical, horizontal)


def _stop_if_cancelled(request: Request) -> None:
    if request.watch.cancel.is_set():
        raise Cancelled("The work was cancelled.")


def _floats(samples: NDArray[Any]) -> Array:
    return np.ascontiguousarray(samples, np.float32) / np.float32(np.iinfo(samples.dtype).max)


def _detail(
    request: Request, row: Backend, backend: Detailer, source: Array, where: tuple[tuple[Any, ...], Place]
) -> Array:
    """Enlarge a window by the row's factor, with detail where it is allowed."""
    (index, place), weight = where, row.consistency
    base = backend.base(source)
    amount = float(request.creativity > 0) if row.graded else amount_of_detail(request.creativity)
    allowed = None if request.mask is None else _floats(request.mask[index][None])
    if amount == 0 or (allowed is not None and not allowed.any()):
        return steps.hold(base, source, row.factor, iterations=BASE_ITERATIONS, weight=weight)
    _stop_if_cancelled(request)
    orientation = 0 if row.graded else request.seed % ORIENTATIONS
    detail = _turned_back(backend.detail(_turned(source, orientation), base, place), orientation)
    fine = steps.admit(base, detail, amount)
    fine = steps.hold(fine, source, row.factor, iterations=row.iterations, weight=weight)
    if allowed is None or allowed.min() == 1:
        return fine
    base = steps.hold(base, source, row.factor, iterations=BASE_ITERATIONS, weight=weight)
    return steps.admit(base, fine, np.clip(steps.expand(steps.feather(allowed), row.factor), 0, 1))


def _turned(image: Array, orientation: int) -> Array:
    turned = np.rot90(image, orientation % 4, axes=(1, 2))
    return np.ascontiguousarray(turned[:, :, ::-1] if orientation >= ORIENTATIONS // 2 else turned)


def _turned_back(image: Array, orientation: int) -> Array:
    straight = image[:, :, ::-1] if orientation >= ORIENTATIONS // 2 else image
    return np.ascontiguousarray(np.rot90(straight, -(orientation % 4), axes=(1, 2)))


def _onto(fine: Array, factor: int, vertical: tuple[Axis, Span], horizontal: tuple[Axis, Span]) -> Array:
    """Bring a fine tile onto the pixels of the result: a cut where they coincide, else an anti-aliased Lanczos."""
    for axis_number, (line, span) in ((1, vertical), (2, horizontal)):
        size = fine.shape[axis_number]
        if line.target == line.source * factor:
            first = span.start - span.source * factor
            cut = slice(first, first + span.length)
            fine = fine[:, cut] if axis_number == 1 else fine[:, :, cut]
            continue
        ratio = line.source / line.target
        start = (span.start * line.source / line.target - span.source) * factor
        matrix = band(size, ratio * factor, start=start, count=span.length, kernel="lanczos")
        fine = matrix.rows(fine) if axis_number == 1 else matrix.columns(fine)
    return fine
