"""GPUs that ncnn can use through Vulkan: which there are, and whether one computes what the processor computes.

ncnn finds the driver by itself (on Apple through MoltenVK). A driver that computes something else is not used: drivers
differ in how they run 16-bit numbers, shared memory and large buffers, and a wrong picture looks like a picture.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import ncnn
import numpy as np

from fluxvision.core.errors import InternalError, Unavailable
from fluxvision.engine.resample import Array

AUTO, CPU, GPU = "auto", "cpu", "gpu"
KINDS = ("discrete", "integrated", "virtual", "software")
"""ncnn's types of GPUs by their numbers; software is a driver that computes on the processor, such as llvmpipe."""
SIDE = 64
"""Sides of the tile on which both are compared."""
MEAN_DIFFERENCE, LARGEST_DIFFERENCE = 1e-4, 0.004
"""What a GPU may differ from the processor: a fortieth of an 8-bit step in the mean, one step in a single sample.

Measured on the tile: 1e-7 and 1e-6 for numbers of 32 bits, 2.4e-4 to 9e-4 and 0.004 to 0.01 for 16 bits.
"""

Run = Callable[[Array], Array]


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU with a Vulkan driver."""

    index: int
    name: str
    kind: str
    """One of `KINDS`."""

    @property
    def label(self) -> str:
        """The device as people read it, such as "gpu:0 (AMD Radeon RX 7600)"."""
        return f"{GPU}:{self.index} ({self.name})"


@cache
def find_gpus() -> tuple[Gpu, ...]:
    """Return the GPUs of this machine, software ones too, in the order of ncnn."""
    with _without_stderr():
        if ncnn.create_gpu_instance():
            return ()
        found = [ncnn.get_gpu_info(index) for index in range(ncnn.get_gpu_count())]
    return tuple(Gpu(index, info.device_name(), KINDS[info.type()]) for index, info in enumerate(found))


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Hide what ncnn prints about drivers that it does not find, and about each GPU that it does."""
    try:
        kept = os.dup(2)
    except OSError:  # it is closed
        yield
        return
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(null)
        os.close(kept)


def choose_gpu(device: str) -> Gpu | None:
    """Return the GPU that the setting `device` means, None for the processor.

    `auto` takes no software GPU. Raises `Unavailable` naming the setting where the GPU does not exist.
    """
    if device == CPU:
        return None
    gpus = sorted(find_gpus(), key=lambda gpu: KINDS.index(gpu.kind))
    if device == AUTO:
        return next((gpu for gpu in gpus if gpu.kind != KINDS[-1]), None)
    found = gpus[0] if device == GPU and gpus else next((gpu for gpu in gpus if f"{GPU}:{gpu.index}" == device), None)
    if found is None:
        there = ", ".join(gpu.label for gpu in find_gpus()) or "none"
        message = f"device: there is no {device} with a Vulkan driver on this machine; GPUs found: {there}."
        raise Unavailable(message, param="device")
    return found


def sample_tile() -> Array:
    """Return a tile with all that pictures have: a gradient, waves, hard edges and noise."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) / SIDE
    smooth = 0.5 + 0.25 * np.sin(6 * rows + 3 * columns) * columns
    waves = 0.1 * np.sin(40 * rows * columns)
    edges = 0.2 * ((rows - 0.5) ** 2 + (columns - 0.5) ** 2 < 0.1)  # noqa: PLR2004, a disc
    noise = np.random.default_rng(0).normal(0, 0.02, (3, SIDE, SIDE))
    tile: Array = np.clip(smooth + waves + edges + noise, 0, 1).astype(np.float32)
    return tile


def verify(processor: Run, gpu: Run) -> float:
    """Return how many times faster than the processor a GPU runs a network.

    The GPU's first run is not timed: the driver makes its programs in it. Raises `InternalError` with the reason where
    a run's result is not that of the processor.
    """
    tile = sample_tile()
    began = time.perf_counter()
    expected = processor(tile)
    seconds = time.perf_counter() - began
    _check_result(gpu(tile), expected)
    began = time.perf_counter()
    again = gpu(tile)
    speed = seconds / max(time.perf_counter() - began, 1e-9)
    _check_result(again, expected)
    return speed


def _check_result(made: Array, expected: Array) -> None:
    if made.shape != expected.shape or not np.isfinite(made).all():
        raise InternalError("its results are no picture")
    difference = np.abs(made - expected)
    mean, largest = float(difference.mean()), float(difference.max())
    if mean > MEAN_DIFFERENCE or largest > LARGEST_DIFFERENCE:
        message = f"its results differ from the processor's by {mean:.1g} in the mean and {largest:.1g} at most"
        raise InternalError(message)
