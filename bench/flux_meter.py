"""Measures time, memory and matrix products on a device: everything here that only CUDA has."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from typing import Any

import torch

CUDA: Any = torch.cuda
"""As the package has no types for all of it."""
ENOUGH = 1.0
"""Seconds after which a run is not repeated as often."""
PRODUCT = {"cuda": (8192, torch.bfloat16, 20), "cpu": (256, torch.float32, 2)}
"""Device → side of the matrices, their numbers, and how often they are multiplied to learn the rate."""


class Meter:
    """A device and what can be read from it."""

    def __init__(self, device: torch.device) -> None:
        """Measure on this device."""
        self.device = device
        self._cuda = device.type == "cuda"
        if self._cuda and device.index is not None:
            CUDA.set_device(device)

    @property
    def card(self) -> str:
        """What the device is called."""
        return str(CUDA.get_device_name(self.device)) if self._cuda else f"CPU, {platform.machine()}"

    def seconds(self, run: Callable[[], object]) -> float:
        """Return the shortest time of a few runs after one that does not count, and note the highest memory of them."""
        run()
        self.settle()
        if self._cuda:
            CUDA.reset_peak_memory_stats(self.device)
        found = [self._once(run)]
        while len(found) < (2 if found[0] > ENOUGH else 3):
            found.append(self._once(run))
        return min(found)

    @property
    def peak(self) -> float | None:
        """The most memory of the last measurement in bytes, where the device tells."""
        return float(CUDA.max_memory_allocated(self.device)) if self._cuda else None

    def rate(self) -> float:
        """Return the operations per second of a large matrix product, in the numbers that networks have here."""
        side, numbers, times = PRODUCT[self.device.type]
        left, right = (torch.randn(side, side, device=self.device, dtype=numbers) for _ in range(2))
        spent = self.seconds(lambda: [left @ right for _ in range(times)])
        return 2 * side**3 * times / spent

    def settle(self) -> None:
        """Wait until the device has done all it was given."""
        if self._cuda:
            CUDA.synchronize(self.device)

    def free(self) -> None:
        """Give memory that is not in use back to the device."""
        if self._cuda:
            CUDA.empty_cache()

    def _once(self, run: Callable[[], object]) -> float:
        if not self._cuda:
            started = time.perf_counter()
            run()
            return time.perf_counter() - started
        first, last = CUDA.Event(enable_timing=True), CUDA.Event(enable_timing=True)
        first.record()
        run()
        last.record()
        last.synchronize()
        return float(first.elapsed_time(last)) / 1000
