"""Estimates the peak memory and disk space of a job, checks them, and reserves memory for running pictures.

The memory estimate is the largest of all stages, computed from measured figures of pictures and formats. It is rather
too high than too low; `bench/memory.py` compares it with measurements.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fluxvision import engine, imaging
from fluxvision.catalog.geometry import Geometry
from fluxvision.core.errors import InvalidRequest
from fluxvision.core.types import Job, PostprocessPlan
from fluxvision.engine import BACKENDS, Backend
from fluxvision.engine.restore import restoration_memory

LITTLE = 1 / 32
"""Reservations up to this share of the budget do not queue behind larger ones."""


class JobMemoryBudget:
    """A budget of bytes, reserved in the order of the requests. Used from one event loop only."""

    def __init__(self, most: int) -> None:
        """Allow reservations of `most` bytes in total."""
        self.most = most
        self.free = most
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def hold(self, size: int, *, first: bool = False) -> AsyncIterator[None]:
        """Wait until `size` bytes are free and reserve them; a size over the budget counts as the whole budget.

        `first=True` skips the queue, for pictures that are already paid for.
        """
        size = min(size, self.most)
        if size <= self.free and (first or not self._waiting or size <= self.most * LITTLE):
            self.free -= size
        else:
            await self._wait_for_room(size, first=first)
        try:
            yield
        finally:
            self._give_back(size)

    async def _wait_for_room(self, size: int, *, first: bool) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        (self._waiting.appendleft if first else self._waiting.append)((size, waiter))
        try:
            await waiter
        except asyncio.CancelledError:
            self._give_back(0 if waiter.cancelled() else size)
            raise

    def _give_back(self, size: int) -> None:
        self.free += size
        while self._waiting and (self._waiting[0][1].cancelled() or self._waiting[0][0] <= self.free):
            size, waiter = self._waiting.popleft()
            if not waiter.cancelled():
                self.free -= size
                waiter.set_result(None)


BASE = 100_000_000
"""Bytes that every picture takes: buffers for lines, for measured strips and for one file."""
NETWORKS = 90_000_000
"""Bytes that the networks take beside their tiles: weights in the processor's layout, the largest with AVX-512."""
ANIMATION = 3
"""Memory of writing an animation relative to one frame, as measured: the writer holds the frame before, and besides
the coded frames, of less than a byte per pixel."""
WEIGHTS = 16
"""Bytes per pixel of a mask while it is converted to weights."""


def job_memory(job: Job, geometry: Geometry, plan: PostprocessPlan, row: Backend | None) -> int:
    """Return the peak memory of one picture in bytes; `row` is the local engine, None for a remote provider.

    ::

        read     = the source's samples + what its format needs to be read
        enlarge  = twice the source's samples + networks + tiles at work (of either one) + a row of tiles of the result
        mask     = read + weights + enlarge
        write    = what the output format needs to be written
        measure  = read + what the output format needs to be read back
    """
    image = job.image
    alpha = image.alpha or geometry.fit == "pad"
    source, made = (image.width, image.height), (geometry.engine_width, geometry.engine_height)
    read = imaging.decoding_bytes(image)
    enlarge = 0
    if row is not None or plan.apply_mask:
        bands = image.channels + image.alpha
        enlarge = 2 * imaging.decoded_bytes(*source, bands, image.bits)
        tiles = engine.planned_memory(row or BACKENDS[0], source, made, bands=bands, bits=image.bits)
        enlarge += max(tiles, restoration_memory(*source)) + NETWORKS
    result = plan.output_format, geometry.width, geometry.height
    write = imaging.encoding_bytes(*result, alpha=alpha, bits=image.bits)
    if plan.frames > 1:
        write = ANIMATION * write + plan.frames * geometry.width * geometry.height
    stages = [read, enlarge, write]
    if plan.apply_mask:
        stages.append(read + WEIGHTS * image.width * image.height + enlarge)
    if plan.measure_fidelity:
        stages.append(read + imaging.readback_bytes(*result, bits=image.bits))
    return BASE + max(stages)


def check_memory(needed: int, most: int, job: Job, plan: PostprocessPlan) -> None:
    """Raise `InvalidRequest`, naming the parameter at fault, when a job needs more than `most` bytes of memory."""
    if needed <= most:
        return
    whole = imaging.encoding_bytes(plan.output_format, 1, 1, alpha=True) > 0 and plan.output_format != "jpeg"
    hint = "png, jpeg and tiff take less." if whole else "Ask for a smaller result, or send a smaller picture."
    asked = ("output_format",) if whole else ("size", "resolution", "scale_factor")
    param = next((name for name in asked if name in job.values), "image")
    amounts = f"this needs about {needed / 1e9:.1f} GB of memory and this server gives a job {most / 1e9:.1f} GB"
    message = f"{param}: {amounts}. {hint}"
    raise InvalidRequest(message, param=param)


SPARE = 1_000_000
"""Bytes for metadata in a finished file and for overhead of the file system."""


def disk_needed(geometry: Geometry, job: Job, plan: PostprocessPlan, parallel: int) -> int:
    """Return the peak disk space of all pictures of a job in bytes; `parallel` of them are made at once.

    ::

        raw  = pixels * samples per pixel * bytes per sample, of the largest size on the way
        room = raw * (n + work * min(n, parallel)) * frames + passes * min(n, parallel)
             + pictures that are in memory + 1 MB

    Files are assumed to be no larger than their raw pixels. A provider's or finished file exists beside one raw file
    (work = 1), or beside two when a mask is applied (work = 2). The second of two passes reads the raw file of the
    first (passes). A picture in memory is written when its path is needed.
    """
    image = job.image
    samples = image.channels + (image.alpha or geometry.fit == "pad")
    sample_bytes = samples * (image.bits // 8)
    raw = geometry.largest_pixels * sample_bytes
    made = engine.pass_sizes((image.width, image.height), (geometry.engine_width, geometry.engine_height))
    passes = sum(width * height for width, height in made[:-1]) * sample_bytes
    held = sum(len(source.content) for source in (image, job.mask) if source is not None and source.content is not None)
    at_once = min(plan.n, parallel)
    pictures = plan.n + (2 if plan.apply_mask else 1) * at_once
    return raw * pictures * plan.frames + passes * at_once + held + SPARE
