"""Enlarges one picture with FLUX: caption, one or two passes of tiles, fidelity, and the facts for the result."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fluxvision import __version__, engine, imaging
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.images import RawImage, SourceDamage
from fluxvision.core.system import delete_file
from fluxvision.core.types import Call, ProviderResult
from fluxvision.engine.checkpoint import CheckpointedExecutor
from fluxvision.engine.checkpoint_store import FolderCheckpointStore
from fluxvision.engine.enlarge_to_file import enlarge_to_raster, map_raster, write_samples
from fluxvision.engine.executors.base import PerTilePromptExecutor, TileExecutor
from fluxvision.engine.executors.threads import ThreadExecutor
from fluxvision.engine.fidelity_correction import MOST, correct_fidelity
from fluxvision.engine.flux.caption_text import compose_prompt
from fluxvision.engine.flux.fidelity_target import color_lock, fidelity_target, lock_levels
from fluxvision.engine.flux.model_cache import LoadedModels
from fluxvision.engine.flux.options import SamplingOptions, backend_row
from fluxvision.engine.flux.passes import Pass, Passes, plan_passes
from fluxvision.engine.flux.registry import FluxRow
from fluxvision.engine.flux.remote import RemoteNetworks
from fluxvision.engine.pipeline import plan_tiles
from fluxvision.engine.restore import restore_source
from fluxvision.engine.tile_inference import FAITHFUL

if TYPE_CHECKING:
    from fluxvision.engine.flux.backend import Prompts

COLOURS = 3
RESEMBLANCE = 3.0
"""The parameter's highest value, which means full resemblance."""


@dataclass(frozen=True, slots=True)
class UpscaleConfig:
    """The settings that all FLUX jobs of this process share."""

    row: FluxRow
    threads: int
    """Of the faithful enlargement."""
    tile_captions: bool = False
    """Whether every tile gets a caption of its own."""
    passes: Passes = "auto"
    checkpoint_folder: Path | None = None
    """Stores finished tiles of a job that may be killed; None: they are not stored."""
    fidelity: float | None = None
    """Least LR-PSNR in dB of an enlarged picture; None: derived from creativity and the damage of the source."""


@dataclass(slots=True)
class FluxJob:
    """A call with its decoded picture. `make` starts over when it is called again."""

    config: UpscaleConfig
    loaded: LoadedModels
    call: Call
    callbacks: JobCallbacks
    stop: Callable[[], None]
    folder: Path
    color: engine.Samples
    alpha: engine.Samples | None
    mask: Any
    damage: SourceDamage
    executors: list[CheckpointedExecutor] = field(default_factory=list)
    previous_executors: list[CheckpointedExecutor] = field(default_factory=list)
    reported_share: float = 0.0

    def make(self, began: float, ready: float) -> ProviderResult:
        """Return the result; `began` and `ready` are the times at which the call arrived and the models were loaded.

        Raises `RetryWithSmallerTiles` when smaller tiles may fit, and exceptions of the libraries when memory runs out
        elsewhere.
        """
        self.previous_executors += self.executors
        self.executors.clear()
        body, loaded = self.call.body, self.loaded
        creativity = float(body["creativity"])
        self.stop()
        caption = loaded.captioner.caption(_thumbnail(self.color)) if creativity else ""
        captioned = time.perf_counter()
        self.stop()
        options = SamplingOptions(
            prompt=compose_prompt(caption, str(body.get("prompt", ""))),
            guidance=body.get("guidance"),
            steps=body.get("steps"),
            resemblance=float(body.get("resemblance") or 0) / RESEMBLANCE,
            seed=int(body.get("seed", 0)),
        )
        source = (self.call.image.width, self.call.image.height)
        passes = plan_passes(source, self.call.body["size"], creativity, self.config.passes)
        raster, results = self._run_passes(passes, options)
        consistency = self._correct(raster, passes[-1])
        for one in (*self.previous_executors, *self.executors):
            one.forget()
        timings = {
            "load": ready - began,
            "caption": captioned - ready,
            "enlarge": time.perf_counter() - captioned,
        }
        details: dict[str, Any] = {
            "engine": self.config.row.name,
            "backend": self.config.row.name,
            "weights": loaded.weights,
            "revision": loaded.revision,
            "licence": self.config.row.licence,
            "caption": caption,
            "creativity": creativity,
            "passes": len(results),
            "consistency": consistency,
            "tiles": sum(len(result.rows.spans) * len(result.columns.spans) for result in results),
            "resumed_tiles": sum(one.resumed_tiles for one in self.executors),
            "memory": list(loaded.budget.taken_steps),
            "levers": dict(loaded.networks.accelerations),
            "tile_captions": self._captions_tiles(creativity),
        }
        return ProviderResult(
            raster,
            options.seed,
            options.prompt or None,
            results[-1].seam_ratio,
            details,
            timings,
            damage=self.damage,
            reference=write_samples(self.color, None, self.folder) if self.damage.restored else None,
        )

    def _run_passes(self, passes: Sequence[Pass], options: SamplingOptions) -> tuple[RawImage, list[engine.Result]]:
        """Run the passes, each on the result of the previous one."""
        totals = [self._tile_count(one) for one in passes]
        results: list[engine.Result] = []
        raster: RawImage | None = None
        for number, one in enumerate(passes):
            before = raster
            try:
                callbacks = self._pass_callbacks(sum(totals[:number]), sum(totals))
                request = self._request(one, replace(options, creativity=one.creativity, stream=one.stream), callbacks)
                last = number == len(passes) - 1
                request = replace(
                    request,
                    alpha=self.alpha if last else None,
                    canvas=None if before is None else map_raster(before),
                )
                raster, result = enlarge_to_raster(request, self.folder)
                results.append(result)
            finally:
                if before is not None:
                    delete_file(before.path)
        assert raster is not None  # noqa: S101, there is a pass at least
        return raster, results

    def _correct(self, raster: RawImage, last: Pass) -> dict[str, float] | None:
        """Correct the finished picture until it agrees with the source; return the wanted and the reached LR-PSNR.

        None when the picture is not enlarged, because then only its colours are corrected. Without invented detail
        nothing changes.
        """
        if last.factor == 1:
            return None
        is_free = last.creativity > 0 and (self.mask is None or bool(self.mask.any()))
        wanted = self._fidelity if is_free else max(self._fidelity, FAITHFUL)
        most = MOST if is_free else 0
        try:
            reached = correct_fidelity(
                raster, self.color, wanted, self.callbacks, alpha=self.alpha, mask=self.mask, most=most
            )
        except BaseException:
            delete_file(raster.path)
            raise
        return {"wanted_db": wanted, "reached_db": reached}

    def _tile_count(self, one: Pass) -> int:
        """Return the number of tiles of a pass."""
        request = engine.Request(self.color, one.width, one.height)
        return int(np.prod([len(axis.spans) for axis in plan_tiles(request, self._row(one))]))

    def _pass_callbacks(self, before: int, total: int) -> JobCallbacks:
        """Return the callbacks of one of several passes, which report the tiles of all.

        A job that starts again reports no progress until it exceeds the last reported share.
        """

        def progress(done: int, _total: int) -> None:
            share = (before + done) / total
            if share > self.reported_share:
                self.reported_share = share
                self.callbacks.progress(before + done, total)

        return replace(self.callbacks, progress=progress)

    def _captions_tiles(self, creativity: float) -> bool:
        return self.config.tile_captions and creativity > 0 and self.loaded.captioner.row.entry is not None

    def _row(self, one: Pass) -> engine.Backend:
        return backend_row(replace(self.config.row, tile=self.loaded.budget.tile), one.factor, self._fidelity)

    @property
    def _fidelity(self) -> float:
        """Return the LR-PSNR in dB to which tiles and picture are held."""
        given = self.config.fidelity
        return fidelity_target(float(self.call.body["creativity"]), self.damage) if given is None else given

    def _request(self, one: Pass, options: SamplingOptions, callbacks: JobCallbacks) -> engine.Request:
        config, row = self.config, self._row(one)
        share = 1.0 if one.factor == 1 else color_lock(self._fidelity)
        options = replace(options, lock=share, lock_levels=lock_levels(self.damage))
        executor, has_prompts = self._executor(one.factor, options, row.at_once)
        prompts = self._prompts if self._captions_tiles(options.creativity) else None
        if prompts is not None and not has_prompts:  # there is one captioner for all devices
            executor = PerTilePromptExecutor(executor, prompts)
        if config.checkpoint_folder is not None:
            executor = CheckpointedExecutor(
                executor, self._checkpoint_store(config.checkpoint_folder), lambda: self._key(options, prompts)
            )
            self.executors.append(executor)
        return engine.Request(
            color=self.color,
            width=one.width,
            height=one.height,
            mask=self.mask,
            creativity=one.creativity,
            seed=options.seed,
            threads=config.threads,
            callbacks=callbacks,
            engine=(row, None),
            executor=executor,
        )

    def _executor(self, factor: int, options: SamplingOptions, at_once: int) -> tuple[TileExecutor, bool]:
        """Return the executor that makes the tiles, and whether it captions each tile itself if that is requested."""
        config, loaded = self.config, self.loaded
        if isinstance(loaded.networks, RemoteNetworks):
            return loaded.networks.executor(factor, options), False
        from fluxvision.engine.flux.backend import FluxDetailer  # noqa: PLC0415, importing PyTorch takes seconds

        replicas = loaded.replicas or ((loaded.networks, loaded.budget),)
        prompts = self._prompts if self._captions_tiles(options.creativity) and not loaded.replicas else None
        threads = max(1, config.threads // len(replicas))
        detailers = [
            FluxDetailer(networks, factor, options, self.stop, threads, budget=budget, prompts=prompts)
            for networks, budget in replicas
        ]
        return ThreadExecutor(detailers, at_once), not loaded.replicas

    def _key(self, options: SamplingOptions, prompts: Prompts | None) -> str:
        """Return everything that tiles depend on, except the picture and the row."""
        loaded = self.loaded
        own = None if prompts is None else str(self.call.body.get("prompt", ""))
        levers = sorted(loaded.networks.accelerations.items())
        return repr((__version__, loaded.identity, levers, options, own))

    @staticmethod
    def _checkpoint_store(root: Path) -> Callable[[str], FolderCheckpointStore]:
        return lambda job: FolderCheckpointStore(root, job)

    def _prompts(self, windows: Sequence[Any]) -> list[str]:
        """Return the prompt of each of some windows: the user's prompt and a caption of the window."""
        from fluxvision.engine.flux.captioner import TILE_SIDE, TILE_WORDS  # noqa: PLC0415

        pictures = [np.round(np.clip(window, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0) for window in windows]
        captions = self.loaded.captioner.captions(pictures, TILE_WORDS, TILE_SIDE)
        return [compose_prompt(caption, str(self.call.body.get("prompt", ""))) for caption in captions]


def decode_colours(  # noqa: PLR0917, the parts of a job
    config: UpscaleConfig,
    loaded: LoadedModels,
    call: Call,
    callbacks: JobCallbacks,
    stop: Callable[[], None],
    folder: Path,
) -> FluxJob:
    """Decode a call's picture and mask; raises `InvalidRequest` for a damaged one."""
    pixels = imaging.decode(call.image)
    source = restore_source(
        pixels.color,
        call.image.jpeg_quality,
        float(call.body["restoration"]),
        threads=config.threads,
        before_tile=stop,
    )
    mask = None if call.mask is None else imaging.decode_mask(call.mask, call.image.width, call.image.height)
    return FluxJob(config, loaded, call, callbacks, stop, folder, source.color, pixels.alpha, mask, source.damage)


def _thumbnail(color: engine.Samples) -> Any:
    """Return a picture as captioners need it: 8 bits per sample, three channels."""
    small = color if color.dtype.itemsize == 1 else (color >> 8).astype("uint8")
    return small if small.shape[2] == COLOURS else small.repeat(COLOURS, axis=2)
