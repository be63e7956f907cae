"""The provider `flux`: captions the picture and re-imagines its detail with FLUX, on this machine.

::

    call ──model cache──▶ loaded models ──FluxJob──▶ caption, passes of tiles ──▶ result
                                     │  memory runs out: a fallback step, then the job continues or starts over
                                     └─ checkpoint: finished tiles, for a job that is killed
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.concurrency import run_in_pool
from fluxvision.core.errors import InvalidRequest, UpstreamError, UpstreamRefused
from fluxvision.core.settings import Settings
from fluxvision.core.system import count_cores
from fluxvision.core.types import Call, ProviderResult
from fluxvision.engine.checkpoint_store import sweep_abandoned
from fluxvision.engine.executors.ray_serve import RayServe
from fluxvision.engine.flux.memory_budget import RetryWithSmallerTiles, is_out_of_memory
from fluxvision.engine.flux.model_cache import REST, ModelCache, ModelSource
from fluxvision.engine.flux.options import AccelerationConfig
from fluxvision.engine.flux.passes import Passes
from fluxvision.engine.flux.registry import FLUX, FluxRow
from fluxvision.engine.flux.remote import NOT_LOADED, RemoteNetworks
from fluxvision.engine.flux.upscale import FluxJob, UpscaleConfig, decode_colours

__all__ = ["FAILED", "NOT_LOADED", "NO_ROOM", "REST", "ModelSource", "Provider", "UpscaleConfig", "configured"]

HIGHEST = {"creativity": 1.0, "resemblance": 3.0}
"""The highest values of the parameters' ranges, which begin at 0."""
FAILED = "FLUX failed on this machine."
NO_ROOM = "FLUX ran out of memory on this machine, although everything that can be given up was."
NOWHERE = "none"


class Provider:
    """Loads the models at the first picture and keeps them; processes one picture at a time."""

    title = "FLUX on this machine"
    parallel = 1
    workers = 1
    small_workers = 0
    remote = False

    def __init__(
        self,
        row: FluxRow,
        source: ModelSource,
        threads: int = 0,
        *,
        tile_captions: bool = False,
        passes: Passes = "auto",
        checkpoint_folder: Path | None = None,
        fidelity: float | None = None,
    ) -> None:
        """Run a network of this row; finished tiles are stored in `checkpoint_folder`, None: nowhere.

        `fidelity` is the least LR-PSNR in dB of an enlarged picture; None: derived for each picture.
        """
        self.models = ModelCache(row, source)
        self._config = UpscaleConfig(row, threads or count_cores(), tile_captions, passes, checkpoint_folder, fidelity)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="flux")

    def check(self, call: Call) -> None:
        """Refuse numbers out of their range. Missing weights are detected when the models are loaded."""
        for name, highest in HIGHEST.items():
            if not 0 <= float(call.body.get(name) or 0) <= highest:
                message = f"{name}: it must be a number from 0 to {highest:g}."
                raise InvalidRequest(message, param=name)

    async def run(self, call: Call, callbacks: JobCallbacks, folder: Path) -> ProviderResult:
        """Make one picture.

        Raises `UpstreamRefused` when the models cannot be loaded, `UpstreamError` when the device fails,
        `InvalidRequest` for a damaged picture.
        """
        return await run_in_pool(self._pool, callbacks, lambda: self._run(call, callbacks, folder))

    async def ping(self) -> bool:
        """Return False after the models could not be loaded."""
        return self.models.failed is None

    async def aclose(self) -> None:
        """Free the models and end the thread."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self.models.close()

    def _run(self, call: Call, callbacks: JobCallbacks, folder: Path) -> ProviderResult:
        self.check(call)
        stop = callbacks.check_cancelled
        stop()
        began = time.perf_counter()
        loaded = self.models.get()
        ready = time.perf_counter()
        if self._config.checkpoint_folder is not None:
            sweep_abandoned(self._config.checkpoint_folder)
        try:
            return _make(decode_colours(self._config, loaded, call, callbacks, stop, folder), began, ready)
        except UpstreamRefused:
            if isinstance(loaded.networks, RemoteNetworks):
                self.models.close()  # the next picture asks the cluster again which networks it has
            raise
        except (RuntimeError, MemoryError) as reason:
            raise UpstreamError(NO_ROOM if is_out_of_memory(reason) else FAILED) from reason


def _make(job: FluxJob, began: float, ready: float) -> ProviderResult:
    """Make a job, each time with one more fallback step until it fits into memory.

    Raises `UpstreamError` when it never does.
    """
    while True:
        try:
            return job.make(began, ready)
        except RetryWithSmallerTiles:
            continue
        except (RuntimeError, MemoryError) as reason:
            if not is_out_of_memory(reason):
                raise
        if not isinstance(job.loaded.networks, RemoteNetworks):
            from fluxvision.engine.flux.backend import free_memory  # noqa: PLC0415, PyTorch takes seconds

            free_memory()  # only here: the error held on to what had been computed
        if not job.loaded.budget.release_next():
            raise UpstreamError(NO_ROOM)


def configured(settings: Settings) -> dict[str, Provider]:
    """Return the provider if weights are configured."""
    if not settings.flux_model:
        return {}
    row = next(row for row in FLUX if row.name == settings.flux_engine)
    source = ModelSource(
        settings.flux_model,
        settings.flux_revision or None,
        settings.flux_device,
        settings.captioner,
        settings.caption_model,
        AccelerationConfig(compile=settings.flux_compile, fp8=settings.flux_fp8),
        settings.flux_licence_agreed,
        RayServe(settings.cluster, settings.cluster_token) if settings.cluster else None,
    )
    checkpoint_folder = _checkpoint_folder(settings.flux_resume)
    if checkpoint_folder is not None:
        sweep_abandoned(checkpoint_folder)  # what the last process left, though nobody may ask for FLUX again
    provider = Provider(
        row,
        source,
        settings.threads,
        tile_captions=settings.flux_tile_captions,
        passes=settings.flux_passes,
        checkpoint_folder=checkpoint_folder,
        fidelity=settings.flux_fidelity or None,
    )
    return {"flux": provider}


def _checkpoint_folder(wish: str) -> Path | None:
    """Return the folder for finished tiles: the configured one, otherwise one in the user's cache."""
    if wish == NOWHERE:
        return None
    try:
        if wish:
            return Path(wish).expanduser()
        cache = os.environ.get("XDG_CACHE_HOME")
        return (Path(cache) if cache else Path.home() / ".cache") / "fluxvision" / "jobs"
    except RuntimeError:  # this user has no home
        return None
