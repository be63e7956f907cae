"""FLUX with a network that knows the true picture: what is delivered shows what the stages around it do."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch

from fakes.flux_calls import call
from fakes.flux_stub import Stub
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.engine import back_projection
from fluxvision.engine.flux import backend
from fluxvision.engine.flux.captioner import load_captioner
from fluxvision.engine.flux.memory_budget import MemoryBudget
from fluxvision.engine.flux.model_cache import LoadedModels
from fluxvision.engine.flux.registry import BY_NAME
from fluxvision.engine.flux.upscale import UpscaleConfig, decode_colours
from fluxvision.engine.tiling import reflect_indices

ROW = replace(BY_NAME["flux2-klein-4b"], tile=384)
"""Tiles so small that a small picture has several."""


class Quiet(Stub):
    """A stub that pulls no levers."""

    accelerations: ClassVar[dict[str, str]] = {}


def oracle(picture):
    """Return the class of a detailer that imagines `picture`: samples of the true one at four times the source."""
    truth = np.ascontiguousarray(picture.transpose(2, 0, 1), np.float32) / 255

    class Oracle(backend.FluxDetailer):
        def _imagined(self, tiles):
            whole = truth if self._factor == 4 else back_projection.shrink(truth, 4 // self._factor)
            made = []
            for tile in tiles:
                place, (_, rows, columns) = tile.window.place, tile.window.base.shape
                index = np.ix_(
                    reflect_indices(place.top, rows, whole.shape[1]),
                    reflect_indices(place.left, columns, whole.shape[2]),
                )
                made.append(tile.cut.spread(np.ascontiguousarray(whole.transpose(1, 2, 0)[index].transpose(2, 0, 1))))
            return torch.from_numpy(np.stack(made)).clamp(0, 1)

    return Oracle


def changed(change):
    """Return the class of a detailer whose network applies `change` to each tile's faithful enlargement."""

    class Changed(backend.FluxDetailer):
        def _imagined(self, tiles):
            return torch.from_numpy(np.stack([change(tile.pixels) for tile in tiles]).astype(np.float32)).clamp(0, 1)

    return Changed


def enlarged(monkeypatch, kind, path, scale, folder, *, fidelity=None, passes="auto", **wishes):
    """Enlarge the picture of a file with the detailers of a class at FLUX's defaults: samples, and the result."""
    monkeypatch.setattr(backend, "FluxDetailer", kind)
    loaded = LoadedModels(Quiet(row=ROW), load_captioner("none"), "oracle", None, "oracle", MemoryBudget(ROW.tile))
    one = call(path, restoration=1.0)
    size = one.image.width * scale, one.image.height * scale
    one = replace(one, body={**one.body, "size": size, **wishes})
    config = UpscaleConfig(ROW, 2, passes=passes, fidelity=fidelity)
    job = decode_colours(config, loaded, one, JobCallbacks(), lambda: None, folder)
    result = job.make(0.0, 0.0)
    raster = result.picture
    samples = np.fromfile(raster.path, np.uint8).reshape(raster.height, raster.width, raster.bands)
    return samples, result
