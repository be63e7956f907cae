"""TileJob, all that the tiles of a picture depend on, and TileBatch, a part of it that can be made anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fluxvision.engine.backends.registry import Backend
from fluxvision.engine.resample import Array
from fluxvision.engine.tiling import Axis, Span, reflect_indices

Samples = NDArray[np.unsignedinteger]


@dataclass(frozen=True, slots=True)
class TilePixels:
    """Where one tile lies, its windows of the pictures of a job, and the prompt that guides it."""

    down: Span
    across: Span
    color: Samples
    alpha: Samples | None
    mask: NDArray[np.uint8] | None
    canvas: Samples | None
    prompt: str | None


@dataclass(frozen=True, slots=True)
class TileBatch:
    """Some tiles with all that they depend on, and nothing of the rest of the job. The axes have no spans."""

    creativity: float
    seed: int
    row: Backend
    rows: Axis
    columns: Axis
    tiles: tuple[TilePixels, ...]


@dataclass(frozen=True, slots=True)
class TileJob:
    """All of a job that its tiles depend on.

    `color` is (rows, columns, 1 or 3), `alpha`, `mask` and `canvas` are None or arrays, as in the pipeline's request.
    `prompts` guide the tiles, one each in their order; None: the backend has one prompt for all.
    """

    color: Samples
    alpha: Samples | None
    mask: NDArray[np.uint8] | None
    creativity: float
    seed: int
    row: Backend
    rows: Axis
    columns: Axis
    canvas: Samples | None = None
    prompts: tuple[str, ...] | None = None

    @property
    def total(self) -> int:
        """Tiles in all."""
        return len(self.rows.spans) * len(self.columns.spans)

    @property
    def batches(self) -> tuple[range, ...]:
        """The numbers of the tiles that go through a network together: the same division wherever they are made."""
        size = self.row.batch
        return tuple(range(first, min(first + size, self.total)) for first in range(0, self.total, size))

    def spans(self, number: int) -> tuple[Span, Span]:
        """Return where a tile lies: numbers go along the rows, top to bottom."""
        down, across = divmod(number, len(self.columns.spans))
        return self.rows.spans[down], self.columns.spans[across]

    def source(self, number: int) -> Array:
        """Return a tile's window of the source as backends see it: float32 (3, rows, columns), 0..1."""
        return as_rgb(self.color[self.window(number)])

    def batch(self, numbers: Sequence[int]) -> TileBatch:
        """Return the tiles of these numbers with the pixels that they need."""
        rows, columns = (replace(axis, spans=()) for axis in (self.rows, self.columns))
        tiles = tuple(self._pixels(number) for number in numbers)
        return TileBatch(self.creativity, self.seed, self.row, rows, columns, tiles)

    def _pixels(self, number: int) -> TilePixels:
        index = self.window(number)
        return TilePixels(
            *self.spans(number),
            self.color[index],
            None if self.alpha is None else self.alpha[index],
            None if self.mask is None else self.mask[index],
            None if self.canvas is None else self.canvas[self.window(number, of_canvas=True)],
            None if self.prompts is None else self.prompts[number],
        )

    def is_protected(self, number: int) -> bool:
        """Tell whether no detail may be invented anywhere in a tile."""
        return self.mask is not None and not self.mask[self.window(number)].any()

    def window(self, number: int, *, of_canvas: bool = False) -> tuple[Any, ...]:
        """Return the index of a tile's window, mirrored beyond the edges: of the source, or of the canvas."""
        times = 1 if self.canvas is None or not of_canvas else self.canvas.shape[0] // self.rows.source
        return np.ix_(
            *(
                reflect_indices(span.source * times, line.window * times, line.source * times)
                for span, line in zip(self.spans(number), (self.rows, self.columns), strict=True)
            )
        )


def as_rgb(samples: Samples) -> Array:
    """Return samples (rows, columns, 1 or 3) as backends see them: float32 (3, rows, columns), 0..1."""
    found = to_floats(samples.transpose(2, 0, 1))
    return found if found.shape[0] > 1 else np.repeat(found, 3, axis=0)


def to_floats(samples: NDArray[Any]) -> Array:
    """Return samples as float32, 0..1."""
    return np.ascontiguousarray(samples, np.float32) / np.float32(np.iinfo(samples.dtype).max)
