"""Networks of FLUX on a device that is short of memory, and tiles for them."""

from __future__ import annotations

import numpy as np
import torch

from fakes.flux_runs import PHOTO, ROW
from fakes.flux_stub import Stub, texture
from fluxvision.engine.backends.registry import TileInput, TileOrigin
from fluxvision.engine.flux.backend import SamplingOptions

WISHES = SamplingOptions("words", 0.5, seed=2)
CUDA = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


class Tight(Stub):
    """Networks on a device with room for `most` tiles at once, or for none before as many things were given up."""

    def __init__(self, most=1, given=0, fault=CUDA, where="velocity", **rest) -> None:
        """Fail with `fault` at the step `where`."""
        super().__init__(texture, ROW, **rest)
        self.most, self.needed, self.fault, self.where = most, given, fault, where
        self.given, self.tries = [], []

    def offload_text(self):
        """Make room."""
        self.given.append("text")
        return True

    def quantize(self):
        """Make room."""
        self.given.append("fp8")
        return True

    def _hold(self, where, many):
        if where == self.where:
            self.tries.append(many)
            if many > self.most or len(self.given) < self.needed:
                raise self.fault

    def encode(self, pixels):
        """Encode, if there is room."""
        self._hold("encode", len(pixels))
        return super().encode(pixels)

    def velocity(self, latents, *args, **rest):
        """Go a step, if there is room."""
        self._hold("velocity", len(latents))
        return super().velocity(latents, *args, **rest)

    def decode(self, latents):
        """Decode, if there is room."""
        self._hold("decode", len(latents))
        return super().decode(latents)


def windows(many):
    """Return tiles of one shape."""
    base = np.ascontiguousarray(PHOTO[:32, :48].transpose(2, 0, 1), np.float32) / 255
    return [TileInput(base[:, ::2, ::2], base, TileOrigin(16 * at, 24 * at)) for at in range(many)]
