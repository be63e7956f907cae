"""The denoising loop does what its network says, keeps what it must, and equals diffusers' own."""

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import avg_pool2d

from fluxvision.engine import back_projection
from fluxvision.engine.flux.sampling import (
    FLUX1,
    bend_sigma,
    denoise,
    guided_velocity,
    latent_low_band,
    sigma_schedule,
    start_sigma,
)

PATH = (0.6, 0.45, 0.3, 0.1, 0.0)


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def towards(picture):
    return lambda state, sigma: (state - picture) / sigma


def imagining(seed):
    """A random network that paints something of its own over what it sees."""
    kernel, own = normal(seed, 4, 4, 3, 3) / 4, normal(seed + 1, 1, 4, 1, 1)

    def velocity(state, sigma):
        return (state - torch.tanh(torch.nn.functional.conv2d(state, kernel, padding=1) + own)) / sigma

    return velocity


def believing(seed):
    """The best denoiser of a random world, in which latents are normal with a mean and covariances of channels."""
    root, mean = normal(seed, 4, 4), normal(seed + 1, 1, 4, 1, 1)

    def velocity(state, sigma):
        spread = (1 - sigma) ** 2 * root @ root.T + sigma**2 * torch.eye(4)
        gain = (1 - sigma) * root @ root.T @ torch.linalg.inv(spread)
        seen = state - (1 - sigma) * mean
        return (state - mean - torch.einsum("ij,bjhw->bihw", gain, seen)) / sigma

    return velocity


@given(st.integers(0, 1000), st.floats(0.01, 1), st.integers(1, 6), st.floats(0, 1))
@settings(deadline=None)
def test_an_identity_denoiser_returns_the_source(seed, start, forwards, resemblance):
    """A network that sees the source behind the noise gives it back, from any level, however it is held."""
    source, noise = normal(seed, 2, 4, 5, 7), normal(seed + 1, 2, 4, 5, 7)
    path = [start * (forwards - done) / forwards for done in range(forwards + 1)]
    assert torch.allclose(denoise(towards(source), source, noise, path, resemblance=resemblance), source, atol=1e-5)


def test_a_constant_denoiser_returns_its_constant():
    """Without resemblance the result is the network's, whatever the source was."""
    source, noise = normal(1, 1, 4, 8, 8), normal(2, 1, 4, 8, 8)
    found = denoise(towards(torch.full_like(source, 0.7)), source, noise, PATH)
    assert torch.allclose(found, torch.full_like(source, 0.7), atol=1e-5)


@pytest.mark.parametrize("resemblance", [0.0, 0.3, 1.0])
def test_one_forward_is_pulled_in_full(resemblance):
    """After a single forward, the share `resemblance` of the low band is the source's, and the rest the network's."""
    source, noise, own = (normal(seed, 1, 4, 16, 16) for seed in (1, 2, 3))
    found = denoise(towards(own), source, noise, (0.5, 0.0), resemblance=resemblance)
    assert torch.allclose(found, own - resemblance * latent_low_band(own - source), atol=1e-5)


@given(st.integers(0, 10**6), st.floats(0.1, 1), st.integers(1, 6))
@settings(deadline=None, max_examples=30)
def test_more_resemblance_is_nearer(seed, start, forwards):
    """In any random world, more resemblance brings the reduced result of its denoiser closer to the reduced source."""
    source, noise = normal(seed, 1, 4, 16, 16), normal(seed + 1, 1, 4, 16, 16)
    path = sigma_schedule(FLUX1, 4096, forwards, start, least=forwards)
    apart = []
    for resemblance in (0.0, 0.25, 0.5, 0.75, 1.0):
        found = denoise(believing(seed + 2), source, noise, path, resemblance=resemblance)
        apart.append(float(avg_pool2d(found - source, 8).square().mean().sqrt()))
    assert all(nearer < further for further, nearer in pairwise(apart))


def test_more_steps_lead_to_the_same_picture():
    """The pull is part of the flow: twice as many steps change the result half as much, down to nothing."""
    source, noise, flow = (normal(seed, 1, 4, 16, 16) for seed in (1, 2, 3))
    found = [
        denoise(lambda _state, _sigma: flow, source, noise, np.linspace(0.6, 0, count + 1).tolist(), resemblance=0.8)
        for count in (4, 8, 16, 512)
    ]
    errors = [float((one - found[-1]).abs().max()) for one in found[:-1]]
    assert errors[1] < 0.6 * errors[0]
    assert errors[2] < 0.6 * errors[1] < 0.05


def test_the_network_sees_the_noise_and_the_levels():
    """The first state is the source with the first level of noise; every level but the last has one forward."""
    source, noise, seen = normal(1, 1, 4, 8, 8), normal(2, 1, 4, 8, 8), []

    def velocity(state, sigma):
        seen.append((state, sigma))
        return torch.zeros_like(state)

    found = denoise(velocity, source, noise, PATH)
    assert [sigma for _, sigma in seen] == list(PATH[:-1])
    assert torch.allclose(seen[0][0], 0.4 * source + 0.6 * noise)
    assert torch.equal(found, seen[0][0])


def test_the_state_is_float32():
    """Steps too small for bfloat16 add up, whatever the network and the latents are kept in."""
    source = torch.ones(1, 4, 8, 8, dtype=torch.bfloat16)
    path = [0.5 * (200 - done) / 200 for done in range(201)]
    found = denoise(lambda state, _: torch.full_like(state, 0.25).bfloat16(), source, source, path)
    assert found.dtype == torch.float32
    assert torch.allclose(found, torch.full_like(found, 1 - 0.5 * 0.25), atol=1e-5)


@pytest.mark.parametrize("batch", [1, 2])
def test_masked_places_stay(batch):
    """Where the mask is 0 the source comes back bit for bit, and the network sees it with each level's noise."""
    source, noise = normal(1, 2, 4, 8, 8), normal(2, 2, 4, 8, 8)
    mask, states = torch.zeros(batch, 1, 8, 8), []
    mask[..., :4] = 1

    def velocity(state, sigma):
        states.append(state)
        return imagining(5)(state, sigma)

    found = denoise(velocity, source, noise, PATH, mask=mask, resemblance=0.5)
    assert torch.equal(found[..., 4:], source[..., 4:])
    assert not torch.allclose(found[..., :4], source[..., :4], atol=0.1)
    for state, sigma in zip(states, PATH, strict=False):
        assert torch.allclose(state[..., 4:], ((1 - sigma) * source + sigma * noise)[..., 4:])


def test_a_mask_of_ones_is_none():
    """Allowing everything is the same as no mask, bit for bit."""
    source, noise = normal(1, 1, 4, 8, 8), normal(2, 1, 4, 8, 8)
    free = denoise(imagining(5), source, noise, PATH)
    assert torch.equal(free, denoise(imagining(5), source, noise, PATH, mask=torch.ones(1, 1, 8, 8)))


def test_stop_comes_before_every_forward():
    """An error raised on the third call ends the work after two forwards."""
    source, calls, forwards = normal(1, 1, 4, 8, 8), [], []

    def stop():
        calls.append(1)
        if len(calls) == 3:
            raise InterruptedError

    def velocity(state, _sigma):
        forwards.append(1)
        return state

    with pytest.raises(InterruptedError):
        denoise(velocity, source, source, PATH, stop=stop)
    assert len(forwards) == 2


def test_no_noise_no_forwards():
    """A trajectory of creativity 0 returns the source and asks no network."""
    source = normal(1, 1, 4, 8, 8)
    assert torch.equal(
        denoise(lambda *_: pytest.fail("asked"), source, source, sigma_schedule(FLUX1, 16, 4, 0.0)), source
    )


def test_pictures_of_a_batch_are_alone():
    """Each picture of a batch comes out as it does by itself."""
    source, noise = normal(1, 3, 4, 8, 8), normal(2, 3, 4, 8, 8)
    together = denoise(imagining(5), source, noise, PATH, resemblance=0.5)
    for one in range(3):
        alone = denoise(imagining(5), source[one : one + 1], noise[one : one + 1], PATH, resemblance=0.5)
        assert torch.allclose(together[one], alone[0], atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "path", "resemblance", "word"),
    [
        ((1, 1, 4, 4), PATH, 0, "fit"),
        ((1, 4, 4, 4), (), 0, "fall"),
        ((1, 4, 4, 4), (0.5, 0.1), 0, "fall"),
        ((1, 4, 4, 4), (0.5, 0.5, 0.0), 0, "fall"),
        ((1, 4, 4, 4), PATH, 1.1, "resemblance"),
    ],
)
def test_what_cannot_be(shape, path, resemblance, word):
    """Shapes that would spread, levels that rise and a pull beyond the source are errors."""
    with pytest.raises(ValueError, match=word):
        denoise(towards(0), normal(1, 1, 4, 4, 4), normal(2, *shape), path, resemblance=resemblance)


@pytest.mark.parametrize("levels", [0, 1, 2, 3])
def test_the_low_band_is_the_pixels(levels):
    """The pull's low band is that of the colour lock, edges included; a constant stays."""
    latents = normal(1, 1, 3, 9, 6)
    assert np.allclose(
        latent_low_band(latents, levels)[0].numpy(), back_projection.low_band(latents[0].numpy(), levels), atol=1e-6
    )


def test_the_low_band_sees_three_cells():
    """A point spreads over three latent cells to each side, no further."""
    point = torch.zeros(1, 1, 15, 15)
    point[..., 7, 7] = 1
    reached = (latent_low_band(point)[0, 0] != 0).nonzero()
    assert reached.min() == 4
    assert reached.max() == 10


@pytest.mark.parametrize("scale", [0.0, 1.0, 3.5])
def test_guidance(scale):
    """Guidance goes from the one velocity through the other; scale 1 asks one network only."""
    asked = []

    def one(state, _sigma):
        return (state + 1).bfloat16()

    def other(state, _sigma):
        asked.append(1)
        return (state - 1).bfloat16()

    found = guided_velocity(one, other, scale)(torch.zeros(1, 4, 2, 2), 0.5)
    assert torch.allclose(found.float(), torch.full((1, 4, 2, 2), -1 + 2 * scale))
    assert len(asked) == (scale != 1)


@pytest.mark.parametrize(("creativity", "full", "scale"), [(0.3, 20, 1.0), (0.8, 8, 1.0), (0.5, 10, 3.0)])
def test_diffusers_own_pipeline(creativity, full, scale):
    """A random transformer of FLUX.1's architecture gives the latents that diffusers' img2img pipeline gives."""
    pipeline, prompts = tiny_pipeline()
    rows, columns = 6, 10
    tokens = rows * columns // 4
    path = sigma_schedule(FLUX1, tokens, full, start_sigma(creativity), least=2)
    first = bend_sigma(path[0], -FLUX1.mu(tokens, full))
    source = normal(1, 2, 16, rows, columns)
    common = {"prompt_embeds": prompts[0], "pooled_prompt_embeds": prompts[1]}
    negative = {"negative_prompt_embeds": -prompts[0], "negative_pooled_prompt_embeds": -prompts[1]}
    wanted = pipeline(
        image=source,
        height=rows * 8,
        width=columns * 8,
        strength=1.0,
        num_inference_steps=len(path) - 1,
        sigmas=np.linspace(first, 0, len(path))[:-1],
        guidance_scale=2.5,
        true_cfg_scale=scale,
        generator=torch.Generator().manual_seed(7),
        output_type="latent",
        return_dict=False,
        **common,
        **(negative if scale > 1 else {}),
    )[0]
    wanted = pipeline._unpack_latents(wanted, rows * 8, columns * 8, 8)
    places = pipeline._prepare_latent_image_ids(2, rows // 2, columns // 2, "cpu", torch.float32)

    def said(sign):
        def velocity(state, sigma):
            packed = pipeline.transformer(
                hidden_states=pipeline._pack_latents(state, 2, 16, rows, columns),
                timestep=torch.full((2,), sigma),
                guidance=torch.full((2,), 2.5),
                encoder_hidden_states=sign * prompts[0],
                pooled_projections=sign * prompts[1],
                txt_ids=torch.zeros(5, 3),
                img_ids=places,
                return_dict=False,
            )[0]
            return pipeline._unpack_latents(packed, rows * 8, columns * 8, 8)

        return velocity

    found = denoise(guided_velocity(said(1), said(-1), scale), source, normal(7, 2, 16, rows, columns), path)
    assert float((found - wanted).abs().max()) < 1e-5


@cache
def tiny_pipeline():
    """The pipeline of diffusers around a random transformer of two blocks, and embedded prompts for two pictures."""
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(3)
    transformer = diffusers.FluxTransformer2DModel(
        in_channels=64,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=12,
        pooled_projection_dim=6,
        guidance_embeds=True,
        axes_dims_rope=(2, 2, 4),
    ).eval()
    pipeline = diffusers.FluxImg2ImgPipeline(
        diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True), None, None, None, None, None, transformer
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline, (normal(4, 2, 5, 12), normal(5, 2, 6))
