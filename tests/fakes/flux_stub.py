"""Networks of FLUX without weights: an autoencoder that loses nothing, and denoisers whose answer is known beforehand.

A cell's latents are its 16 × 16 pixels, with mean 0 and deviation about 1. Whatever noise a picture gets, the velocity
leads to the same finished latents, the denoiser's.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from fluxvision.engine.flux.registry import BY_NAME, FluxRow

CHANNELS = 3 * 256
"""Values of one latent cell."""
SPREAD = 4.0
"""Latents are pixels less a half, times this."""
COLOUR = (0.9, 0.2, 0.55)
AMOUNT = 0.15
"""How strong the texture is, in latents."""


def identity(source, _noise):
    """Return the source itself."""
    return source


def constant(source, _noise):
    """Return one colour everywhere."""
    wanted = torch.tensor(COLOUR).view(1, 3, 1, 1).expand(len(source), 3, source.shape[2] * 16, source.shape[3] * 16)
    return latents_of(wanted)


def texture(source, noise):
    """Return the source with a texture made of the noise: the same wherever tiles see the same noise."""
    return source + AMOUNT * noise


DENOISERS = {"identity": identity, "constant": constant, "texture": texture}


def latents_of(pixels):
    """Return pixels (B, 3, H, W) as cells."""
    return pixel_unshuffle((pixels.double() - 0.5) * SPREAD, 16).float()


@dataclass(slots=True)
class Forward:
    """What the network was given in one forward, and the source that it was made of."""

    latents: torch.Tensor
    sigma: float
    prompt: str
    guidance: float
    source: torch.Tensor


@dataclass
class Stub:
    """Networks whose answer is one of the denoisers', whatever the prompt. `forwards` is what they were asked.

    `before` is called at the start of every forward, `pause` is how many seconds the first one takes.
    """

    denoiser: Any = identity
    row: FluxRow = BY_NAME["flux2-klein-4b"]
    pause: float = 0.0
    before: Any = None
    forwards: list[Forward] = field(default_factory=list)
    embedded: list[str] = field(default_factory=list)
    encoded: list[torch.Tensor] = field(default_factory=list)
    decoded: list[torch.Tensor] = field(default_factory=list)

    device = torch.device("cpu")
    dtype = torch.float32

    def encode(self, pixels):
        """Return latents, and remember them."""
        assert pixels.shape[2] % 16 == pixels.shape[3] % 16 == 0
        self.encoded.append(latents_of(pixels))
        return self.encoded[-1]

    def decode(self, latents):
        """Return pixels in 0..1, and remember the latents."""
        self.decoded.append(latents)
        return (pixel_shuffle(latents.double(), 16) / SPREAD + 0.5).clamp(0, 1).float()

    def embed(self, prompt):
        """Return the prompt as it is."""
        self.embedded.append(prompt)
        return prompt

    def velocity(self, latents, sigma, prompt, guidance, *, source=None, top=0, left=0):
        """Lead from the noised latents to the denoiser's in a straight line."""
        assert (top, left) == (0, 0), "networks are trained with positions from 0 on"
        if self.before is not None:
            self.before()
        if not self.forwards:
            time.sleep(self.pause)
        assert source is self.encoded[-1]
        self.forwards.append(Forward(latents.clone(), sigma, prompt, guidance, source))
        first = next(one for one in self.forwards if one.source is source)
        noise = (first.latents - (1 - first.sigma) * source) / first.sigma
        return (latents - self.denoiser(source, noise)) / sigma

    def to(self, device, *, text=None):
        """Stay here."""

    def close(self):
        """Keep nothing."""
