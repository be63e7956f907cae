"""Noise schedules and the denoising loop: creativity becomes a start sigma, and sigmas become a trajectory.

In a rectified flow a picture x has at level sigma the latent (1 - sigma) x + sigma noise. Networks were trained with
more of the higher levels the larger the picture: a trajectory is evenly spaced in a time t from 1 to 0, and `Shift`
bends time into sigma (Esser et al., "Scaling rectified flow transformers", 2024, section 5.3.2).

People know "strength" from Stable Diffusion, where it counts steps. The same share of steps is quite another amount of
noise on every other network, so creativity names the noise: as much, relative to the picture, as Stable Diffusion adds
at that strength. All here is plain arithmetic of floats.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from math import exp, floor, sqrt

import torch
from torch import Tensor
from torch.nn.functional import pad

TRAINED = 1000
BETAS = (0.00085, 0.012)
"""Stable Diffusion's 1000 variances of noise, evenly spaced between these in their square roots."""
FEW, MANY = 10, 200
"""The numbers of steps at which the two lines of FLUX.2 give mu."""
NEARLY = 1e-9
"""Tolerance for rounding errors below a whole number of forward passes."""


@dataclass(frozen=True, slots=True)
class LinearShift:
    """A linear function of the number of tokens."""

    slope: float
    intercept: float

    def at(self, tokens: int) -> float:
        """Return its value."""
        return self.slope * tokens + self.intercept


@dataclass(frozen=True, slots=True)
class Shift:
    """How a family of networks bends time into sigma: sigma = e t / (1 + (e - 1) t) with e = exp(mu).

    `many` is mu at 200 steps or at any; `few` is mu at 10 steps where their number counts, which it does up to `limit`
    tokens. Tokens are places of the picture that the transformer sees, without the text.
    """

    name: str
    many: LinearShift
    few: LinearShift | None = None
    limit: int = 0

    def mu(self, tokens: int, steps: int) -> float:
        """Return the logarithm of the shift for a picture of `tokens` on a full trajectory of `steps` forwards."""
        many = self.many.at(tokens)
        if self.few is None or tokens > self.limit:
            return many
        return many + (self.few.at(tokens) - many) * (MANY - steps) / (MANY - FEW)


_SLOPE = (1.15 - 0.5) / (4096 - 256)

UNSHIFTED = Shift("none", many=LinearShift(0.0, 0.0))
"""FLUX.1 [schnell]: sigma is time."""
FLUX1 = Shift("flux1", many=LinearShift(_SLOPE, 0.5 - _SLOPE * 256))
"""0.5 at 256 tokens, 1.15 at 4096, as FLUX.1 [dev] was published."""
FLUX2 = Shift(
    "flux2", many=LinearShift(0.00016927, 0.45666666), few=LinearShift(8.73809524e-05, 1.89833333), limit=4300
)
"""The fit published with FLUX.2. It jumps at 4300 tokens: a 1024² tile has 4096, and 1280² is sampled differently."""

SHIFTS: dict[str, Shift] = {row.name: row for row in (UNSHIFTED, FLUX1, FLUX2)}
"""Shifts by their names in the networks' rows."""


def start_sigma(creativity: float) -> float:
    """Return the level of noise at which a picture enters, 0.0 for creativity 0 to 0.936 for 1; it rises strictly.

    Stable Diffusion keeps sqrt(a) of the picture and adds sqrt(1 - a) of noise, a = Π (1 - beta) over 1000 creativity
    steps; s / (1 + s) is the sigma with the same ratio s of noise to picture. Between whole steps it is a straight
    line. 0.3 gives 0.454 and 0.5 gives 0.617.

    Raises:
        ValueError: when creativity is not within 0 to 1.
    """
    if not 0 <= creativity <= 1:
        message = f"creativity is 0 to 1, not {creativity}"
        raise ValueError(message)
    levels = _sd_sigmas()
    step = creativity * TRAINED
    low = min(floor(step), TRAINED - 1)
    return levels[low] + (step - low) * (levels[low + 1] - levels[low])


@cache
def _sd_sigmas() -> tuple[float, ...]:
    """Return sigma after 0 to 1000 of Stable Diffusion's steps."""
    low, high = (sqrt(beta) for beta in BETAS)
    kept, levels = 1.0, [0.0]
    for step in range(TRAINED):
        kept *= 1 - (low + (high - low) * step / (TRAINED - 1)) ** 2
        ratio = sqrt((1 - kept) / kept)
        levels.append(ratio / (1 + ratio))
    return tuple(levels)


def bend_sigma(time: float, mu: float) -> float:
    """Return sigma (0 to 1) at a time (0 to 1). `bend(sigma, -mu)` is the way back."""
    shift = exp(mu)
    return shift * time / (1 + (shift - 1) * time)


def sigma_schedule(shift: Shift, tokens: int, steps: int, start: float, *, least: int = 1) -> tuple[float, ...]:
    """Return the levels of noise of a trajectory: falling from `start` to 0.0, one more than there are forwards.

    There are as many forwards as the full trajectory has from the time of `start` on, evenly spaced in time. Without
    any noise there is nothing to do: (0.0,).

    Args:
        shift: the network's.
        tokens: places of the tile that the transformer sees, text not counted; at least 1.
        steps: forwards of a full trajectory, from pure noise; at least 1.
        start: the first level, 0.0 to 1.0.
        least: forwards that there are in any case, at least 1. High shifts leave few: FLUX.2 passes below sigma 0.5 in
            the last tenth of its time.

    Raises:
        ValueError: when a number is out of its range.
    """
    if tokens < 1 or steps < 1 or least < 1 or not 0 <= start <= 1:
        message = f"no trajectory for {tokens} tokens, {steps} steps, at least {least}, from {start}"
        raise ValueError(message)
    if start == 0:
        return (0.0,)
    mu = shift.mu(tokens, steps)
    first = bend_sigma(start, -mu)
    forwards = max(least, floor(steps * first + NEARLY))
    return (start, *(bend_sigma(first * (forwards - done) / forwards, mu) for done in range(1, forwards)), 0.0)


Velocity = Callable[[Tensor, float], Tensor]
"""A function of latents and sigma that returns the velocity of the same shape, in any floating type."""

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
    _check_schedule(source, noise, sigmas, resemblance)
    with torch.no_grad():
        source, noise = source.float(), noise.float()
        state = _add_noise(source, noise, sigmas[0])
        for sigma, following in pairwise(sigmas):
            if stop is not None:
                stop()
            flow = velocity(state, sigma).float()
            if resemblance:
                flow = flow + resemblance / sigmas[0] * latent_low_band(state - sigma * flow - source)
            state = state + (following - sigma) * flow
            if mask is not None:
                state = torch.lerp(_add_noise(source, noise, following), state, mask.to(state))
        return state


def guided_velocity(velocity_with: Velocity, velocity_without: Velocity, scale: float) -> Velocity:
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


def latent_low_band(latents: Tensor, levels: int = LEVELS) -> Tensor:
    """Return the low wavelet band of float32 latents (see `back_projection.low_band`); edges are repeated."""
    for level in range(levels):
        step = 2**level
        tall = pad(latents, (0, 0, step, step), mode="replicate")
        latents = 0.5 * latents + 0.25 * (tall[..., : -2 * step, :] + tall[..., 2 * step :, :])
        wide = pad(latents, (step, step, 0, 0), mode="replicate")
        latents = 0.5 * latents + 0.25 * (wide[..., : -2 * step] + wide[..., 2 * step :])
    return latents


def _add_noise(source: Tensor, noise: Tensor, sigma: float) -> Tensor:
    return (1 - sigma) * source + sigma * noise


def _check_schedule(source: Tensor, noise: Tensor, sigmas: Sequence[float], resemblance: float) -> None:
    if source.shape != noise.shape:
        message = f"latents of {tuple(source.shape)} and noise of {tuple(noise.shape)} do not fit"
        raise ValueError(message)
    if not sigmas or sigmas[-1] != 0 or any(high <= low for high, low in pairwise(sigmas)):
        message = f"sigmas fall to 0, unlike {tuple(sigmas)}"
        raise ValueError(message)
    if not 0 <= resemblance <= 1:
        message = f"resemblance is 0 to 1, not {resemblance}"
        raise ValueError(message)
