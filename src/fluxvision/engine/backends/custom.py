"""Networks in files of one's own: what they need is found by running them, and SPAN makes the faithful part."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from math import ceil
from pathlib import Path

import msgspec
import numpy as np

from fluxvision.core.custom_engines import NCNN
from fluxvision.core.errors import InternalError, Unavailable
from fluxvision.engine.backends.ncnn import Network, Networks
from fluxvision.engine.backends.registry import CUSTOM, Backend, TileInput
from fluxvision.engine.backends.torch_file import TorchNetwork
from fluxvision.engine.resample import Array, band_matrix

BASE_FACTOR = CUSTOM.factor
FACTORS = range(2, 9)
"""How many times a network may enlarge."""
MULTIPLES = (1, 2, 4, 8, 16)
"""What the sides of a picture must be multiples of for some network."""
SIDE = 64
PATIENCE = 300.0
"""Seconds that the examination of a network may take."""
NO_PICTURE = "it makes no picture of three colours of one"
VISIBLE = 1 / 255
"""The smallest difference that counts when it is measured how far a network looks."""
HALOS = (8, 32)
"""The least and the most halo: networks that look farther do so with less than can be seen."""


class Findings(msgspec.Struct, frozen=True):
    """What a network was found to need, or why it cannot be used."""

    factor: int = 0
    halo: int = 0
    multiple: int = 1
    problem: str = ""


@cache
def probe_network(name: str, path: Path) -> Backend:
    """Return the row of a network in a file, with the factor, halo and multiple that it was found to have.

    It is run in a process of its own first, because ncnn ends the process with some files. Raises `Unavailable` with
    one sentence for a file that cannot be used.
    """
    try:
        done = subprocess.run(  # noqa: S603, our own module, and no shell
            [sys.executable, "-m", __spec__.name, str(path)], capture_output=True, check=True, timeout=PATIENCE
        )
        found = msgspec.json.decode(done.stdout, type=Findings)
    except (subprocess.SubprocessError, msgspec.DecodeError):
        found = Findings(problem="ncnn breaks off when it runs it")
    if found.problem:
        message = f"engine: the network {name} cannot be used: {found.problem}."
        raise Unavailable(message, param="engine")
    return replace(
        CUSTOM,
        name=name,
        title=f"SPAN and {name}",
        detail=str(path),
        factor=found.factor,
        halo=found.halo,
        multiple=found.multiple,
    )


def examine(path: Path) -> Findings:
    """Run a network on small pictures and return what it needs."""
    try:
        network = _open(path)
        if network.inputs != 1:
            return Findings(problem=NO_PICTURE)
        for multiple in MULTIPLES:
            sides = [_output_side(network, side * multiple) for side in (16, 17)]
            factor = sides[0] // (16 * multiple)
            if sides == [16 * multiple * factor, 17 * multiple * factor]:
                break
        else:
            return Findings(problem="its results are no multiple of what it is given")
        if factor not in FACTORS:
            reason = f"it enlarges {factor} times; {FACTORS[0]} to {FACTORS[-1]} times can be used"
            return Findings(problem=reason)
        halo = ceil(_measure_reach(network, factor) / multiple) * multiple
    except Unavailable as error:
        ncnn = path.suffix == NCNN
        return Findings(problem="its files are damaged, or no network of ncnn" if ncnn else error.message.rstrip("."))
    except InternalError:
        return Findings(problem=NO_PICTURE)
    return Findings(factor, halo, multiple)


def _open(path: Path, device: str = "cpu") -> Network | TorchNetwork:
    """Load a network onto the processor, one of PyTorch onto a GPU of CUDA if `device` allows."""
    return Network(str(path), None, None, 1) if path.suffix == NCNN else TorchNetwork(path, device)


def _output_side(network: Network | TorchNetwork, side: int) -> int:
    tile = np.full((3, side, side), 0.5, np.float32)
    made = network.run(tile)
    if made.ndim != tile.ndim or made.shape[0] != tile.shape[0] or made.shape[1] != made.shape[2]:
        raise InternalError(NO_PICTURE)
    return int(made.shape[1])


def _measure_reach(network: Network | TorchNetwork, factor: int) -> int:
    """Return how many source pixels away a change shows in the result."""
    tile = np.random.default_rng(0).uniform(0.3, 0.7, (3, SIDE, SIDE)).astype(np.float32)
    other = tile.copy()
    half = SIDE // 2
    other[:, :, :half] = tile[:, ::-1, :half]
    changed = np.abs(network.run(tile) - network.run(other)).max(axis=(0, 1))[half * factor :] > VISIBLE
    reach = ceil((int(np.flatnonzero(changed).max()) + 1) / factor) if changed.any() else 0
    return min(max(reach, HALOS[0]), HALOS[1])


class CustomNetworks(Networks):
    """SPAN, brought to the network's factor, and a network in a file."""

    def __init__(self, row: Backend, threads: int = 1, device: str = "cpu") -> None:
        """Load both; raises as `Networks`."""
        path = Path(row.detail)
        self._torch = None if path.suffix == NCNN else TorchNetwork(path, device)
        if self._torch is None:
            super().__init__(row, threads, device)
        else:
            super().__init__(replace(row, detail=row.base), threads)
            self.device = self._torch.device
        self._factor, self._multiple = row.factor, row.multiple

    def base(self, tile: Array) -> Array:
        """Enlarge faithfully by SPAN, resampled to the network's factor."""
        fine = super().base(tile)
        if self._factor == BASE_FACTOR:
            return fine
        ratio = BASE_FACTOR / self._factor
        down, across = (band_matrix(side * BASE_FACTOR, ratio, count=side * self._factor) for side in tile.shape[1:])
        return down.rows(across.columns(fine))

    def detail(self, windows: Sequence[TileInput]) -> list[Array]:
        """Enlarge by the network; a window whose sides are no multiple is continued by reflection."""
        padded = self._pad(windows)
        torch = self._torch
        made = super().detail(padded) if torch is None else [torch.run(window.source) for window in padded]
        return [self._cut(fine, window) for fine, window in zip(made, windows, strict=True)]

    def _pad(self, windows: Sequence[TileInput]) -> list[TileInput]:
        sides = [[(0, -side % self._multiple) for side in window.source.shape[1:]] for window in windows]
        return [
            replace(window, source=np.pad(window.source, [(0, 0), *more], "reflect"))
            for window, more in zip(windows, sides, strict=True)
        ]

    def _cut(self, made: Array, window: TileInput) -> Array:
        _, rows, columns = window.source.shape
        return np.ascontiguousarray(made[:, : rows * self._factor, : columns * self._factor])


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(examine(Path(sys.argv[1]))))
