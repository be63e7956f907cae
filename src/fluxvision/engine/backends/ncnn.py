"""Networks run by ncnn, on the CPU or on a GPU with a Vulkan driver: one network serves all threads.

On the CPU one thread per tile and several tiles at once is faster than several threads per tile; the bytes are the
same for any number of either, because ncnn splits its work over rows and channels and never inside a sum. `extract`
releases the GIL.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from itertools import repeat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ncnn
import numpy as np

from fluxvision.core.errors import InternalError, Unavailable
from fluxvision.core.system import CACHES, resource_error
from fluxvision.engine.backends import ncnn_graph, vulkan, weight_files
from fluxvision.engine.backends.registry import Backend, TileInput
from fluxvision.engine.backends.vulkan import Gpu
from fluxvision.engine.resample import Array

LOG = logging.getLogger(__name__)
REUSE = 0.9
"""Smallest share of a free buffer that a request must fill to get it; this value used the least memory."""
CONTRASTS = (1.0, 0.7, 0.5, 0.25)
"""Contrasts to try in order: at full contrast SPAN can produce noise on text and pixel art with hard edges."""
OVERSHOOT = 1.5
"""Largest accepted excess over 0..1. Photographs exceed it by up to 0.2, noise by 4 to 900."""
ASTRAY = 0.1
"""Mean difference from the source above which the CPU makes a GPU's tile again: pictures are far below it."""
_NO_MEMORY = -100
"""Return value of ncnn when an allocation failed."""


class Network:
    """One ncnn network: (3, rows, columns) in 0..1, and further inputs where it has more, to (3, rows, columns)."""

    def __init__(self, name: str, package: str | None, pool: Any, threads: int, gpu: Gpu | None = None) -> None:
        """Load the network's two files, None for `gpu`: onto the CPU.

        Raises `Unavailable` where they are missing or damaged.
        """
        self._net = ncnn.Net()
        option = self._net.opt
        option.use_vulkan_compute = gpu is not None
        if gpu is not None:
            self._net.set_vulkan_device(gpu.index)
        option.num_threads = threads
        # Numbers of 16 bits would differ from the CPU by up to 0.01 on photographs, and SPAN breaks out with them.
        option.use_fp16_packed = option.use_fp16_storage = option.use_fp16_arithmetic = False
        option.use_bf16_storage = False
        option.blob_allocator = option.workspace_allocator = pool
        try:
            self._load(name, package)
        except (OSError, ValueError, LookupError) as cause:
            message = f"The engine cannot be used: the weights of its network {Path(name).name} are missing or damaged."
            raise resource_error(cause) or Unavailable(message, param="engine") from cause
        self._inputs = self._net.input_names()
        self._output = self._net.output_names()[-1]

    def _load(self, name: str, package: str | None) -> None:
        param, binary = weight_files.find(name, package)
        for path in (param, binary):  # ncnn takes any numbers for weights
            weight_files.verify(path)
        rewritten = ncnn_graph.load_layers(param, binary)
        with TemporaryDirectory() as folder:  # ncnn reads files only, and takes copies of what it reads
            if rewritten is not None:
                param, binary = Path(folder, "param"), Path(folder, "bin")
                param.write_text(rewritten[0], encoding="ascii")
                binary.write_bytes(rewritten[1])
            if self._net.load_param(str(param)) or self._net.load_model(str(binary)):
                raise ValueError(name)

    @property
    def inputs(self) -> int:
        """How many inputs it has."""
        return len(self._inputs)

    def run(self, tile: Array, *more: Array) -> Array:
        """Run the network once; `more` are its further inputs.

        Raises MemoryError when ncnn gets no memory, and InternalError where it fails or its numbers are none: without
        an input, or of an input of another shape, it makes something of whatever is in memory.
        """
        planes = [np.ascontiguousarray(plane) for plane in (tile, *more)]  # by name: a Mat borrows the memory
        # A clone's planes begin at multiples of 16 bytes, as layers such as Concat expect; those of numpy need not.
        inputs = [ncnn.Mat(plane).clone() for plane in planes]
        extractor = self._net.create_extractor()
        failed = tile.ndim != 3 or tile.shape[0] != 3  # noqa: PLR2004, RGB
        failed = failed or any(map(extractor.input, self._inputs, inputs))
        if not failed:
            failed, output = extractor.extract(self._output)
            if failed == _NO_MEMORY:
                raise MemoryError
        result = None if failed else np.array(output)
        if result is None or not math.isfinite(float(result.sum())):
            raise InternalError("The engine's network failed.")
        return result


class _Networks:
    """Networks of a row on the CPU, where they share their buffers, and on a GPU if `device` has one."""

    def __init__(self, row: Backend, threads: int = 1, device: str = vulkan.CPU) -> None:
        """Load them.

        Raises `Unavailable` naming the setting where `device` is a GPU that cannot be used.
        """
        self._pool = ncnn.PoolAllocator()
        self._pool.set_size_compare_ratio(REUSE)
        self._pixels = 0
        names = dict.fromkeys((row.base, row.detail))
        on_cpu = [Network(name, row.package, self._pool, threads) for name in names]
        gpu = vulkan.choose_gpu(device)
        on_gpu = None if gpu is None else _load_verified(row, gpu, device == vulkan.AUTO)
        self._networks = list(zip(on_gpu or repeat(None), on_cpu, strict=False))
        self.device = gpu.label if gpu is not None and on_gpu is not None else vulkan.CPU
        CACHES.add(self)

    def clear(self) -> None:
        """Free the buffers that no tile is using: those of a large picture are hundreds of megabytes."""
        self._pool.clear()

    def _steady(self, tile: Array) -> Array:
        """Run the first network at the highest contrast at which it holds."""
        if tile.size != self._pixels:
            self._pool.clear()  # buffers of other sizes would not be used again
            self._pixels = tile.size
        grey = np.float32(0.5)
        for contrast in map(np.float32, CONTRASTS):
            fine = _run(*self._networks[0], tile if contrast == 1 else (tile - grey) * contrast + grey)
            if contrast < 1:
                fine = (fine - grey) / contrast + grey
            if fine.min() >= -OVERSHOOT and fine.max() <= 1 + OVERSHOOT:
                break
        return fine


class Networks(_Networks):
    """A fidelity network and a perceptual one behind the pipeline's contract."""

    def base(self, tile: Array) -> Array:
        """Enlarge faithfully."""
        return self._steady(tile)

    def detail(self, windows: Sequence[TileInput]) -> list[Array]:
        """Enlarge with invented detail."""
        return [_run(*self._networks[1], window.source) for window in windows]


class JointNetwork(_Networks):
    """One network of six planes, the faithful enlargement and the one with detail, behind the pipeline's contract."""

    def both(self, tile: Array) -> tuple[Array, Array]:
        """Enlarge faithfully, and with invented detail."""
        made = self._steady(tile)
        return made[:3], made[3:]

    def base(self, tile: Array) -> Array:
        """Enlarge faithfully."""
        return self.both(tile)[0]

    def detail(self, windows: Sequence[TileInput]) -> list[Array]:
        """Enlarge with invented detail."""
        return [self.both(window.source)[1] for window in windows]


def _run(on_gpu: Network | None, on_cpu: Network, tile: Array) -> Array:
    """Run a network on the GPU; on the CPU where there is none, or it fails, or what it makes is not the tile."""
    if on_gpu is not None:
        with suppress(MemoryError, InternalError):
            made = on_gpu.run(tile)
            bands, rows, columns = tile.shape
            shrunk = made[:bands].reshape(bands, rows, made.shape[1] // rows, columns, -1).mean(axis=(2, 4))
            if np.abs(shrunk - tile).mean() < ASTRAY:
                return made
    return on_cpu.run(tile)


@cache
def _load_verified(row: Backend, gpu: Gpu, auto: bool) -> list[Network] | None:
    """Return a row's networks on a GPU that computes what the CPU does and, if `auto`, faster; None: use the CPU.

    Raises `Unavailable` where the GPU cannot be used and was asked for.
    """
    try:
        networks = []
        for name in dict.fromkeys((row.base, row.detail)):
            network = Network(name, row.package, None, 1, gpu)
            speed = vulkan.verify(Network(name, row.package, None, 1).run, network.run)
            if auto and speed < row.at_once:
                LOG.info("The engine %s runs on the CPU, which is faster than %s.", row.name, gpu.label)
                return None
            networks.append(network)
    except (MemoryError, InternalError) as reason:
        problem = getattr(reason, "message", "") or "it has no memory"
        message = f"device: {gpu.label} cannot be used for the engine {row.name}: {problem}."
        if not auto:
            raise Unavailable(message, param="device") from reason
        LOG.warning("%s The CPU is used.", message)
        return None
    return networks
