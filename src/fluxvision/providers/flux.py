"""The provider `flux`: a vision-language model looks at the picture, FLUX re-imagines its detail, on this machine."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fluxvision import engine, imaging
from fluxvision.config import Settings
from fluxvision.engine.deblock import deblock
from fluxvision.engine.flux.rows import FLUX, FluxRow
from fluxvision.errors import Cancelled, Unavailable, UpstreamRefused
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
NOT_LOADED = "FLUX could not be loaded: flux_device does not exist here, or it has no room for the weights."


@dataclass(frozen=True, slots=True)
class Source:
    """Where the weights are: a folder or a hub's id, its revision, and the device to run on."""

    model: str
    revision: str | None
    device: str
    captioner: str
    caption_model: str


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
        self._loaded: tuple[Networks, Captioner] | None = None
        self._failed: tuple[float, str] | None = None
        self._lock = threading.Lock()

    def check(self, call: Call) -> None:
        """Refuse nothing: what is missing shows when the models are loaded, and then the next provider takes over."""

    async def run(self, call: Call, watch: Watch, folder: Path) -> Outcome:
        """Make one picture.

        Raises `UpstreamRefused` where the models cannot be loaded, `InvalidRequest` for a damaged picture.
        """
        return await in_thread(self._pool, watch, lambda: self._run(call, watch, folder))

    async def ping(self) -> bool:
        """Return False after the models could not be loaded."""
        return self._failed is None

    async def aclose(self) -> None:
        """Free the models and end the thread."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        if self._loaded is not None:
            for model in self._loaded:
                model.close()
            self._loaded = None

    def _run(self, call: Call, watch: Watch, folder: Path) -> Outcome:
        started = time.perf_counter()
        networks, captioner = self._models()
        # Only now: importing PyTorch takes seconds.
        from fluxvision.engine.flux.captions import described  # noqa: PLC0415
        from fluxvision.engine.flux.detailer import FluxDetailer, Wishes, backend_row  # noqa: PLC0415

        loaded = time.perf_counter()
        pixels = imaging.decode(call.image)
        quality = call.image.jpeg_quality
        color = pixels.color if quality is None else deblock(pixels.color, quality)
        body, (width, height) = call.body, call.body["size"]
        creativity = float(body["creativity"])
        caption = captioner.caption(_eight_bits(color)) if creativity else ""
        captioned = time.perf_counter()
        wishes = Wishes(
            prompt=described(caption, str(body.get("prompt", ""))),
            creativity=creativity,
            guidance=body.get("guidance"),
            steps=body.get("steps"),
            resemblance=float(body.get("resemblance", 0.0)),
            seed=int(body.get("seed", 0)),
        )

        def stop() -> None:
            if watch.cancel.is_set():
                raise Cancelled("The work was cancelled.")

        factor = min(MOST, ceil(max(width / call.image.width, height / call.image.height)))
        detailer = FluxDetailer(networks, factor, wishes, stop, self._threads)
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
            "load": loaded - started,
            "caption": captioned - loaded,
            "enlarge": time.perf_counter() - captioned,
        }
        details: dict[str, Any] = {
            "engine": self._row.name,
            "model": self._source.model,
            "revision": self._source.revision,
            "licence": self._row.licence,
            "creativity": creativity,
            "tiles": len(result.rows.spans) * len(result.columns.spans),
        }
        words = wishes.prompt or None
        return Outcome(raster, wishes.seed, words, result.seam_ratio, details, timings)

    def _models(self) -> tuple[Networks, Captioner]:
        """Return the models, loaded once; what could not be loaded is not tried again for a while."""
        with self._lock:
            if self._loaded is None:
                if self._failed is not None and time.monotonic() < self._failed[0]:
                    raise UpstreamRefused(self._failed[1], retry_after=REST)
                try:
                    self._loaded = self._load()
                    self._failed = None
                except (Unavailable, ValueError, RuntimeError) as reason:
                    message = reason.message if isinstance(reason, Unavailable) else NOT_LOADED
                    self._failed = time.monotonic() + REST, message
                    raise UpstreamRefused(message, retry_after=REST) from reason
            return self._loaded

    def _load(self) -> tuple[Networks, Captioner]:
        try:
            from fluxvision.engine.flux import captions, networks  # noqa: PLC0415
        except ImportError as error:
            message = f"The provider flux needs the extra: pip install 'fluxvision[flux]' ({error.name} is missing)."
            raise Unavailable(message) from None
        source = self._source
        loaded = networks.load(self._row, source.model, revision=source.revision, device=source.device)
        return loaded, captions.load(source.captioner, source.caption_model or None, device=source.device)


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


def _eight_bits(color: engine.Samples) -> Any:
    return color if color.dtype.itemsize == 1 else (color >> 8).astype("uint8")
