"""A backend without weights, for tests and for measuring the pipeline itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fluxvision.engine.backends.registry import Backend, TileInput
from fluxvision.engine.resample import Array, band_matrix


class Mock:
    """Enlarges by Lanczos; its detail is a deterministic texture computed from the tile's own values."""

    device = "cpu"

    def __init__(self, row: Backend, _threads: int = 1, _device: str = "cpu") -> None:
        """Store the factor of the row."""
        self._factor = row.factor

    def base(self, tile: Array) -> Array:
        """Enlarge by Lanczos."""
        _, rows, columns = tile.shape
        down = band_matrix(rows, 1 / self._factor, count=rows * self._factor, kernel="lanczos")
        across = band_matrix(columns, 1 / self._factor, count=columns * self._factor, kernel="lanczos")
        return down.rows(across.columns(tile))

    def detail(self, windows: Sequence[TileInput]) -> list[Array]:
        """Enlarge by Lanczos and add a fine texture that depends on the values only, so that any tiling agrees."""
        return [_add_texture(self.base(window.source)) for window in windows]


def _add_texture(enlarged: Array) -> Array:
    texture: Array = np.float32(0.05) * np.sin(enlarged * np.float32(90.0))
    return enlarged + texture
