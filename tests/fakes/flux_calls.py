"""Calls of the provider `flux` on the CPU, with networks and a captioner from folders."""

from __future__ import annotations

from dataclasses import replace

from fluxvision import imaging
from fluxvision.core.types import Call
from fluxvision.engine.flux.registry import BY_NAME
from fluxvision.providers import flux


def opened(weights, name="flux2-klein-4b", *, model="flux2", captioner="captioner", tile=None, ways=None, **rest):
    """Return a provider of the networks in a folder, whose tiles have `tile` pixels per side, None: the row's own."""
    row = BY_NAME[name] if tile is None else replace(BY_NAME[name], tile=tile)
    facts = {"revision": None, "device": "cpu", "captioner": "qwen3-vl-2b", **rest}
    source = flux.ModelSource(str(weights / model), caption_model=str(weights / captioner), **facts)
    return flux.Provider(row, source, threads=2, **(ways or {}))


def call(path, size=(64, 48), mask=None, **body):
    """Return a call for a picture, twice as large."""
    source = imaging.probe(path, imaging.Limits())
    if mask is not None:
        mask = imaging.probe(mask, imaging.Limits())
    return Call("flux", "flux2-klein-4b", {"size": size, "creativity": 0.3, "restoration": 0.0, **body}, source, mask)


def samples(outcome):
    """Return the bytes of the pixels."""
    return outcome.picture.path.read_bytes()
