"""Weights stored in 8 bits take half the memory, and the answers stay near."""

import pytest
import torch

from fakes.flux_models import make_control, make_flux1, make_flux2
from fluxvision.engine.flux import acceleration
from fluxvision.engine.flux.networks import load_networks
from fluxvision.engine.flux.options import AccelerationConfig
from fluxvision.engine.flux.registry import BY_NAME

EIGHT = torch.float8_e4m3fn
NAMES = ("flux2-klein-4b", "flux1-dev-tile")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    klein = make_flux2(tmp_path_factory.mktemp("klein"))
    dev = make_flux1(tmp_path_factory.mktemp("dev"), dev=True)
    make_control(dev / "controlnet", num_single_layers=1)
    return {"flux2-klein-4b": klein, "flux1-dev-tile": dev}


@pytest.fixture(params=NAMES)
def networks(request, folders):
    return load_networks(BY_NAME[request.param], folders[request.param], agreed=True)


def velocity(networks, rows=3):
    generator = torch.Generator().manual_seed(rows)
    latents, source = (torch.randn(2, networks.row.packed_channels, rows, 2, generator=generator) for _ in range(2))
    return networks.velocity(latents, 0.5, networks.embed("x"), 2.0, source=source)


def weights(networks):
    return {name: value for network in networks._networks() for name, value in network.named_parameters()}


def is_in_block(name):
    return name.partition(".")[0] in acceleration.BLOCKS


def kinds(module):
    return {value.dtype for value in module.parameters()}


def test_the_answer_stays_near(networks):
    """It moves by a few per cent, and is the same in every pass: weights do not lose more each time."""
    before = velocity(networks)
    assert networks.quantize()
    after = velocity(networks)
    assert 0 < (after - before).abs().mean() < 0.05 * before.abs().mean()
    assert torch.equal(velocity(networks), after)


@pytest.mark.parametrize("name", NAMES)
def test_blocks_take_half_the_memory(name, folders):
    """Before and after a pass, each layer of the repeated blocks has 8 of its 16 bits."""
    networks = load_networks(BY_NAME[name], folders[name], agreed=True, dtype="bfloat16")
    before = {name: value.nbytes for name, value in weights(networks).items() if is_in_block(name)}
    networks.quantize()
    for _ in range(2):
        after = weights(networks)
        assert all(after[name].nbytes * 2 == size for name, size in before.items() if "norm" not in name)
        assert sum(after[name].nbytes for name in before) < 0.75 * sum(before.values())
        velocity(networks)


def test_what_acts_on_all_numbers_keeps_its_precision(networks):
    """Norms, modulations, embeddings, text encoders and autoencoder are as before; all else in the blocks is narrow."""
    networks.quantize()
    for name, value in weights(networks).items():
        assert (value.dtype == EIGHT) == (is_in_block(name) and "norm" not in name), name
    assert all(kinds(module) == {torch.float32} for module in (networks.vae, *networks.texts))


def test_it_is_done_once(networks):
    """A second time there is nothing to give up, and the lever is in force."""
    assert networks.quantize()
    assert not networks.quantize()
    assert networks.accelerations == {"fp8": "weights"}


def test_it_can_be_had_from_the_start(folders):
    """A network that is too large otherwise is narrowed before the device gets it."""
    name = "flux2-klein-4b"
    small = load_networks(BY_NAME[name], folders[name], speed=AccelerationConfig(fp8=True))
    assert small.accelerations == {"fp8": "weights"}
    assert EIGHT in kinds(small.transformer)


def test_a_pass_that_was_broken_off_harms_none_after_it(networks, monkeypatch):
    """Memory may run out in a layer whose weights are wide at that moment: the next pass narrows them again."""
    networks.quantize()
    expected = velocity(networks)
    linear = torch.nn.functional.linear
    calls = []

    def fails(*given):
        calls.append(1)
        if len(calls) == 12:
            raise RuntimeError("CUDA out of memory.")
        return linear(*given)

    with monkeypatch.context() as patch:
        patch.setattr(torch.nn.functional, "linear", fails)
        with pytest.raises(RuntimeError, match="out of memory"):
            velocity(networks)
    assert torch.equal(velocity(networks), expected)
    assert all(value.dtype == EIGHT for name, value in weights(networks).items() if ".to_q." in name)


def test_compiled_blocks_are_given_up(networks):
    """Compilers cannot trace the widening: from then on the blocks run as they are written."""
    acceleration.compile_blocks(networks._networks(), backend="eager")
    networks._pulled["compile"] = "blocks"
    velocity(networks)
    assert networks.quantize()
    assert networks.accelerations == {"fp8": "weights"}
    assert velocity(networks).isfinite().all()
    torch.compiler.reset()


def test_narrow_blocks_are_not_compiled(networks, monkeypatch):
    """Where both are asked for, fp8 is in force and compilation is not."""
    monkeypatch.setattr(acceleration, "is_cuda", lambda _device: True)
    monkeypatch.setattr(acceleration, "can_compile", lambda _device: True)
    monkeypatch.setattr(acceleration, "compile_blocks", None)
    networks.accelerate(AccelerationConfig(attention=False, channels_last=False, compile=True, fp8=True))
    assert networks.accelerations == {"fp8": "weights"}
