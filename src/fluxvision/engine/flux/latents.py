"""Packs latents into tokens, and maps a tile to its cells on the picture's latent grid."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import max_pool2d, pixel_shuffle, pixel_unshuffle

from fluxvision.engine.backends.registry import TileOrigin
from fluxvision.engine.flux.sampling import latent_low_band
from fluxvision.engine.resample import Array
from fluxvision.engine.tiling import reflect_indices

SIDE = 2
"""Latent pixels per side of a cell."""


def pack_latents(latents: Tensor) -> Tensor:
    """Return (B, channels, 2 * rows, 2 * columns) packed as (B, 4 * channels, rows, columns)."""
    return pixel_unshuffle(latents, SIDE)


def unpack_latents(cells: Tensor) -> Tensor:
    """Undo `pack_latents`."""
    return pixel_shuffle(cells, SIDE)


def token_grid(rows: int, columns: int, top: int, left: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the row and the column of each cell in token order, two int64 of (rows * columns)."""
    down = torch.arange(top, top + rows, device=device)
    across = torch.arange(left, left + columns, device=device)
    return down.repeat_interleave(columns), across.repeat(rows)


BESIDE = 1
"""Cells beside those with detail that are generated too; noise fades out over two more."""


@dataclass(frozen=True, slots=True)
class LatentGridCut:
    """A tile on the grid of cells: it begins at cell `top`, `left`, and its own first pixel is `down`, `across`.

    It has `rows` × `columns` cells, a number that depends only on the tile's size.
    """

    top: int
    left: int
    down: int
    across: int
    rows: int
    columns: int
    cell: int

    def spread(self, image: Array) -> Array:
        """Return an image of the tile (channels, rows, columns), mirrored to the size of all its cells."""
        index = np.ix_(
            reflect_indices(-self.down, self.rows * self.cell, image.shape[1]),
            reflect_indices(-self.across, self.columns * self.cell, image.shape[2]),
        )
        return np.ascontiguousarray(image.transpose(1, 2, 0)[index].transpose(2, 0, 1))

    def shrunk(self, image: Tensor, like: Array) -> Tensor:
        """Return the tile's own part of a spread image, of the size of `like`."""
        _, rows, columns = like.shape
        return image[..., self.down : self.down + rows, self.across : self.across + columns]


def cut_latent_grid(place: TileOrigin, shape: tuple[int, int], cell: int) -> LatentGridCut:
    """Return the cut of a tile of this shape (rows, columns) at this place."""
    top, left = floor(place.top / cell), floor(place.left / cell)
    rows, columns = (ceil((side + cell - 1) / cell) for side in shape)
    return LatentGridCut(top, left, place.top - top * cell, place.left - left * cell, rows, columns, cell)


def guard_band(found: LatentGridCut, allowed: Array, factor: int) -> Tensor:
    """Return where noise is allowed: (1, rows, columns) of cells, 0 to 1.

    It is 1 in every cell with detail and beside it, and fades out over two cells from there, so that there is no edge.
    """
    whole = np.repeat(np.repeat(allowed, factor, axis=1), factor, axis=2)
    fine = torch.from_numpy(found.spread((whole > 0).astype(np.float32)))[None]
    coarse = max_pool2d(fine, found.cell)
    wide = max_pool2d(coarse, 2 * BESIDE + 3, stride=1, padding=BESIDE + 1)
    return latent_low_band(wide, 1)[0]
