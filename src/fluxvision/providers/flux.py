"""The provider `flux`: a vision-language model looks at the picture, FLUX re-imagines its detail, on this machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fluxvision import engine, imaging
from fluxvision.config import Settings
from fluxvision.engine.deblock import deblock
from fluxvision.engine.flux.rows import FLUX, FluxRow
from fluxvision.errors import Cancelled, InvalidRequest, Unavailable, UpstreamError, UpstreamRefused
from fluxvision.machine import cores
from fluxvision.providers.local import enlarged
from fluxvision.types import Call, Outcome, Watch
from fluxvision.workers import in_thread

if TYPE_CHECKING:  # PyTorch is an extra, and takes seconds to import
    from fluxvision.engine.flux.captions import Captioner
    from fluxvision.engine.flux.networks import Networks

REST = 60.0
"""Seconds after which it is tried again to load what could not be loaded."""
MOST = 4
COLOURS = 3
HIGHEST = {"creativity": 1.0, "resemblance": 3.0}
"""The parameters' own ranges, from 0 on."""
NOT_LOADED = "FLUX could not be loaded: flux_device does not exist here, has no room, or the weights are damaged."
FAILED = "FLUX failed on this machine, most likely because its device ran out of memory."


@dataclass(frozen=True, slots=True)
class Source:
    """Where the weights are: a folder or a hub's id, its revision, and the device to run on."""

    model: str
    revision: str | None
    device: str
    captioner: str
    caption_model: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """What runs, the name of its weights and their revision, where they have one. No path is told."""

    networks: Networks
    captioner: Captioner
    weights: str
    revision: str | None


class Provider:
    """Loads the models with the first picture and keeps them; one picture at a time, for the device is one."""

    title = "FLUX on this machine"
    parallel = 1
    workers = 1
    remote = False

    def __init__(self, row: FluxRow, source: Source, threads: int = 0) -> None:
        """Run a network of this row."""
        self._row, self._source = row, source
        self._threads = threads or cores()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="flux")
        self._loaded: Loaded | None = None
        self._failed: tuple[float, str] | None = None
        self._lock = threading.Lock()

    def check(self, call: Call) -> None:
        """Refuse numbers out of their range.

        What is missing shows when the models are loaded, and then the next provider takes over.
        """
        for name, highest in HIGHEST.items():
            if not 0 <= float(call.body.get(name) or 0) <= highest:
                message = f"{name}: it must be a number from 0 to {highest:g}."
                raise InvalidRequest(message, param=name)

    async def run(self, call: Call, watch: Watch, folder: Path) -> Outcome:
        """Make one picture.

        Raises `UpstreamRefused` where the models cannot be loaded, `UpstreamError` where the device fails,
        `InvalidRequest` for a damaged picture.
        """
        return await in_thread(self._pool, watch, lambda: self._run(call, watch, folder))

    async def ping(self) -> bool:
        """Return False after the models could not be loaded."""
        return self._failed is None

    async def aclose(self) -> None:
        """Free the models and end the thread."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        if self._loaded is not None:
            self._loaded.networks.close()
            self._loaded.captioner.close()
            self._loaded = None

    def _run(self, call: Call, watch: Watch, folder: Path) -> Outcome:
        self.check(call)
        stop = _stop(watch)
        stop()
        started = time.perf_counter()
        loaded = self._models()
        try:
            return self._made(loaded, call, watch, stop, folder, started)
        except (RuntimeError, MemoryError) as reason:
            raise UpstreamError(FAILED) from reason

    def _made(  # noqa: PLR0917, the steps of one run
        self, loaded: Loaded, call: Call, watch: Watch, stop: Callable[[], None], folder: Path, started: float
    ) -> Outcome:
        # Only now: importing PyTorch takes seconds.
        from fluxvision.engine.flux.captions import described  # noqa: PLC0415
        from fluxvision.engine.flux.detailer import FluxDetailer, Wishes, backend_row  # noqa: PLC0415

        ready = time.perf_counter()
        pixels = imaging.decode(call.image)
        quality = call.image.jpeg_quality
        color = pixels.color if quality is None else deblock(pixels.color, quality)
        body, (width, height) = call.body, call.body["size"]
        creativity = float(body["creativity"])
        stop()
        caption = loaded.captioner.caption(_shown(color)) if creativity else ""
        captioned = time.perf_counter()
        stop()
        wishes = Wishes(
            prompt=described(caption, str(body.get("prompt", ""))),
            creativity=creativity,
            guidance=body.get("guidance"),
            steps=body.get("steps"),
            resemblance=float(body.get("resemblance") or 0) / HIGHEST["resemblance"],
            seed=int(body.get("seed", 0)),
        )
        factor = min(MOST, ceil(max(width / call.image.width, height / call.image.height)))
        detailer = FluxDetailer(loaded.networks, factor, wishes, stop, self._threads)
        request = engine.Request(
            color=color,
            width=width,
            height=height,
            alpha=pixels.alpha,
            mask=None if call.mask is None else imaging.decode_mask(call.mask, call.image.width, call.image.height),
            creativity=creativity,
            seed=wishes.seed,
            threads=self._threads,
            watch=watch,
            engine=(backend_row(self._row, factor), detailer),
        )
        raster, result = enlarged(request, folder)
        timings = {
            "load": ready - started,
            "caption": captioned - ready,
            "enlarge": time.perf_counter() - captioned,
        }
        details: dict[str, Any] = {
            "engine": self._row.name,
            "weights": loaded.weights,
            "revision": loaded.revision,
            "licence": self._row.licence,
            "caption": caption,
            "creativity": creativity,
            "tiles": len(result.rows.spans) * len(result.columns.spans),
        }
        words = wishes.prompt or None
        return Outcome(raster, wishes.seed, words, result.seam_ratio, details, timings)

    def _models(self) -> Loaded:
        """Return the models, loaded once; what could not be loaded is not tried again for a while."""
        with self._lock:
            if self._loaded is None:
                if self._failed is not None and time.monotonic() < self._failed[0]:
                    raise UpstreamRefused(self._failed[1], retry_after=REST)
                try:
                    self._loaded = self._load()
                    self._failed = None
                except Exception as reason:  # whatever foreign code says of a broken file, driver or package
                    message = reason.message if isinstance(reason, Unavailable) else NOT_LOADED
                    self._failed = time.monotonic() + REST, message
                    raise UpstreamRefused(message, retry_after=REST) from reason
            return self._loaded

    def _load(self) -> Loaded:
        from fluxvision.engine.flux import captions, folder, networks  # noqa: PLC0415

        folder.need_extra()
        source = self._source
        found = folder.find(self._row, source.model, source.revision)
        named = Path(source.model).expanduser().is_dir()
        # The captioner first: it is small, and without it the large one would be loaded in vain.
        captioner = captions.load(source.captioner, source.caption_model or None, device=source.device)
        return Loaded(
            networks=networks.load(self._row, found, device=source.device),
            captioner=captioner,
            weights=found.resolve().name if named else source.model,
            revision=None if named else found.name,
        )


def configured(settings: Settings) -> dict[str, Provider]:
    """Return the provider where weights are named."""
    if not settings.flux_model:
        return {}
    row = next(row for row in FLUX if row.name == settings.flux_engine)
    source = Source(
        settings.flux_model,
        settings.flux_revision or None,
        settings.flux_device,
        settings.captioner,
        settings.caption_model,
    )
    return {"flux": Provider(row, source, settings.threads)}


def _stop(watch: Watch) -> Callable[[], None]:
    def stop() -> None:
        if watch.cancel.is_set():
            raise Cancelled("The work was cancelled.")

    return stop


def _shown(color: engine.Samples) -> Any:
    """Return a picture as captioners are shown it: 8 bits per sample, three channels."""
    small = color if color.dtype.itemsize == 1 else (color >> 8).astype("uint8")
    return small if small.shape[2] == COLOURS else small.repeat(COLOURS, axis=2)
