"""Creativity means one amount of noise on every network, and trajectories follow the published formulas."""

from itertools import pairwise
from math import exp

import numpy as np
import pytest
from diffusers import DDPMScheduler
from hypothesis import given
from hypothesis import strategies as st

from fluxvision.engine.flux.sampling import FLUX1, FLUX2, SHIFTS, UNSHIFTED, bend_sigma, sigma_schedule, start_sigma

KINDS = st.sampled_from(sorted(SHIFTS.values(), key=lambda row: row.name))


@pytest.mark.parametrize(
    ("creativity", "sigma"),
    [(0.0, 0.0), (0.1, 0.255), (0.2, 0.363), (0.3, 0.454), (0.35, 0.496), (0.5, 0.617), (0.8, 0.836), (1.0, 0.936)],
)
def test_creativity_is_stable_diffusions_strength(creativity, sigma):
    """The level at which a picture enters has Stable Diffusion's ratio of noise to picture at that strength."""
    assert start_sigma(creativity) == pytest.approx(sigma, abs=5e-4)


def test_every_step_is_that_of_the_published_scheduler():
    """All 1000 levels are those of Stable Diffusion's schedule as diffusers makes it; between them lies a line."""
    theirs = DDPMScheduler(1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear").alphas_cumprod
    ratio = ((1 - theirs.double()) / theirs.double()).sqrt().numpy()
    levels = np.array([start_sigma(step / 1000) for step in range(1, 1001)])
    assert levels == pytest.approx(ratio / (1 + ratio), rel=2e-5)
    assert start_sigma(0.3005) == pytest.approx((start_sigma(0.3) + start_sigma(0.301)) / 2, rel=1e-9)


@given(st.floats(0, 1), st.floats(0, 1))
def test_more_creativity_is_more_noise(one, other):
    """The level rises with creativity, strictly and without a jump."""
    low, high = sorted((one, other))
    assert 0 <= start_sigma(low) <= start_sigma(high) < 1
    assert (start_sigma(low) < start_sigma(high)) or high - low < 1e-12
    assert start_sigma(high) - start_sigma(low) < 30 * (high - low) + 1e-12


@pytest.mark.parametrize("creativity", [-0.01, 1.01, float("nan")])
def test_creativity_out_of_range(creativity):
    """Creativity beyond 0 to 1 is an error."""
    with pytest.raises(ValueError, match="creativity"):
        start_sigma(creativity)


@pytest.mark.parametrize(
    ("shift", "tokens", "steps", "mu"),
    [
        (UNSHIFTED, 4096, 4, 0.0),
        (FLUX1, 256, 20, 0.5),
        (FLUX1, 4096, 20, 1.15),
        (FLUX1, 6400, 28, 1.54),
        (FLUX2, 4096, 4, 2.291),
        (FLUX2, 4096, 20, 2.198),
        (FLUX2, 4096, 50, 2.023),
        (FLUX2, 6400, 20, 1.540),
        (FLUX2, 4300, 10, 8.73809524e-05 * 4300 + 1.89833333),
        (FLUX2, 4301, 10, 0.00016927 * 4301 + 0.45666666),
    ],
)
def test_shifts(shift, tokens, steps, mu):
    """The shift of each family of networks is the published one, FLUX.2's jump included."""
    assert shift.mu(tokens, steps) == pytest.approx(mu, abs=5e-4)


@given(KINDS, st.integers(1, 8192), st.integers(1, 60), st.floats(1e-6, 1), st.integers(1, 8))
def test_a_trajectory(shift, tokens, steps, start, least):
    """Levels fall from the start to 0, evenly in time, with the forwards of the full trajectory from there on."""
    levels = sigma_schedule(shift, tokens, steps, start, least=least)
    mu = shift.mu(tokens, steps)
    times = [level / (level + exp(mu) * (1 - level)) for level in levels]
    assert levels[0] == start
    assert levels[-1] == 0
    assert all(high > low for high, low in pairwise(levels))
    assert np.allclose(np.diff(times), -times[0] / (len(times) - 1), atol=1e-9)
    assert len(levels) - 1 == pytest.approx(max(least, np.floor(steps * times[0] + 1e-9)))


@given(KINDS, st.integers(1, 8192), st.integers(1, 60))
def test_a_full_trajectory(shift, tokens, steps):
    """From pure noise there are as many forwards as steps, at the closed form's levels."""
    mu = shift.mu(tokens, steps)
    times = np.linspace(1, 1 / steps, steps)
    wanted = [*(exp(mu) / (exp(mu) + 1 / times - 1)), 0.0]
    assert np.allclose(sigma_schedule(shift, tokens, steps, 1.0), wanted, atol=1e-9)


@given(st.floats(0, 1), st.floats(-3, 3))
def test_there_and_back(time, mu):
    """The shift undone is the time that was shifted."""
    assert bend_sigma(bend_sigma(time, mu), -mu) == pytest.approx(time, abs=1e-9)


@pytest.mark.parametrize("shift", SHIFTS.values(), ids=SHIFTS)
def test_no_noise_no_forwards(shift):
    """Creativity 0 has no forwards."""
    assert sigma_schedule(shift, 4096, 20, start_sigma(0)) == (0.0,)


@pytest.mark.parametrize(
    ("tokens", "steps", "start", "least"),
    [(0, 4, 0.5, 1), (1, 0, 0.5, 1), (1, 4, 1.5, 1), (1, 4, -0.1, 1), (1, 4, 1, 0)],
)
def test_out_of_range(tokens, steps, start, least):
    """Numbers that make no trajectory are an error."""
    with pytest.raises(ValueError, match="no trajectory"):
        sigma_schedule(FLUX1, tokens, steps, start, least=least)


@pytest.mark.parametrize("tokens", [1, 256, 1024, 4096, 4300, 4301, 6400, 16384])
def test_mu_is_diffusers(tokens):
    """Both formulas for the shift agree with diffusers' own functions."""
    flux1 = pytest.importorskip("diffusers.pipelines.flux.pipeline_flux")
    flux2 = pytest.importorskip("diffusers.pipelines.flux2.pipeline_flux2")
    assert FLUX1.mu(tokens, 20) == pytest.approx(flux1.calculate_shift(tokens), abs=1e-9)
    for steps in (1, 4, 10, 20, 50, 200):
        assert FLUX2.mu(tokens, steps) == pytest.approx(flux2.compute_empirical_mu(tokens, steps), abs=1e-9)


@pytest.mark.parametrize("start", [0.255, 0.454, 0.617, 0.936, 1.0])
@pytest.mark.parametrize(("tokens", "steps"), [(256, 4), (4096, 4), (4096, 20), (6400, 28)])
@pytest.mark.parametrize("shift", SHIFTS.values(), ids=SHIFTS)
def test_sigmas_are_diffusers(shift, tokens, steps, start):
    """The scheduler that FLUX was published with makes the same levels of the same times."""
    scheduler = pytest.importorskip("diffusers").FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=shift != UNSHIFTED
    )
    levels = sigma_schedule(shift, tokens, steps, start)
    mu = shift.mu(tokens, steps)
    times = np.linspace(start / (start + exp(mu) * (1 - start)), 0, len(levels))[:-1]
    scheduler.set_timesteps(sigmas=times, mu=mu)
    assert np.allclose(scheduler.sigmas.numpy(), levels, rtol=0, atol=1e-6)
