"""Latents as the networks take them: packed into cells, which are tokens row by row.

Packing is a pixel unshuffle by 2: channel, row and column within the cell, in this order, become the cell's channels.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

SIDE = 2
"""Latent pixels per side of a cell."""


def pack(latents: Tensor) -> Tensor:
    """(B, channels, 2 * rows, 2 * columns) to (B, 4 * channels, rows, columns)."""
    return pixel_unshuffle(latents, SIDE)


def unpack(cells: Tensor) -> Tensor:
    """Undo `pack`."""
    return pixel_shuffle(cells, SIDE)


def grid(rows: int, columns: int, top: int, left: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the row and the column of each cell in token order, two int64 of (rows * columns)."""
    down = torch.arange(top, top + rows, device=device)
    across = torch.arange(left, left + columns, device=device)
    return down.repeat_interleave(columns), across.repeat(rows)
