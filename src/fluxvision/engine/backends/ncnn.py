"""Networks run by ncnn on the CPU: one network serves all threads.

One thread per tile and several tiles at once is faster than several threads per tile; the bytes are the same for any
number of either, because ncnn splits its work over rows and channels and never inside a sum. `extract` releases the
GIL.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ncnn
import numpy as np

from fluxvision.core.errors import InternalError, Unavailable
from fluxvision.core.system import CACHES, resource_error
from fluxvision.engine.backends import ncnn_graph, registry
from fluxvision.engine.backends.registry import Backend, TileInput
from fluxvision.engine.resample import Array

REUSE = 0.9
"""Smallest share of a free buffer that a request must fill to get it; this value used the least memory."""
CONTRASTS = (1.0, 0.7, 0.5, 0.25)
"""Contrasts to try in order: at full contrast SPAN can produce noise on text and pixel art with hard edges."""
OVERSHOOT = 1.5
"""Largest accepted excess over 0..1. Photographs exceed it by up to 0.2, noise by 4 to 900."""
_NO_MEMORY = -100
"""Return value of ncnn when an allocation failed."""


class Network:
    """One ncnn network: (3, rows, columns) in 0..1, and further inputs where it has more, to (3, rows, columns)."""

    def __init__(self, name: str, package: str | None, pool: Any, threads: int) -> None:
        """Load the network's two files; raises `Unavailable` where they are missing or damaged."""
        self._net = ncnn.Net()
        option = self._net.opt
        option.use_vulkan_compute = False
        option.num_threads = threads
        option.use_fp16_packed = option.use_fp16_storage = option.use_fp16_arithmetic = False
        option.use_bf16_storage = False
        option.blob_allocator = option.workspace_allocator = pool
        try:
            self._load(name, package)
        except (OSError, ValueError, LookupError) as cause:
            message = f"The engine cannot be used: the weights of its network {name} are missing or damaged."
            raise resource_error(cause) or Unavailable(message, param="engine") from cause
        self._inputs = self._net.input_names()
        self._output = self._net.output_names()[-1]

    def _load(self, name: str, package: str | None) -> None:
        param, binary = registry.weight_files(name, package)
        for path in (param, binary):  # ncnn takes any numbers for weights
            registry.verify_weights(path)
        rewritten = ncnn_graph.load_layers(param, binary)
        with TemporaryDirectory() as folder:  # ncnn reads files only, and takes copies of what it reads
            if rewritten is not None:
                param, binary = Path(folder, "param"), Path(folder, "bin")
                param.write_text(rewritten[0], encoding="ascii")
                binary.write_bytes(rewritten[1])
            if self._net.load_param(str(param)) or self._net.load_model(str(binary)):
                raise ValueError(name)

    def run(self, tile: Array, *more: Array) -> Array:
        """Run the network once; `more` are its further inputs.

        Raises MemoryError when ncnn gets no memory, and InternalError where it fails or its numbers are none: without
        an input, or of an input of another shape, it makes something of whatever is in memory.
        """
        planes = [np.ascontiguousarray(plane) for plane in (tile, *more)]  # by name: a Mat borrows the memory
        extractor = self._net.create_extractor()
        failed = tile.ndim != 3 or tile.shape[0] != 3  # noqa: PLR2004, RGB
        failed = failed or any(map(extractor.input, self._inputs, map(ncnn.Mat, planes)))
        if not failed:
            failed, output = extractor.extract(self._output)
            if failed == _NO_MEMORY:
                raise MemoryError
        result = None if failed else np.array(output)
        if result is None or not math.isfinite(float(result.sum())):
            raise InternalError("The engine's network failed.")
        return result


class Networks:
    """A fidelity network and a perceptual one behind the pipeline's contract."""

    def __init__(self, row: Backend, threads: int = 1) -> None:
        """Load both networks of a row; they share their buffers."""
        self._pool = ncnn.PoolAllocator()
        self._pool.set_size_compare_ratio(REUSE)
        self._pixels = 0
        self._base = Network(row.base, row.package, self._pool, threads)
        self._detail = Network(row.detail, row.package, self._pool, threads)
        CACHES.add(self)

    def clear(self) -> None:
        """Free the buffers that no tile is using: those of a large picture are hundreds of megabytes."""
        self._pool.clear()

    def base(self, tile: Array) -> Array:
        """Enlarge faithfully, at the highest contrast at which the network holds."""
        if tile.size != self._pixels:
            self._pool.clear()  # buffers of other sizes would not be used again
            self._pixels = tile.size
        grey = np.float32(0.5)
        for contrast in map(np.float32, CONTRASTS):
            fine = self._base.run(tile if contrast == 1 else (tile - grey) * contrast + grey)
            if contrast < 1:
                fine = (fine - grey) / contrast + grey
            if fine.min() >= -OVERSHOOT and fine.max() <= 1 + OVERSHOOT:
                break
        return fine

    def detail(self, windows: Sequence[TileInput]) -> list[Array]:
        """Enlarge with invented detail."""
        return [self._detail.run(window.source) for window in windows]
