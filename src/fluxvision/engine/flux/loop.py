"""The denoising loop: Euler's steps from a picture with noise to a picture, held to the source where that is wished.

Latents are (pictures, channels, rows, columns). The state is float32 whatever the network computes in: a step is a
small difference. A network says where the noise is going, velocity = noise - picture, as rectified flows are trained.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import pad

Velocity = Callable[[Tensor, float], Tensor]
"""Latents and their sigma → velocity of the same shape, in any floating type."""

LEVELS = 2
"""À-trous levels of the pull: its low band reaches three latent cells (48 pixels where a cell is 16) to each side."""


def denoise(
    velocity: Velocity,
    source: Tensor,
    noise: Tensor,
    sigmas: Sequence[float],
    *,
    resemblance: float = 0.0,
    mask: Tensor | None = None,
    stop: Callable[[], None] | None = None,
) -> Tensor:
    """Return the source re-imagined from the first sigma on: float32, in its shape.

    With `resemblance`, every prediction of the finished picture is pulled towards the source, after SUPIR's
    restoration-guided sampling (Yu et al., "Scaling up to excellence", CVPR 2024, algorithm 1), with two changes. Only
    the low band is pulled: structure and colour are the source's, detail is not. And the weight is resemblance times
    sigma over the first sigma, to the power of one: divided by sigma, as it enters the velocity, it is the same in
    every step. So the pull is a term of the flow like any other, to which more and finer steps converge. It is all
    of `resemblance` in the first step, where structure is decided, and fades out where texture is.

    Args:
        velocity: the network.
        source: latents of the picture, (B, C, h, w).
        noise: standard normal values, of the same shape.
        sigmas: levels of noise, falling, the last 0; one forward for each but the last.
        resemblance: 0 to 1.
        mask: (B or 1, 1, h, w), 0 to 1. Where it is 0 the source stays, at every step with the noise of that level
            (Avrahami et al., "Blended diffusion", 2022), and exactly so at the end. None: 1 everywhere.
        stop: called before every forward; what it raises ends the work.

    Raises:
        ValueError: when shapes disagree, sigmas do not fall to 0, or resemblance is out of its range.
    """
    _check(source, noise, sigmas, resemblance)
    with torch.no_grad():
        source, noise = source.float(), noise.float()
        state = _noised(source, noise, sigmas[0])
        for sigma, following in pairwise(sigmas):
            if stop is not None:
                stop()
            flow = velocity(state, sigma).float()
            if resemblance:
                flow = flow + resemblance / sigmas[0] * low_band(state - sigma * flow - source)
            state = state + (following - sigma) * flow
            if mask is not None:
                state = torch.lerp(_noised(source, noise, following), state, mask.to(state))
        return state


def guided(velocity_with: Velocity, velocity_without: Velocity, scale: float) -> Velocity:
    """Return the velocity of classifier-free guidance (Ho and Salimans, 2022), two forwards for each of its own.

    `velocity_with` knows the caption, `velocity_without` an empty or a negative one. Scale 1 is the first alone and
    takes one forward; above 1 leads away from the second.
    """
    if scale == 1:
        return velocity_with

    def velocity(state: Tensor, sigma: float) -> Tensor:
        without = velocity_without(state, sigma).float()
        return without + scale * (velocity_with(state, sigma).float() - without)

    return velocity


def low_band(latents: Tensor, levels: int = LEVELS) -> Tensor:
    """Return the low wavelet band of float32 latents, as `steps.low_band` does of pixels; edges are repeated."""
    for level in range(levels):
        step = 2**level
        tall = pad(latents, (0, 0, step, step), mode="replicate")
        latents = 0.5 * latents + 0.25 * (tall[..., : -2 * step, :] + tall[..., 2 * step :, :])
        wide = pad(latents, (step, step, 0, 0), mode="replicate")
        latents = 0.5 * latents + 0.25 * (wide[..., : -2 * step] + wide[..., 2 * step :])
    return latents


def _noised(source: Tensor, noise: Tensor, sigma: float) -> Tensor:
    return (1 - sigma) * source + sigma * noise


def _check(source: Tensor, noise: Tensor, sigmas: Sequence[float], resemblance: float) -> None:
    if source.shape != noise.shape:
        message = f"latents of {tuple(source.shape)} and noise of {tuple(noise.shape)} do not fit"
        raise ValueError(message)
    if not sigmas or sigmas[-1] != 0 or any(high <= low for high, low in pairwise(sigmas)):
        message = f"sigmas fall to 0, unlike {tuple(sigmas)}"
        raise ValueError(message)
    if not 0 <= resemblance <= 1:
        message = f"resemblance is 0 to 1, not {resemblance}"
        raise ValueError(message)
