"""FLUX as a backend of the pipeline: re-imagines a tile's faithful enlargement from one global noise field.

Every tile is cut at the same grid of latent cells and uses the noise of its own coordinates, so neighbours agree where
they overlap, and the order in which tiles are made does not matter.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from fluxvision.engine.backends import registry
from fluxvision.engine.backends.registry import TileInput
from fluxvision.engine.flux import latents, noise, sampling
from fluxvision.engine.flux.memory_budget import MemoryBudget, RetryWithSmallerTiles, is_out_of_memory
from fluxvision.engine.flux.networks import Networks
from fluxvision.engine.flux.options import BASE, SamplingOptions, backend_row
from fluxvision.engine.flux.sampling import denoise, latent_low_band
from fluxvision.engine.resample import Array, band_matrix

__all__ = ["FEWEST", "FluxDetailer", "Prompts", "SamplingOptions", "backend_row", "free_memory"]

FEWEST = 2
"""Fewest forward passes at any creativity: a single one gives a blurred picture."""
LOCKS = 2
"""Number of corrections of the colours of a generated tile."""

T = TypeVar("T")
U = TypeVar("U")
Prompts = Callable[[Sequence[Array]], list[str]]
"""Returns a prompt for each of some windows of the source, float32 (3, rows, columns)."""


class StopCallback(Protocol):
    """A function that is called before each forward pass and raises to end the work."""

    def __call__(self) -> None:
        """Raise or return."""


@dataclass(frozen=True, slots=True, eq=False)
class _Tile:
    """A tile on the grid of cells: its place, its faithful enlargement, and where noise is allowed in it."""

    window: TileInput
    cut: latents.LatentGridCut
    pixels: Array
    allowed: Tensor | None
    prompt: str | None


class FluxDetailer:
    """A loaded network with the options of one job. It makes one batch at a time."""

    def __init__(
        self,
        networks: Networks,
        factor: int,
        options: SamplingOptions,
        stop: StopCallback,
        threads: int = 0,
        *,
        budget: MemoryBudget | None = None,
        prompts: Prompts | None = None,
    ) -> None:
        """Enlarge by `factor`, 1 to 4; the faithful part by the embedded network on `threads` threads.

        `budget` has the steps to take when memory runs out, None: only smaller batches. `prompts` returns a prompt for
        each tile, None: each tile has its own, or that of `options`.
        """
        self._networks, self._factor, self._options, self._stop = networks, factor, options, stop
        self.device = str(networks.device)
        self._embedded = registry.load_backend(BASE, threads or 1)
        self._budget, self._tile = budget or MemoryBudget(0), budget.tile if budget else 0
        self._prompts = prompts
        self._lock = threading.Lock()
        self._prompt = networks.embed(options.prompt) if options.creativity > 0 and prompts is None else None

    def base(self, tile: Array) -> Array:
        """Enlarge a tile faithfully: by the embedded network, reduced to the factor."""
        _, rows, columns = tile.shape
        return self._faithful(tile, rows * self._factor, columns * self._factor)

    def detail(self, windows: Sequence[TileInput]) -> list[Array]:
        """Re-imagine tiles, with their colours locked to the faithful ones.

        Raises `RetryWithSmallerTiles` when not even one tile fits and smaller ones may, MemoryError when those would
        not either.
        """
        with self._lock:
            prompts = self._prompts_of(windows)
        tiles = [self._placed(window, prompt) for window, prompt in zip(windows, prompts, strict=True)]
        with self._lock:
            return self._made(tiles, self._together)

    def _made(self, items: Sequence[T], make: Callable[[Sequence[T]], list[U]]) -> list[U]:
        """Return `make` of all items, in batches that fit; out of memory, take the next fallback step."""
        made: list[U] = []
        while len(made) < len(items):
            if self._budget.tile != self._tile:
                raise RetryWithSmallerTiles
            try:
                made += make(items[len(made) : len(made) + self._budget.batch])
                continue
            except (RuntimeError, MemoryError) as reason:
                if not is_out_of_memory(reason):
                    raise
            free_memory()  # only here: the error held on to what had been computed
            if not self._budget.release_next():
                message = "There is no room for a single tile."
                raise MemoryError(message)
        return made

    def _prompts_of(self, windows: Sequence[TileInput]) -> Sequence[str | None]:
        if self._prompts is None:
            return [window.prompt for window in windows]
        return self._made([window.source for window in windows], self._prompts)

    def _placed(self, window: TileInput, prompt: str | None) -> _Tile:
        base = window.base
        found = latents.cut_latent_grid(window.place, (base.shape[1], base.shape[2]), self._networks.row.cell)
        start = base if window.canvas is None else self._faithful(window.canvas, *base.shape[1:])
        # An enlargement overshoots, and no picture that a network was trained with does.
        pixels = found.spread(np.clip(start, 0, 1))
        allowed = None
        if window.allowed is not None and window.allowed.min() <= 0:
            allowed = latents.guard_band(found, window.allowed, self._factor)
        return _Tile(window, found, pixels, allowed, prompt)

    def _faithful(self, image: Array, rows: int, columns: int) -> Array:
        """Return an image enlarged faithfully to 1 to 4 times its size."""
        if image.shape[1:] == (rows, columns):
            return image.copy()
        made = self._embedded.base(image)
        if made.shape[1:] == (rows, columns):
            return made
        down = band_matrix(made.shape[1], made.shape[1] / rows, count=rows)
        across = band_matrix(made.shape[2], made.shape[2] / columns, count=columns)
        return across.columns(down.rows(made))

    def _together(self, tiles: Sequence[_Tile]) -> list[Array]:
        with torch.inference_mode():
            fine = self._imagined(tiles)
            return [self._locked(tile, image) for tile, image in zip(tiles, fine, strict=True)]

    def _imagined(self, tiles: Sequence[_Tile]) -> Tensor:
        networks, options = self._networks, self._options
        source = networks.encode(torch.from_numpy(np.stack([tile.pixels for tile in tiles])))
        many, channels, rows, columns = source.shape
        fresh = [
            noise.noise_field(options.seed, tile.cut.top, tile.cut.left, rows, columns, channels, stream=options.stream)
            for tile in tiles
        ]
        steps_in_all = options.steps or networks.row.steps
        path = sampling.sigma_schedule(
            sampling.SHIFTS[networks.row.shift],
            rows * columns,
            steps_in_all,
            sampling.start_sigma(options.creativity),
            least=max(FEWEST, ceil(steps_in_all * options.creativity)),
        )
        made = denoise(
            self._velocity(tiles, source),
            source,
            torch.from_numpy(np.stack(fresh)).to(source.device),
            path,
            resemblance=options.resemblance,
            mask=_allowed_latents(tiles, (many, 1, rows, columns)),
            stop=self._stop,
        )
        return networks.decode(made).float()

    def _velocity(self, tiles: Sequence[_Tile], source: Tensor) -> Callable[[Tensor, float], Tensor]:
        networks = self._networks
        guidance = self._options.guidance if self._options.guidance is not None else networks.row.guidance_scale
        prompt = self._prompt
        if prompt is None or any(tile.prompt is not None for tile in tiles):
            prompt = networks.embed([self._options.prompt if tile.prompt is None else tile.prompt for tile in tiles])

        def velocity(latents: Tensor, sigma: float) -> Tensor:
            return networks.velocity(latents, sigma, prompt, guidance, source=source)

        return velocity

    def _locked(self, tile: _Tile, image: Tensor) -> Array:
        """Return a tile's own pixels with the low wavelet band of its faithful enlargement."""
        base = torch.from_numpy(np.clip(tile.window.base, 0, 1))[None]
        fine = tile.cut.shrunk(image[None], tile.window.base)
        found: Array = _lock_colours(fine, base.to(fine.device), self._options)[0].cpu().numpy()
        return found


def free_memory() -> None:
    """Return PyTorch's unused memory to the device."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _allowed_latents(tiles: Sequence[_Tile], shape: tuple[int, int, int, int]) -> Tensor | None:
    """Return where noise is allowed in each of some tiles, None when it is allowed everywhere."""
    if all(tile.allowed is None for tile in tiles):
        return None
    everywhere = torch.ones(shape[1:])
    return torch.stack([everywhere if tile.allowed is None else tile.allowed for tile in tiles])


def _lock_colours(fine: Tensor, base: Tensor, options: SamplingOptions) -> Tensor:
    """Return a picture with the low wavelet band of the faithful one, so that no tile has colours of its own.

    Values outside 0..1 are clipped, which changes the mean; therefore the band is corrected once more.
    """
    levels = options.lock_levels
    low = latent_low_band(fine, levels)
    wanted = low + options.lock * (latent_low_band(base, levels) - low)
    for _ in range(LOCKS):
        fine = (fine - latent_low_band(fine, levels) + wanted).clamp(0, 1)
    return fine
