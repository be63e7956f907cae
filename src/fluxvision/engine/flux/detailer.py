"""FLUX as a backend of the pipeline: a tile's faithful enlargement is re-imagined, at its place in one field of noise.

Every tile is cut at the same grid of latent cells and sees the noise of its own coordinates, so neighbours agree where
they overlap, and the order in which tiles are made does not matter.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from fluxvision.engine import backends, steps
from fluxvision.engine.backends import Backend, Place, Window
from fluxvision.engine.flux import noise, schedule
from fluxvision.engine.flux.loop import denoise, low_band
from fluxvision.engine.flux.networks import Networks
from fluxvision.engine.flux.rows import FluxRow
from fluxvision.engine.grid import reflect
from fluxvision.engine.resample import Array, band

HALO, OVERLAP = 64, 32
"""Enlarged pixels on each side that a tile sees, and over which it is cross-faded."""
ITERATIONS = 4
"""Back-projections: what a network imagines is further from the source than what one reconstructs."""
FEWEST = 2
"""Forward passes, however little is imagined: a single one is a blurred guess."""
LOCKS = 2
"""How often the colours of what was imagined are locked."""
BASE = "span"
BASE_FACTOR = 4


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a job asks of the network. `steps` counts a full trajectory; None: the row's own."""

    prompt: str = ""
    creativity: float = 0.3
    guidance: float | None = None
    steps: int | None = None
    resemblance: float = 0.0
    seed: int = 0


class Stop(Protocol):
    """What is called before each forward pass; raises to end the work."""

    def __call__(self) -> None:
        """Raise or return."""


def backend_row(row: FluxRow, factor: int) -> Backend:
    """Return the pipeline's facts for a network that re-imagines tiles of one shape, `factor` times the source's."""
    tile = (row.tile - row.cell) // factor
    return Backend(
        name=row.name,
        title=row.title,
        entry="",
        base=BASE,
        detail=row.name,
        licence=row.licence,
        factor=factor,
        tile=tile,
        halo=max(1, min(HALO // factor, tile // 4)),
        overlap=max(1, min(OVERLAP // factor, tile // 8)),
        memory=0,
        at_once=1,
        iterations=ITERATIONS,
        consistency=1.0 if factor > 1 else 0.0,  # unenlarged, all detail would be held back: only the colour is
        graded=True,
    )


class FluxDetailer:
    """A loaded network with the wishes of one job. One forward at a time: the device is one."""

    def __init__(self, networks: Networks, factor: int, wishes: Wishes, stop: Stop, threads: int = 0) -> None:
        """Enlarge by `factor`, 1 to 4; the faithful part by the embedded network on `threads` threads."""
        self._networks, self._factor, self._wishes, self._stop = networks, factor, wishes, stop
        self._embedded = backends.load(BASE, threads or 1)
        self._lock = threading.Lock()
        self._prompt = None if wishes.creativity == 0 else networks.embed(wishes.prompt)

    def base(self, tile: Array) -> Array:
        """Enlarge a tile faithfully: by the embedded network, reduced to the factor."""
        if self._factor == 1:
            return tile.copy()
        made = self._embedded.base(tile)
        if self._factor == BASE_FACTOR:
            return made
        _, rows, columns = tile.shape
        ratio = BASE_FACTOR / self._factor
        down = band(made.shape[1], ratio, count=rows * self._factor)
        across = band(made.shape[2], ratio, count=columns * self._factor)
        return across.columns(down.rows(made))

    def detail(self, windows: Sequence[Window]) -> list[Array]:
        """Re-imagine tiles, with their colours locked to the faithful ones."""
        return [self._detail(window.base, window.place) for window in windows]

    def _detail(self, base: Array, place: Place) -> Array:
        cell = self._networks.row.cell
        base = np.clip(base, 0, 1)  # an enlargement overshoots, and no picture that a network was trained with does
        # All tiles of a job have one shape on the grid of cells, wherever they begin.
        top, left = floor(place.top / cell), floor(place.left / cell)
        rows, columns = (ceil((side + cell - 1) / cell) for side in base.shape[1:])
        index = np.ix_(
            reflect(top * cell - place.top, rows * cell, base.shape[1]),
            reflect(left * cell - place.left, columns * cell, base.shape[2]),
        )
        padded = np.ascontiguousarray(base.transpose(1, 2, 0)[index].transpose(2, 0, 1))
        down, across = place.top - top * cell, place.left - left * cell
        with self._lock, torch.inference_mode():
            made = self._imagined(padded, top, left)
            fine = made[..., down : down + base.shape[1], across : across + base.shape[2]]
            found: Array = _locked(fine, torch.from_numpy(base)[None].to(fine.device))[0].cpu().numpy()
        return found

    def _imagined(self, pixels: Array, top: int, left: int) -> Tensor:
        networks, wishes = self._networks, self._wishes
        source = networks.encode(torch.from_numpy(pixels)[None])
        _, channels, rows, columns = source.shape
        fresh = noise.field(wishes.seed, top, left, rows, columns, channels)
        steps_in_all = wishes.steps or networks.row.steps
        path = schedule.sigmas(
            schedule.SHIFTS[networks.row.shift],
            rows * columns,
            steps_in_all,
            schedule.start_sigma(wishes.creativity),
            least=max(FEWEST, ceil(steps_in_all * wishes.creativity)),
        )
        made = denoise(
            self._velocity(),
            source,
            torch.from_numpy(fresh)[None].to(source.device),
            path,
            resemblance=wishes.resemblance,
            stop=self._stop,
        )
        return networks.decode(made).float()

    def _velocity(self) -> Callable[[Tensor, float], Tensor]:
        networks, prompt = self._networks, self._prompt
        guidance = self._wishes.guidance if self._wishes.guidance is not None else networks.row.guidance_scale
        assert prompt is not None  # noqa: S101, there is one wherever anything is imagined

        def velocity(latents: Tensor, sigma: float) -> Tensor:
            return networks.velocity(latents, sigma, prompt, guidance)

        return velocity


def _locked(fine: Tensor, base: Tensor) -> Tensor:
    """Return a picture with the low wavelet band of the faithful one: no tile has a colour of its own.

    Detail that leaves 0..1 is cut off, which brightens the dark and darkens the bright: that is locked once more.
    """
    wanted = low_band(base, steps.WAVELET_LEVELS)
    for _ in range(LOCKS):
        fine = (fine - low_band(fine, steps.WAVELET_LEVELS) + wanted).clamp(0, 1)
    return fine
